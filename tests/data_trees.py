"""Small trees of the layouts that data sets come in, made of seeded events, and what is in them.

A maker takes an empty folder and gives `Tree(uri, clips, sensor, labels)`: the clips in the set's order.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from make_aedat import aedat2, aedat3, aedat3_header, aedat_header, nmnist
from scipy.io import savemat
from test_sources_writers import Events, aedat4, pieces

from spikeline.drivers.recording import write_npz
from spikeline.drivers.sim.gestures import GESTURES
from spikeline.drivers.sim.tasks import TASKS
from spikeline.drivers.writers import open_writer
from spikeline.pipeline.events import Admission, Sensor
from spikeline.pipeline.training.sets.digit_images import digit_images

DVS128 = Sensor(128, 128)


class Made(NamedTuple):
    """A clip as it was made. `zero_us`: where its window grid begins; None: at its first event."""

    label: int
    person: int
    split: str
    events: Events
    zero_us: int | None = None
    until_us: int | None = None


class Tree(NamedTuple):
    uri: str
    clips: list[Made]
    sensor: Sensor
    labels: tuple[str, ...]


def events_of(seed: int, *, n: int = 400, sensor: Sensor = DVS128, start_us: int = 1_000_000) -> Events:
    """About 0.1 s of events, whole milliseconds at some of them."""
    rng = np.random.default_rng(seed)
    t = start_us + np.cumsum(rng.integers(0, 500, n))
    x, y = rng.integers(0, sensor.width, n), rng.integers(0, sensor.height, n)
    return Events(
        t.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), rng.integers(0, 2, n).astype(np.uint8)
    )


def joined(parts: list[Events]) -> Events:
    return Events(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def part(events: Events, start_us: int, stop_us: int) -> Events:
    return events.slice(*(int(k) for k in np.searchsorted(events.t, (start_us, stop_us))))


def save(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def aedat31(events: Events) -> bytes:
    return aedat3_header() + b"".join(aedat3(events, 300))


def npz_set(root: Path) -> Tree:
    """An .npz with names, persons and splits."""
    made = [
        Made(k % 3, k // 2, ("train", "test")[k == 5], events_of(k, sensor=Sensor(34, 30))) for k in range(6)
    ]
    whole = joined([clip.events for clip in made])
    np.savez_compressed(
        root / "set.npz",
        **whole._asdict(),
        offsets=np.concatenate([[0], np.cumsum([len(clip.events.t) for clip in made])]),
        labels=np.array([clip.label for clip in made], np.int32),
        persons=np.array([clip.person for clip in made]),
        splits=np.array([clip.split for clip in made]),
        names=np.array(["left", "right", "none"]),
        width=34,
        height=30,
    )
    return Tree(f"npz:{root / 'set.npz'}", made, Sensor(34, 30), ("left", "right", "none"))


def plain_npz_set(root: Path) -> Tree:
    """Only what the sets of other people hold: bytes for x, y and p."""
    made = [Made(k % 2, -1, "", events_of(k, sensor=Sensor(34, 34))) for k in range(4)]
    t, x, y, p = joined([clip.events for clip in made])
    np.savez(
        root / "set.npz",
        t=t,
        x=x.astype(np.uint8),
        y=y.astype(np.uint8),
        p=p,
        offsets=np.cumsum([0] + [len(clip.events.t) for clip in made]),
        labels=[clip.label for clip in made],
        files=["a.bs2", "b.bs2", "c.bs2", "d.bs2"],
        width=34,
        height=34,
    )
    return Tree(str(root / "set.npz"), made, Sensor(34, 34), ("0", "1"))


def ibm_gesture(root: Path, *, lists: bool = True, kind: str = "IBMGesture") -> Tree:
    """Two users of the training half and one of the test half; 12 rows of labels each, as IBM has them."""
    made = []
    folder = root / "DvsGesture"
    users = (("user02_led", 2, "train"), ("user23_lab", 23, "train"), ("user24_natural", 24, "test"))
    for name, user, split in users:
        whole = events_of(user, n=4_000, start_us=80_000_000)
        save(folder / f"{name}.aedat", aedat31(whole))
        edges = np.linspace(80_000_000, int(whole.t[-1]) - 10_000, 13).astype(int)
        lines = ["class,startTime_usec,endTime_usec"]
        for k in range(12):
            number = (1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 11)[k]
            start_us, stop_us = int(edges[k]) + 1_000, int(edges[k + 1])
            lines.append(f"{number},{start_us},{stop_us}")
            made.append(Made(number - 1, user, split, part(whole, start_us, stop_us), None, stop_us))
        (folder / f"{name}_labels.csv").write_text("\n".join(lines) + "\n")
    if lists:
        for half in ("train", "test"):
            names = [f"{name}.aedat" for name, _, split in users if split == half]
            (folder / f"trials_to_{half}.txt").write_text("\n".join(names) + "\n\n")
    return Tree(f"{kind}:{root}", made, DVS128, GESTURES[:11])


def tonic_gesture(root: Path) -> Tree:
    """tonic's archive, extracted: rows of x, y, p, t, times in milliseconds."""
    made = []
    for half, user, light, split in (
        ("ibmGestureTrain", 1, "fluorescent_led", "train"),
        ("ibmGestureTrain", 12, "lab", "train"),
        ("ibmGestureTest", 25, "natural", "test"),
    ):
        for label in range(11):
            events = events_of(100 * user + label, n=120)
            events = events._replace(t=events.t // 1_000 * 1_000)
            rows = np.stack([events.x, events.y, events.p, events.t // 1_000], 1).astype(np.float64)
            path = root / half / f"user{user:02d}_{light}" / f"{label}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, rows)
            made.append(Made(label, user, split, events))
    return Tree(f"DVSGesture:{root}", made, DVS128, GESTURES[:11])


def spikingjelly_gesture(root: Path) -> Tree:
    made = []
    for split, label, user, k in (
        ("train", 0, 1, 0),
        ("train", 7, 1, 1),
        ("train", 10, 3, 0),
        ("test", 2, 26, 0),
    ):
        events = events_of(10 * user + label)
        path = root / "events_np" / split / str(label) / f"user{user:02d}_led_{k}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **events._asdict())
        made.append(Made(label, user, split, events))
    made = [made[0], made[2], made[1], made[3]]  # folders by name: 0, 10, 7
    return Tree(f"DVSGesture:{root}", made, DVS128, GESTURES[:11])


def gait(root: Path) -> Tree:
    made = []
    for split, person, k in (
        ("test", 0, 0),
        ("test", 10, 0),
        ("train", 0, 0),
        ("train", 2, 0),
        ("train", 2, 1),
    ):
        events = events_of(7 * person + k + (split == "test") * 50, start_us=0)
        lines = "".join(f"{t} {x} {y} {p}\n" for t, x, y, p in zip(*events, strict=True))
        save(root / split / str(person) / f"{k}.txt", lines.encode())
        made.append(Made((0, 2, 10).index(person), -1, split, events))
    return Tree(f"DVSGait:{root}", made, DVS128, ("0", "2", "10"))


def nmnist_set(root: Path) -> Tree:
    made = []
    for split, half in (("train", "Train"), ("test", "Test")):
        for digit in range(10):
            events = events_of(digit + 20 * (split == "test"), sensor=Sensor(34, 34), start_us=1_000)
            save(root / half / str(digit) / f"{digit:05d}.bin", nmnist(events))
            made.append(Made(digit, -1, split, events))
    return Tree(f"NMNIST:{root}", made, Sensor(34, 34), tuple("0123456789"))


CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar10dvs(root: Path, ending: str) -> Tree:
    """Ten of each class, so that the last one is its test clip; numbers, not names, give the order."""
    made = []
    for label, name in enumerate(CIFAR):
        for k in range(10):
            events = events_of(10 * label + k, n=60)
            stem = f"{k + 1}" if ending == ".mat" else f"cifar10_{name}_{k + 1}"
            path = root / name / f"{stem}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if ending == ".aedat":
                path.write_bytes(aedat_header("2.0", "DVS128") + aedat2(events))
            elif ending == ".aedat4":
                path.write_bytes(aedat4(pieces(events, 50), sensor=Sensor(128, 128, "DVS128")).data)
            elif ending == ".npz":
                np.savez(path, **events._asdict())
            else:
                t, x, y, p = (column.astype(np.float64) for column in events)
                out = np.stack([t, 0 * t, 0 * t, x, y, 2 * p - 1], 1)
                savemat(path, {"note": "made", "out": out}, do_compression=k % 2 == 0)
            made.append(Made(label, -1, "test" if k == 9 else "train", events))
    return Tree(f"CIFAR10DVS:{root}", made, DVS128, CIFAR)


FORMATS = {
    "a.npz": "npz", "b.aedat4": "", "c.csv": "csv", "d.evt3": "evt3", "e.mcap": "mcap", "f.h5": "hdf5",
    "g.es": "es",
}  # fmt: skip


def write_recording(path: Path, events: Events, sensor: Sensor, form: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".aedat4":
        path.write_bytes(aedat4(pieces(events, 150), sensor=Sensor(*sensor[:2], "TEST")).data)
        return
    writer = open_writer(path, sensor, format=form)
    for packet in Admission(sensor).admit(*(column.copy() for column in events)):
        writer.add(packet)
    writer.close()


def folder(root: Path, *, splits: bool = False) -> Tree:
    """Recordings of all kinds, in two classes."""
    made = []
    sensor = Sensor(40, 30)
    for split in ("test", "train") if splits else ("",):
        for label, name in enumerate(("clap", "wave")):
            for k, (file, form) in enumerate(FORMATS.items()):
                events = events_of(10 * k + label + 100 * (split == "test"), sensor=sensor, start_us=0)
                write_recording(root / split / name / file, events, sensor, form)
                made.append(Made(label, -1, split, events))
    (root / "README.md").write_text("not a recording")
    return Tree(f"folder:{root}", made, sensor, ("clap", "wave"))


def cut_list(root: Path) -> Tree:
    sensor = Sensor(40, 30)
    monday, tuesday = (events_of(seed, n=3_000, sensor=sensor) for seed in (1, 2))
    (root / "days").mkdir()
    write_npz(root / "days" / "monday.npz", Admission(sensor).admit(*monday), sensor)
    write_recording(root / "tuesday.csv", tuesday, sensor, "csv")
    rows = [
        ("days/monday.npz", 1_100_000, 1_200_000, "wave", "bob", "train"),
        ("days/monday.npz", 1_150_000, 1_300_000, "clap", "bob", "train"),
        ("tuesday.csv", 1_000_000, 1_050_000, "clap", "ann", "test"),
        ("tuesday.csv", "", "", "wave", "", ""),
    ]
    lines = ["File,start_us,end_us,label,person,split", *(",".join(map(str, row)) for row in rows), ""]
    (root / "clips.csv").write_text("\n".join(lines))
    made = [
        Made(1, 1, "train", part(monday, 1_100_000, 1_200_000), None, 1_200_000),
        Made(0, 1, "train", part(monday, 1_150_000, 1_300_000), None, 1_300_000),
        Made(0, 0, "test", part(tuesday, 1_000_000, 1_050_000), None, 1_050_000),
        Made(1, -1, "", tuesday),
    ]
    return Tree(f"csv:{root / 'clips.csv'}", made, sensor, ("clap", "wave"))


def simulated(name: str) -> Tree:
    task = TASKS[name]
    made = []
    given = {"images": digit_images()} if "images" in task.needs else {}
    duration_s = min(0.1, task.duration_s) if name == "gesture" else task.duration_s
    for split, count in (("train", 1), ("validation", 1)):
        for index in range(count):
            clip = task.draw(3, split=split, index=index, duration_s=duration_s, level="easy", **given)
            events = Events(*task.simulate(clip))
            made.append(Made(clip.label, clip.person, split, events, 0, clip.duration_us))
    uri = f"sim:{name}?seed=3&level=easy&clips=1&validation=1&duration_s={duration_s}"
    return Tree(uri, made, task.sensor, task.labels)


LAYOUTS: dict[str, Callable[[Path], Tree]] = {
    "npz": npz_set,
    "npz, plain": plain_npz_set,
    "IBM": ibm_gesture,
    "IBM without lists": lambda root: ibm_gesture(root, lists=False, kind="DVSGesture"),
    "tonic's gestures": tonic_gesture,
    "SpikingJelly's gestures": spikingjelly_gesture,
    "gait": gait,
    "N-MNIST": nmnist_set,
    "CIFAR10-DVS aedat": lambda root: cifar10dvs(root, ".aedat"),
    "CIFAR10-DVS aedat4": lambda root: cifar10dvs(root, ".aedat4"),
    "CIFAR10-DVS npz": lambda root: cifar10dvs(root, ".npz"),
    "CIFAR10-DVS mat": lambda root: cifar10dvs(root, ".mat"),
    "folder": folder,
    "folder with splits": lambda root: folder(root, splits=True),
    "csv": cut_list,
    **{f"sim:{name}": lambda _, name=name: simulated(name) for name in TASKS},
}
