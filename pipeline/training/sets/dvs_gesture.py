"""`DVSGesture:DIR`: DVS128 Gesture in whichever of its three layouts DIR holds.

IBM's own           DvsGesture/user01_fluorescent.aedat with its table of labels (ibm_gesture.py)
tonic's, extracted  ibmGestureTrain/user01_fluorescent/3.npy, ibmGestureTest/...: rows of x, y, p and t in
                    milliseconds; the file's name is the class, 0 to 10
SpikingJelly's      events_np/train/3/user01_fluorescent_0.npz, events_np/test/...: t, x, y, p

In all of them a clip's window grid starts at its first event.
"""

from pathlib import Path

import numpy as np

from spikeline.drivers import uri as grammar
from spikeline.drivers.formats.columns import coordinates, times_us
from spikeline.pipeline.events import Sensor, SourceError
from spikeline.pipeline.training.dataset import Clip, DataSet, Events, EventSet
from spikeline.pipeline.training.sets import ibm_gesture
from spikeline.pipeline.training.sets.files import folder_of, stamp, unreadable
from spikeline.pipeline.training.sets.ibm_gesture import CLASSES, LABELS, LABELS_FLIPPED, user_of
from spikeline.pipeline.training.sets.recordings import COMMON, RecordingSet, Stretch

SENSOR = Sensor(128, 128, "DVS128")
TONIC = {"train": "ibmGestureTrain", "test": "ibmGestureTest"}
LONGEST_MS = 600_000  # a gesture lasts seconds: times beyond this are not in milliseconds


def open_it(place: str, options: dict[str, str], where: str) -> DataSet:
    grammar.only(options, COMMON, where)
    folder = folder_of(place, where)
    if ibm_gesture.find(folder):
        return ibm_gesture.open_it(place, options, where)
    for root in (folder, folder / "DVSGesture"):
        if any((root / name).is_dir() for name in TONIC.values()):
            return TonicGesture(root, where)
    for root in (folder, folder / "events_np"):
        if (root / "train").is_dir() and next(root.glob("t*/*/user*.npz"), None):
            return _spikingjelly(root, options, where)
    raise SourceError(
        f"{where}: neither DvsGesture/user*.aedat, nor ibmGestureTrain/user*/*.npy, nor "
        "events_np/train/*/user*.npz; wanted one of these layouts of DVS128 Gesture"
    )


class TonicGesture(EventSet):
    """One .npy file for each clip; a clip's key is the file's path below the folder."""

    name, labels, flipped, sensor = "DVS128 Gesture", LABELS, LABELS_FLIPPED, SENSOR

    def __init__(self, root: Path, where: str) -> None:
        self.root = root
        clips = []
        for split, part in TONIC.items():
            for file in sorted((root / part).glob("user*/*.npy"), key=lambda f: (f.parent.name, _label(f))):
                if not 0 <= _label(file) < CLASSES:
                    raise SourceError(f"{where}: {file}: wanted 0.npy to {CLASSES - 1}.npy, the class")
                user = user_of(file.parent.name, where)
                clips.append(Clip(str(file.relative_to(root)), _label(file), user, split))
        if not clips:
            raise SourceError(
                f"{where}: no user*/*.npy in {root / TONIC['train']}; extract the archive there"
            )
        self.clips = tuple(clips)
        self.key = stamp("tonic gesture", root, [root / clip.key for clip in clips])

    def events(self, clip: Clip) -> Events:
        file = self.root / clip.key
        try:
            rows = np.load(file, allow_pickle=False)
        except Exception as error:  # its header is parsed as a piece of Python, which may fail in many ways
            raise unreadable(file, error) from error
        if rows.ndim != 2 or rows.shape[1] != 4 or rows.dtype.kind not in "iuf":
            raise SourceError(
                f"{file}: {rows.dtype} of shape {rows.shape}; wanted (n, 4) numbers: x, y, p, t"
            )
        x, y, p, ms = rows.T
        if len(ms) and not 0 <= ms[-1] - ms[0] < LONGEST_MS:
            raise SourceError(
                f"{file}: times from {ms[0]:.0f} to {ms[-1]:.0f}; wanted milliseconds of a gesture"
            )
        if not np.isin(p, (0, 1)).all():
            raise SourceError(
                f"{file}: its third column holds {p.min():g} to {p.max():g}; wanted polarities 0, 1"
            )
        return Events(times_us(ms, "ms"), coordinates(x), coordinates(y), p.astype(np.uint8))


def _label(file: Path) -> int:
    return int(file.stem) if file.stem.isdecimal() else -1


def _spikingjelly(root: Path, options: dict[str, str], where: str) -> DataSet:
    stretches = []
    for split in ("train", "test"):
        for file in sorted(root.glob(f"{split}/*/user*.npz")):
            if not file.parent.name.isdecimal() or int(file.parent.name) >= CLASSES:
                raise SourceError(f"{where}: {file}: wanted a folder 0 to {CLASSES - 1}, the class")
            user = user_of(file.stem, where)
            stretches.append(Stretch(str(file.relative_to(root)), int(file.parent.name), user, split))
    return RecordingSet(
        "DVS128 Gesture", root, stretches, LABELS, options, where, sensor=SENSOR, flipped=LABELS_FLIPPED
    )
