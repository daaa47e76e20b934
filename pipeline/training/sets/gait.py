"""`DVSGait:DIR`: DVS128-Gait: text files in train/PERSON/ and test/PERSON/, a line `t x y p` an event.

The label is the person, so that persons are in both splits, and no fold keeps them apart. Folders are
numbers in the set as it is given out; their order is that of the numbers, or of the names.
"""

from spikeline.drivers import uri as grammar
from spikeline.pipeline.events import Sensor, SourceError
from spikeline.pipeline.training.dataset import DataSet
from spikeline.pipeline.training.sets.files import files_of_classes, folder_of
from spikeline.pipeline.training.sets.recordings import COMMON, RecordingSet, Stretch

SENSOR = Sensor(128, 128, "DVS128")


def open_it(place: str, options: dict[str, str], where: str) -> DataSet:
    grammar.only(options, COMMON, where)
    folder = folder_of(place, where)
    labels, files = files_of_classes(folder, (".txt", ".csv"), where)
    if not all(file.split for file in files):
        raise SourceError(
            f"{where}: no folders train and test there; wanted train/PERSON/*.txt and test/PERSON"
        )
    stretches = [Stretch(file.path, file.label, -1, file.split) for file in files]
    return RecordingSet(
        *("DVS128-Gait", folder, stretches, labels, options, where),
        sensor=SENSOR,
        form="format=csv&order=txyp&unit=us",
        flipped=tuple(range(len(labels))),
    )
