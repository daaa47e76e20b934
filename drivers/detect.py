"""What a file is: by its first bytes, and only where these say nothing by its name and plausibility.

The name's extension alone is no evidence: `.dat` is four formats, `.raw` and `.bin` are anything.
"""

import gzip
import io
import re
import zlib
from typing import NamedTuple

import numpy as np

HEAD_BYTES = 65_536
TEXT_BYTES = 4_096  # enough lines to know that they are numbers

_STARTS = (
    (b"#ROSBAG V2.0\n", "rosbag", "a ROS 1 bag"),
    (b"#!AER-DAT4.0\r\n", "aedat4", "AEDAT4"),
    (b"#!AER-DAT3.", "aedat3", "AEDAT 3"),
    (b"#!AER-DAT2.", "aedat2", "AEDAT 2.0"),
    (b"#!AER-DAT1.", "aedat1", "AEDAT 1.0"),
    (b"Event Stream", "es", "Event Stream"),
    (b"\x93NUMPY", "npy", ".npy"),
    (b"PK\x03\x04", "npz", ".npz"),
    (b"PK\x05\x06", "npz", ".npz"),  # a zip without entries
    (b"MATLAB 5.0 MAT-file", None, "a MATLAB 5 file"),
    (b"SQLite format 3\0", "db3", "a ROS 2 bag (SQLite)"),
)
_MCAP = b"\x89MCAP0\r\n"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_GZIP = b"\x1f\x8b"
_EVT_KEY = re.compile(rb"^% (?:evt|format)[ \t]+([^\s;]+)", re.MULTILINE)
_EVT_NAMES = {
    **dict.fromkeys((b"2.0", b"EVT2", b"EVT2.0"), "evt2"),
    **dict.fromkeys((b"2.1", b"EVT21", b"EVT2.1"), "evt21"),
    **dict.fromkeys((b"3.0", b"EVT3", b"EVT3.0"), "evt3"),
}
_NUMBERS = re.compile(
    rb"\s*[-+]?[\d.]+(?:[eE][-+]?\d+)?(?:[\s,;]+(?:[-+]?[\d.]+(?:[eE][-+]?\d+)?|[Tt]rue|[Ff]alse)){3,4}[\s,;]*"
)
_COMMENT = re.compile(rb"#[\t -~]*\r?\n")
_BINARY = re.compile(rb"[^\t\n\r -~]")
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f]")  # in no text of any language
_EVT2_TYPES = np.array([kind in (0x0, 0x1, 0x8, 0xA, 0xE, 0xF) for kind in range(16)])
PLAUSIBLE = 0.98  # of the records; the others may be damage


class Found(NamedTuple):
    format: str | None  # its name among the formats; None: not to be read
    title: str  # for people; "": unknown
    sure: bool = True  # the head itself says so; False: it only looks like it


UNKNOWN = Found(None, "")


def detect(head: bytes, name: str = "", size: int | None = None) -> Found:
    """What the file is; `head` is up to HEAD_BYTES from its begin, `size` that of the whole file."""
    for start, found, title in _STARTS:
        if head.startswith(start):
            return Found(found, title)
    if head.startswith(_MCAP):
        ros = _mcap_profile(head).startswith(b"ros")
        return Found("rosmcap", "a ROS bag (MCAP)") if ros else Found("mcap", "MCAP")
    if any(head.startswith(_HDF5, at) for at in _offsets(len(head))):
        return Found("hdf5", "HDF5")
    if head.startswith(b"% "):
        return _prophesee(head)
    if head.startswith(_GZIP):
        text = is_text(_unpacked(head))
        return Found("csv", "text (CSV or TXT)") if text else Found(None, "a gzip file")
    if is_text(head):
        return Found("csv", "text (CSV or TXT)")
    if _COMMENT.match(head) and _CONTROL.search(head):  # a version line is not required
        return Found("aedat1", "AEDAT 1.0")
    return _headerless(head, name, len(head) if size is None else size)


def is_text(head: bytes) -> bool:
    """Lines of four or five numbers, in most of the lines or in text without any other byte.

    Comments count neither way, and the last line may be cut; damaged lines are for the reader to count.
    """
    head = head[:TEXT_BYTES]
    lines = [line for line in head.split(b"\n") if line.strip() and not line.startswith((b"#", b"%"))]
    rows = sum(_NUMBERS.fullmatch(line) is not None for line in lines)
    return rows > 0 and (2 * rows >= len(lines) or not _BINARY.search(head))


def _offsets(size: int) -> list[int]:
    """Where HDF5's signature may be: 0, 512, 1024, 2048, ..."""
    return [0, *(512 << k for k in range(16) if 512 << k < size)]


def _mcap_profile(head: bytes) -> bytes:
    """The profile, first string of the Header record: "ros1" and "ros2" are bags."""
    length = int.from_bytes(head[17:21], "little")
    return head[21 : 21 + length] if head[8:9] == b"\x01" else b""


def _prophesee(head: bytes) -> Found:
    comments = b"\n".join(line for line in head.split(b"\n") if line.startswith(b"% ") and len(line) < 1_024)
    kinds = _EVT_KEY.findall(comments)
    if kinds:
        found = _EVT_NAMES.get(kinds[-1].upper())
        return Found(found, "Prophesee RAW" if found else f"Prophesee {kinds[-1].decode('ascii', 'replace')}")
    if b"% Data file containing" in comments or b"% Version" in comments:
        return Found("dat", "Prophesee DAT")
    return Found("evt2", "Prophesee RAW", sure=False) if _is_evt2(_after_comments(head)) else UNKNOWN


def _after_comments(head: bytes) -> bytes:
    at = 0
    while head.startswith(b"% ", at) and (stop := head.find(b"\n", at)) >= 0:
        at = stop + 1
    return head[at:]


def _unpacked(head: bytes) -> bytes:
    try:
        return gzip.GzipFile(fileobj=io.BytesIO(head)).read1(4_096)
    except (OSError, EOFError, zlib.error):
        return b""


def _headerless(head: bytes, name: str, size: int) -> Found:
    """Words without a header say nothing themselves; only what is plausible as one format alone counts."""
    evt2 = _is_evt2(head)
    nmnist = name.lower().endswith((".bin", ".bs2")) and size % 5 == 0 and _is_nmnist(head)
    if evt2 == nmnist:
        return UNKNOWN
    return Found("evt2", "EVT2", sure=False) if evt2 else Found("nmnist", "N-MNIST", sure=False)


def _is_evt2(data: bytes) -> bool:
    """Known word types, coordinates of a sensor, and time bases that are there and rise."""
    words = np.frombuffer(data, "<u4", len(data) // 4)
    kinds = words >> 28
    bases = (words[kinds == 8] & 0x0FFFFFFF).astype(np.int64)
    pixels = words[kinds <= 1]
    inside = ((pixels >> 11 & 0x7FF) < 1_280) & ((pixels & 0x7FF) < 1_280)
    return (
        len(bases) >= 2
        and len(pixels) >= 2
        and bool(_EVT2_TYPES[kinds].mean() >= PLAUSIBLE)
        and bool(inside.mean() >= PLAUSIBLE)
        and bool((np.diff(bases) >= 0).mean() >= PLAUSIBLE)
    )


def _is_nmnist(data: bytes) -> bool:
    """Records of five bytes: coordinates of such a sensor, times that rise."""
    records = np.frombuffer(data, np.uint8, len(data) // 5 * 5).reshape(-1, 5).astype(np.int64)
    records = records[records[:, 1] != 240]  # overflow of the clock
    t = (records[:, 2] & 0x7F) << 16 | records[:, 3] << 8 | records[:, 4]
    inside = (records[:, 0] < 240) & (records[:, 1] < 180)
    return (
        len(t) >= 8  # fewer may rise by chance
        and bool(inside.mean() >= PLAUSIBLE)
        and bool((np.diff(t) >= 0).mean() >= PLAUSIBLE)
        and bool(t[-1] > t[0])
    )
