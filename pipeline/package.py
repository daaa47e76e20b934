"""A model package: one `.safetensors` file with the graph's tensors and, in its metadata, a manifest.

The manifest says everything that serving must do as training did: sensor, grid, window, readout, skip
rule, labels. `digest` is the SHA-256 of the whole file with the digest's own 64 characters set to
`0`, so any changed byte is refused before anything else is believed. No pickle anywhere.
"""

import hashlib
import json
import struct
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec
import safetensors.numpy

from spikeline.models.graph import Graph, GraphDocument, GraphError
from spikeline.pipeline.clean_up_settings import CleanUpError
from spikeline.pipeline.clean_up_settings import parse as parse_stages

FORMAT = 1
BLANK = "0" * 64
MAX_HEADER = 16 << 20


class PackageError(ValueError):
    """A package that must not be served: one line naming the file, the thing found and wanted."""


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mean, 1st and 99th percentile of a figure over the training windows."""

    mean: float
    p1: float
    p99: float


class Statistics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the network saw in training, to notice when it is served something else."""

    event_rate: Range  # events per second on the training sensor
    on_share: Range
    occupied: Range  # share of grid cells with an event in a window
    spikes: dict[str, Range]  # per layer and step


class Skip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a skipped window is served, and up to which share the network was trained for it."""

    rule: Literal["idle", "zero"]
    max_ratio: float


class Tuned(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """On what `threshold` and `hold_us` were chosen, and what they gave there. See docs/evaluation.md."""

    data: str  # the validation streams
    hours: float  # of them
    most_false_per_hour: float  # the limit under which the segment F1 was made as high as it goes
    f1_macro: float
    false_per_hour: float
    decided_share: float  # of the performances
    decision_ms: float | None  # median from onset to decision, sensor time
    flips_per_minute: float
    of: str = ""  # digest of the package that was tuned


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything about a model but its tensors."""

    name: str
    graph: GraphDocument
    labels: list[str]
    dt_us: int
    dt_range_us: tuple[int, int]
    sensor: tuple[int, int]  # width, height of the training sensor behind the clean-up, pixels
    grid: tuple[int, int]  # width, height of the frame, cells
    fit: Literal["refuse", "crop", "pad", "scale"] = "refuse"  # policy for another sensor
    clean_up: list[str] = []  # stages between source and slicer, in order, each as the command line says it
    polarity: Literal["off_on"] = "off_on"  # channel 0 OFF, 1 ON
    readout: Literal["window", "sliding", "ema"] = "sliding"
    threshold: float = 0.0  # a score below this is no prediction
    hold_us: int = 0  # a label must stand this long to be announced, and be gone as long to be withdrawn
    tuned: Tuned | None = None  # None: threshold and hold_us are defaults, or somebody's choice
    skip: Skip | None = None  # None: every window is run
    gate_thresholds: dict[str, float] = {}  # skip ratio -> threshold; empty: the network has no gate
    statistics: Statistics | None = None
    accuracy: dict[str, float] = {}  # measured at training time, by name
    producer: str = ""
    note: str = ""


@dataclass(frozen=True)
class Package:
    """A checked package, ready to be given to an engine."""

    manifest: Manifest
    graph: Graph
    digest: str
    path: Path | None = None

    @property
    def spikes(self) -> dict[str, float] | None:
        """Mean spikes of each layer and step in training, which tell `auto` the cheapest engine."""
        known = self.manifest.statistics
        return {name: found.mean for name, found in known.spikes.items()} if known else None


def zoo() -> dict[str, Path]:
    """The packages that ship with spikeline: name -> file."""
    folder = Path(str(resources.files("spikeline.models"))) / "zoo"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def find_package(model: str) -> Path:
    """A package by file path or by the name of a shipped one."""
    path = Path(model)
    if path.suffix == ".safetensors" or path.is_file():
        return path
    shipped = zoo()
    if model not in shipped:
        raise PackageError(
            f"model {model!r}: no such file or shipped package; wanted a .safetensors file"
            f" or one of: {', '.join(shipped) or 'none shipped'}"
        )
    return shipped[model]


def load_package(model: str | Path) -> Package:
    """Read and check a package. Raises PackageError; after it nothing needs to be checked again."""
    path = find_package(str(model))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PackageError(f"{path}: {error.strerror}") from error
    try:
        return parse(data, path)
    except PackageError as error:
        raise PackageError(f"{path}: {error}") from error


def parse(data: bytes, path: Path | None = None) -> Package:
    """The package in `data`. The digest is checked before any tensor is read."""
    metadata, where = _metadata(data)
    stored = metadata["digest"]
    found = hashlib.sha256(data[:where] + BLANK.encode() + data[where + 64 :]).hexdigest()
    if stored != found:
        raise PackageError(f"damaged or changed: its digest is {found[:16]}..., wanted {stored[:16]}...")
    if metadata.get("format") != str(FORMAT):
        raise PackageError(f"package format {metadata.get('format')!r}; this version reads {FORMAT}")
    try:
        manifest = msgspec.json.decode(metadata["manifest"], type=Manifest, strict=True)
        graph = Graph(manifest.graph, safetensors.numpy.load(data))
    except (msgspec.MsgspecError, GraphError, KeyError, safetensors.SafetensorError) as error:
        raise PackageError(" ".join(str(error).split())) from error
    _check(manifest, graph)
    return Package(manifest, graph, stored, path)


def save_package(path: Path, manifest: Manifest, graph: Graph) -> Package:
    """Write a package and return it as read back."""
    if manifest.graph != graph.document:
        raise PackageError("the manifest's graph is not the graph given")
    metadata = {"format": str(FORMAT), "manifest": msgspec.json.encode(manifest).decode(), "digest": BLANK}
    data = _in_order(safetensors.numpy.save(dict(graph.tensors), metadata=metadata))
    _, where = _metadata(data)
    digest = hashlib.sha256(data).hexdigest()
    data = data[:where] + digest.encode() + data[where + 64 :]
    package = parse(data, path)
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    partial.replace(path)
    return package


def _in_order(data: bytes) -> bytes:
    """The same file with its metadata in one order: safetensors writes it in any, and a digest tells."""
    size = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at multiples of eight
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def _metadata(data: bytes) -> tuple[dict[str, str], int]:
    """The file's metadata, and where the 64 characters of its digest stand."""
    size = struct.unpack_from("<Q", data)[0] if len(data) >= 8 else 0
    if not 2 <= size <= min(MAX_HEADER, len(data) - 8):
        raise PackageError("not a .safetensors file, or cut short in its header")
    header = data[8 : 8 + size]
    try:
        metadata: Any = json.loads(header)["__metadata__"]
        digest = metadata["digest"]
        if not (isinstance(digest, str) and len(digest) == 64 and set(digest) <= set("0123456789abcdef")):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PackageError("not a spikeline package: its metadata holds no digest") from error
    if header.count(digest.encode()) != 1:
        raise PackageError("its digest stands more than once in the header")
    return metadata, 8 + header.index(digest.encode())


def _check(manifest: Manifest, graph: Graph) -> None:
    """Refuse what fits no graph or no sensor; each line names the setting."""
    W, H = manifest.grid
    checks = [
        (
            len(manifest.labels) == graph.classes,
            f"labels: found {len(manifest.labels)}, wanted {graph.classes}",
        ),
        (len(set(manifest.labels)) == len(manifest.labels), "labels: one stands twice"),
        (
            graph.document.input_shape == (2, H, W),
            f"grid: found {W}x{H}, the graph wants {graph.document.input_shape}",
        ),
        (manifest.dt_us > 0, f"dt_us: found {manifest.dt_us}, wanted more than 0"),
        (
            manifest.dt_range_us[0] <= manifest.dt_us <= manifest.dt_range_us[1],
            f"dt_us: {manifest.dt_us} lies outside dt_range_us {manifest.dt_range_us}",
        ),
        (min(manifest.sensor) > 0, f"sensor: found {manifest.sensor}, wanted a size in pixels"),
        (
            manifest.skip is None or 0 <= manifest.skip.max_ratio < 1,
            "skip.max_ratio: wanted at least 0 and less than 1",
        ),
        (
            manifest.skip is None or manifest.skip.rule == "zero" or graph.document.form == "step",
            "skip.rule idle: a network of form window cannot leave out a step; wanted zero",
        ),
        (
            0 <= manifest.threshold <= 1,
            f"threshold: found {manifest.threshold}, wanted 0 to 1",
        ),
        (manifest.hold_us >= 0, f"hold_us: found {manifest.hold_us}, wanted at least 0"),
    ]
    for stage in manifest.clean_up:
        try:
            checks.append((len(parse_stages(stage)) == 1, f"clean_up: found {stage!r}, wanted one stage"))
        except CleanUpError as error:
            raise PackageError(f"clean_up: {error}") from error
    for fits, message in checks:
        if not fits:
            raise PackageError(message)
