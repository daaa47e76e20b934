"""`csv:FILE`: a list of clips: columns file, start_us, end_us, label, and where known person and split.

    file,start_us,end_us,label,person,split
    monday.aedat4,1000000,3500000,wave,ann,train
    monday.aedat4,,,clap,ann,train

Files lie below the list's folder. Times are the recording's own, from start_us up to but without end_us;
both left empty take all of it. Labels and persons are names; classes are in the order of their numbers where
all are numbers, else of their names. A split is train, validation or test.
"""

from pathlib import Path

from spikeline.drivers import uri as grammar
from spikeline.pipeline.events import SourceError
from spikeline.pipeline.training.dataset import DataSet
from spikeline.pipeline.training.sets.files import SPLITS, in_order
from spikeline.pipeline.training.sets.recordings import COMMON, RecordingSet, Stretch
from spikeline.pipeline.training.sets.tables import Row, read_table

NEEDED = ("file", "start_us", "end_us", "label")
ALLOWED = ("person", "split")


def open_it(place: str, options: dict[str, str], where: str) -> DataSet:
    grammar.only(options, COMMON, where)
    path = Path(place)
    rows = read_table(path, NEEDED, ALLOWED)
    labels = in_order({row.cells["label"] for row in rows})
    persons = sorted({row.cells.get("person", "") for row in rows} - {""})
    if "" in labels:
        raise SourceError(f"{path}: a row without a label; wanted one in each")
    stretches = [_stretch(row, labels, persons) for row in rows]
    if len({(s.file, s.start_us, s.stop_us) for s in stretches}) != len(stretches):
        raise SourceError(f"{path}: the same stretch of a file twice; wanted each once")
    return RecordingSet(path.stem, path.parent, stretches, labels, options, where)


def _stretch(row: Row, labels: tuple[str, ...], persons: list[str]) -> Stretch:
    cells = row.cells
    start_us = stop_us = None
    if cells["start_us"] or cells["end_us"]:
        start_us, stop_us = row.whole("start_us"), row.whole("end_us")
        if start_us >= stop_us:
            raise SourceError(f"{row.where}: {start_us} to {stop_us} us; wanted start_us < end_us")
    split = cells.get("split", "").lower()
    if split and split not in SPLITS:
        raise SourceError(f"{row.where}: split {split!r}; wanted {', '.join(SPLITS)}, or nothing")
    person = cells.get("person", "")
    return Stretch(
        cells["file"],
        labels.index(cells["label"]),
        persons.index(person) if person else -1,
        split,
        start_us,
        stop_us,
    )
