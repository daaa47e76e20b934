"""`folder:DIR`: a folder of recordings, one sub-folder for each class, in any format that `spikeline` reads.

    DIR/wave/a.aedat4  DIR/wave/b.raw  DIR/clap/c.npz         classes in the order of their names
    DIR/train/wave/a.aedat4  DIR/test/wave/b.aedat4           and splits where there are such folders above

All recordings have one sensor's size; `sensor=WxH` names it, and puts smaller ones into its middle.
"""

from spikeline.drivers import uri as grammar
from spikeline.drivers.formats import EXTENSIONS
from spikeline.pipeline.training.dataset import DataSet
from spikeline.pipeline.training.sets.files import files_of_classes, folder_of
from spikeline.pipeline.training.sets.recordings import COMMON, RecordingSet, Stretch


def open_it(place: str, options: dict[str, str], where: str) -> DataSet:
    grammar.only(options, COMMON, where)
    folder = folder_of(place, where)
    labels, files = files_of_classes(folder, EXTENSIONS, where)
    stretches = [Stretch(file.path, file.label, -1, file.split) for file in files]
    return RecordingSet(folder.name, folder, stretches, labels, options, where)
