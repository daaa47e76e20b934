"""`CIFAR10DVS:DIR`: CIFAR10-DVS, a folder for each of the ten classes, 1,000 recordings in each.

    airplane/cifar10_airplane_0.aedat    as given out; .aedat4 as tonic keeps them; .npz as SpikingJelly does
    airplane/0.mat                       the authors' Matlab form: an array `out`, a row an event, columns
                                         time, -, -, x, y, polarity (1 or -1)

The last tenth of each class, by the number in the name, is the test split; `test=first` takes the first
tenth, as some papers do. DIR holds the classes, or a folder CIFAR10DVS or events_np that does.
"""

import re
from pathlib import Path

import numpy as np

from spikeline.drivers import uri as grammar
from spikeline.drivers.formats.columns import coordinates, times_us
from spikeline.pipeline.events import Sensor, SourceError
from spikeline.pipeline.training.dataset import Clip, DataSet, Events, EventSet
from spikeline.pipeline.training.sets.files import folder_of, stamp
from spikeline.pipeline.training.sets.mat5 import read_matrix
from spikeline.pipeline.training.sets.recordings import COMMON, RecordingSet, Stretch

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
SENSOR = Sensor(128, 128, "DVS128")
ENDINGS = (".aedat", ".aedat4", ".npz", ".mat")
PLACES = ("", "CIFAR10DVS", "CIFAR10DVS/CIFAR10DVS", "events_np", "extract")
SAME = tuple(range(len(CLASSES)))  # a flipped airplane is an airplane
TEST_SHARE = 0.1
COLUMNS = 6
_NUMBER = re.compile(r"(?:.*_)?(\d+)")


def open_it(place: str, options: dict[str, str], where: str) -> DataSet:
    grammar.only(options, {*COMMON, "test"}, where)
    first = grammar.choice(options, "test", ("first", "last"), where) == "first"
    folder = folder_of(place, where)
    root = next((r for p in PLACES if all(((r := folder / p) / c).is_dir() for c in CLASSES)), None)
    if root is None:
        raise SourceError(
            f"{where}: no folders {CLASSES[0]} to {CLASSES[-1]} there; wanted one for each class"
        )
    stretches, endings = [], set()
    for label, name in enumerate(CLASSES):
        files = sorted(
            (f for f in (root / name).iterdir() if f.suffix in ENDINGS), key=lambda f: _number(f, where)
        )
        endings |= {file.suffix for file in files}
        held = round(TEST_SHARE * len(files))
        for k, file in enumerate(files):
            test = k < held if first else k >= len(files) - held
            stretches.append(Stretch(f"{name}/{file.name}", label, -1, "test" if test else "train"))
    if len(endings) != 1:
        found = ", ".join(sorted(endings)) or "no recordings"
        raise SourceError(f"{where}: {found}; wanted recordings of one kind, of {', '.join(ENDINGS)}")
    if endings == {".mat"}:
        return MatlabSet(root, stretches)
    return RecordingSet("CIFAR10-DVS", root, stretches, CLASSES, options, where, sensor=SENSOR, flipped=SAME)


class MatlabSet(EventSet):
    """One .mat file for each clip; a clip's key is the file's path below the folder."""

    name, labels, flipped, sensor = "CIFAR10-DVS", CLASSES, SAME, SENSOR

    def __init__(self, root: Path, stretches: list[Stretch]) -> None:
        self.root = root
        self.clips = tuple(Clip(s.file, s.label, s.person, s.split) for s in stretches)
        self.key = stamp("CIFAR10-DVS matlab", root, [root / clip.key for clip in self.clips])

    def events(self, clip: Clip) -> Events:
        file = self.root / clip.key
        rows = read_matrix(file, "out")
        if rows.ndim != 2 or rows.shape[1] != COLUMNS:
            raise SourceError(f"{file}: out has the shape {rows.shape}; wanted (n, {COLUMNS})")
        t, _, _, x, y, p = rows.T
        if not (np.isin(p, (-1, 1)).all() or np.isin(p, (0, 1)).all()):
            raise SourceError(f"{file}: polarities from {p.min():g} to {p.max():g}; wanted -1, 1 or 0, 1")
        return Events(times_us(t, "us"), coordinates(x), coordinates(y), (p > 0).astype(np.uint8))


def _number(file: Path, where: str) -> int:
    found = _NUMBER.fullmatch(file.stem)
    if not found:
        raise SourceError(
            f"{where}: {file}: wanted a name that ends in a number, such as cifar10_cat_0.aedat"
        )
    return int(found[1])
