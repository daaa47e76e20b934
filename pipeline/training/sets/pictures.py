"""Still pictures, shown in every window: `images:DIR`, `CIFAR10:DIR`, `CIFAR100:DIR`, `MNIST:DIR`.

    images    CLASS/a.png or SPLIT/CLASS/a.jpg: enlarged or reduced to cover the grid, then cut to it
    CIFAR10   the binary version: data_batch_1.bin to data_batch_5.bin, test_batch.bin
    CIFAR100  the binary version: train.bin, test.bin; the fine labels
    MNIST     MNIST and Fashion-MNIST: train-images-idx3-ubyte and its three fellows, also with .gz

Pixels are 0 to 255; the network's input multiplies by 1/255. The Python version of CIFAR is made of pickles,
which can run anything when they are read: they are refused.
"""

import gzip
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeline.drivers import uri as grammar
from spikeline.pipeline.events import Sensor, SourceError
from spikeline.pipeline.training.dataset import Clip, DataSet, PictureSet
from spikeline.pipeline.training.sets.files import files_of_classes, folder_of, numbered, stamp, unreadable

COMMON = ("split",)
ENDINGS = (".png", ".jpg", ".jpeg")
SIDE = 32  # of a CIFAR picture
PIXELS = 3 * SIDE * SIDE
IDX = {"train": "train", "test": "t10k"}


class Cifar(NamedTuple):
    """One of the two sets: its files by split, label bytes before a picture, names of the classes."""

    name: str
    files: dict[str, tuple[str, ...]]
    labels: int
    classes: int
    names: str
    places: tuple[str, ...]


CIFARS = {
    "CIFAR10": Cifar(
        "CIFAR-10",
        {"train": tuple(f"data_batch_{k}.bin" for k in range(1, 6)), "test": ("test_batch.bin",)},
        1,
        10,
        "batches.meta.txt",
        ("", "cifar-10-batches-bin"),
    ),
    "CIFAR100": Cifar(
        "CIFAR-100",
        {"train": ("train.bin",), "test": ("test.bin",)},
        2,
        100,
        "fine_label_names.txt",
        ("", "cifar-100-binary"),
    ),
}
PICKLES = ("data_batch_1", "cifar-10-batches-py", "cifar-100-python", "train")


class ArraySet(PictureSet):
    """Pictures (N, channels, H, W) in memory. A clip's key is its number."""

    at_hand = True

    def __init__(
        self,
        name: str,
        key: str,
        pictures: NDArray[np.uint8],
        labels: NDArray[np.uint8],
        splits: list[str],
        names: tuple[str, ...],
        flipped: tuple[int, ...] | None,
    ) -> None:
        self.name, self.key, self.labels, self.flipped = name, key, names, flipped
        self._pictures = pictures
        self.sensor = Sensor(pictures.shape[3], pictures.shape[2])
        self.clips = tuple(
            Clip(str(k), int(label), -1, split)
            for k, (label, split) in enumerate(zip(labels, splits, strict=True))
        )

    def picture(self, clip: Clip, grid: tuple[int, int]) -> NDArray[np.uint8]:
        if grid != self.sensor[:2]:
            width, height = self.sensor[:2]
            raise SourceError(
                f"{self.name}: its pictures are {width}x{height}; wanted grid = [{width}, {height}]"
            )
        return self._pictures[int(clip.key)]


class ImageFolder(PictureSet):
    """Files of pictures. A clip's key is its path below the folder."""

    def __init__(self, root: Path, where: str) -> None:
        self.name, self.root = root.name, root
        self.labels, files = files_of_classes(root, ENDINGS, where)
        self.flipped = tuple(range(len(self.labels)))
        self.clips = tuple(Clip(file.path, file.label, -1, file.split) for file in files)
        self.key = stamp("images", root, [root / clip.key for clip in self.clips])
        self.sensor = Sensor(1, 1)  # whatever the grid is

    def picture(self, clip: Clip, grid: tuple[int, int]) -> NDArray[np.uint8]:
        from PIL import Image, ImageOps

        file = self.root / clip.key
        try:
            with Image.open(file) as image:
                fitted = ImageOps.fit(image.convert("RGB"), grid, Image.Resampling.BILINEAR)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise unreadable(file, error) from error
        return np.ascontiguousarray(np.asarray(fitted, np.uint8).transpose(2, 0, 1))


def open_it(place: str, options: dict[str, str], where: str) -> DataSet:
    grammar.only(options, COMMON, where)
    folder = folder_of(place, where)
    kind = where.partition(":")[0].upper()
    if kind in CIFARS:
        return _cifar(CIFARS[kind], folder, where)
    if kind == "MNIST":
        return _mnist(folder, where)
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise SourceError(f"{where}: Pillow is not installed; pip install 'spikeline[images]'") from error
    return ImageFolder(folder, where)


def _cifar(about: Cifar, folder: Path, where: str) -> DataSet:
    needed = [name for names in about.files.values() for name in names]
    root = next((folder / p for p in about.places if (folder / p / needed[0]).is_file()), None)
    if root is None:
        if any((folder / name).exists() for name in PICKLES):
            raise SourceError(
                f"{where}: Python pickles, which are never unpickled; wanted the binary version"
            )
        raise SourceError(f"{where}: no {needed[0]} there; wanted the binary version of {about.name}")
    pictures, labels, splits = [], [], []
    for split, names in about.files.items():
        for name in names:
            data = _bytes(root / name)
            rows, rest = divmod(len(data), about.labels + PIXELS)
            if rest or not rows:
                raise SourceError(
                    f"{root / name}: {len(data)} bytes; wanted records of {about.labels + PIXELS}"
                )
            table = np.frombuffer(data, np.uint8).reshape(rows, -1)
            pictures.append(table[:, about.labels :].reshape(rows, 3, SIDE, SIDE))
            labels.append(table[:, about.labels - 1])
            splits += [split] * rows
    found = np.concatenate(labels)
    if found.max() >= about.classes:
        raise SourceError(f"{where}: a label is {found.max()}; wanted 0 to {about.classes - 1}")
    names = tuple((root / about.names).read_text().split()) if (root / about.names).is_file() else ()
    if len(names) != about.classes:
        names = numbered(about.classes)
    key = stamp(about.name, root, [root / name for name in needed])
    same = tuple(range(about.classes))
    return ArraySet(about.name, key, np.concatenate(pictures), found, splits, names, same)


def _mnist(folder: Path, where: str) -> DataSet:
    pictures, labels, splits, files = [], [], [], []
    for split, start in IDX.items():
        pair = []
        for what, sizes in (("images-idx3", 3), ("labels-idx1", 1)):
            file = _present(folder, f"{start}-{what}-ubyte", where)
            pair.append(_idx(file, sizes))
            files.append(file)
        if len(pair[0]) != len(pair[1]):
            raise SourceError(f"{where}: {len(pair[0])} pictures and {len(pair[1])} labels; wanted as many")
        pictures.append(pair[0][:, None])
        labels.append(pair[1])
        splits += [split] * len(pair[1])
    if pictures[0].shape[1:] != pictures[1].shape[1:]:
        raise SourceError(
            f"{where}: pictures of {pictures[0].shape[2:]} and {pictures[1].shape[2:]}; wanted one size"
        )
    found = np.concatenate(labels)
    names = numbered(max(10, int(found.max()) + 1))
    key = stamp("idx", folder, files)
    return ArraySet(folder.name, key, np.concatenate(pictures), found, splits, names, None)


def _present(folder: Path, name: str, where: str) -> Path:
    for place in (folder, folder / "raw", folder / "MNIST/raw", folder / "FashionMNIST/raw"):
        for ending in ("", ".gz"):
            if (place / f"{name}{ending}").is_file():
                return place / f"{name}{ending}"
    raise SourceError(
        f"{where}: no {name} or {name}.gz there; wanted the four files of MNIST or Fashion-MNIST"
    )


def _idx(file: Path, sizes: int) -> NDArray[np.uint8]:
    """An array of bytes: two zeros, 8, the number of sizes, the sizes big-endian, then the bytes."""
    data = _bytes(file)
    if data[:4] != bytes((0, 0, 8, sizes)) or len(data) < 4 + 4 * sizes:
        raise SourceError(
            f"{file}: starts with {data[:4].hex(' ')}; wanted 00 00 08 0{sizes} and {sizes} sizes"
        )
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", sizes, 4))
    body = data[4 + 4 * sizes :]
    if len(body) != int(np.prod(shape, dtype=object)):
        raise SourceError(f"{file}: {len(body)} bytes; wanted {' x '.join(map(str, shape))}")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _bytes(file: Path) -> bytes:
    try:
        data = file.read_bytes()
        return gzip.decompress(data) if file.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(file, error) from error
