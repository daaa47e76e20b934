"""`IBMGesture:DIR`: DVS128 Gesture as IBM gives it out: AEDAT 3.1 recordings, each with a table of labels.

    DvsGesture/user01_fluorescent.aedat
    DvsGesture/user01_fluorescent_labels.csv      class,startTime_usec,endTime_usec; classes 1 to 11
    DvsGesture/trials_to_train.txt, trials_to_test.txt       names of recordings

A clip is every row of a table, from its start up to but without its end; its window grid starts at its first
event. Where the two lists are absent, users 1 to 23 train and 24 to 29 test. DIR is the folder of the
recordings, or one that holds it.
"""

import re
from pathlib import Path

from spikeline.drivers import uri as grammar
from spikeline.drivers.sim.gestures import FLIPPED, GESTURES
from spikeline.pipeline.events import SourceError
from spikeline.pipeline.training.dataset import DataSet
from spikeline.pipeline.training.sets.files import folder_of
from spikeline.pipeline.training.sets.recordings import COMMON, RecordingSet, Stretch
from spikeline.pipeline.training.sets.tables import read_lines, read_table

CLASSES = 11
LABELS = GESTURES[:CLASSES]
LABELS_FLIPPED = FLIPPED[:CLASSES]
FIRST_TEST_USER = 24
LISTS = {"train": "trials_to_train.txt", "test": "trials_to_test.txt"}
COLUMNS = ("class", "starttime_usec", "endtime_usec")
_NAME = re.compile(r"user(\d+)_.*")


def open_it(place: str, options: dict[str, str], where: str) -> DataSet:
    grammar.only(options, COMMON, where)
    folder = find(folder_of(place, where))
    if folder is None:
        raise SourceError(
            f"{where}: no userNN_LIGHT.aedat there, nor in DvsGesture/; wanted IBM's recordings"
        )
    listed = _listed(folder)
    if missing := sorted(name for name in listed if not (folder / name).is_file()):
        raise SourceError(
            f"{where}: {missing[0]} is missing, {len(missing)} of {len(listed)} listed recordings"
        )
    stretches = []
    for file in sorted(folder.glob("user*.aedat")):
        split = listed.get(file.name, "" if listed else _split_of(user_of(file.stem, where)))
        if not split:  # in neither list: IBM leaves these out
            continue
        for row in read_table(file.with_name(f"{file.stem}_labels.csv"), COLUMNS):
            label, start_us, stop_us = (row.whole(column) for column in COLUMNS)
            if not 1 <= label <= CLASSES or not 0 <= start_us < stop_us:
                raise SourceError(
                    f"{row.where}: class {label}, {start_us} to {stop_us} us; "
                    f"wanted 1 to {CLASSES}, and a start before the end"
                )
            user = user_of(file.stem, where)
            stretches.append(Stretch(file.name, label - 1, user, split, start_us, stop_us))
    return RecordingSet("DVS128 Gesture", folder, stretches, LABELS, options, where, flipped=LABELS_FLIPPED)


def find(folder: Path) -> Path | None:
    """The folder with the recordings: this one, or one of the usual names in it."""
    for place in (folder, folder / "DvsGesture", folder / "extract" / "DvsGesture"):
        if next(place.glob("user*.aedat"), None):
            return place
    return None


def user_of(name: str, where: str) -> int:
    """The person's number in a name such as user01_led."""
    found = _NAME.fullmatch(name)
    if not found:
        raise SourceError(f"{where}: {name}: wanted a name such as user01_fluorescent")
    return int(found[1])


def _split_of(user: int) -> str:
    return "train" if user < FIRST_TEST_USER else "test"


def _listed(folder: Path) -> dict[str, str]:
    """Recording -> split, where the set's own lists say it."""
    found: dict[str, str] = {}
    for split, name in LISTS.items():
        if (folder / name).is_file():
            names = (line.strip() for line in read_lines(folder / name))
            found |= {name: split for name in names if name}
    return found
