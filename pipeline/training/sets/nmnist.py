"""`NMNIST:DIR`: N-MNIST as given out and as tonic extracts it: Train/0..9/*.bin and Test/0..9/*.bin."""

from spikeline.drivers import uri as grammar
from spikeline.pipeline.events import Sensor, SourceError
from spikeline.pipeline.training.dataset import DataSet
from spikeline.pipeline.training.sets.files import folder_of, numbered
from spikeline.pipeline.training.sets.recordings import COMMON, RecordingSet, Stretch

DIGITS = 10
PARTS = {"train": "Train", "test": "Test"}


def open_it(place: str, options: dict[str, str], where: str) -> DataSet:
    grammar.only(options, COMMON, where)
    folder = folder_of(place, where)
    root = next(
        (r for r in (folder, folder / "NMNIST") if any((r / p).is_dir() for p in PARTS.values())), None
    )
    if root is None:
        raise SourceError(f"{where}: neither Train nor Test there; wanted Train/0 to Train/9 with .bin files")
    stretches = [
        Stretch(str(file.relative_to(root)), digit, -1, split)
        for split, part in PARTS.items()
        for digit in range(DIGITS)
        for file in sorted((root / part / str(digit)).glob("*.bin"))
    ]
    return RecordingSet(
        "N-MNIST",
        root,
        stretches,
        numbered(DIGITS),
        options,
        where,
        sensor=Sensor(34, 34),
        form="format=nmnist",
    )
