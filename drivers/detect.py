"""What a file is, by its first bytes. The name's extension is no evidence: `.dat` is four formats."""

import re

HEAD_BYTES = 4_096

READABLE = {"AEDAT4", "npy", "npz"}

_STARTS = (
    (b"#ROSBAG V2.0\n", "a ROS 1 bag"),
    (b"#!AER-DAT4.0\r\n", "AEDAT4"),
    (b"#!AER-DAT3.", "AEDAT 3"),
    (b"#!AER-DAT2.", "AEDAT 2.0"),
    (b"#!AER-DAT1.", "AEDAT 1.0"),
    (b"Event Stream", "Event Stream"),
    (b"\x93NUMPY", "npy"),
    (b"PK\x03\x04", "npz"),
    (b"PK\x05\x06", "npz"),  # a zip without entries
    (b"MATLAB 5.0 MAT-file", "a MATLAB 5 file"),
    (b"\x89MCAP0\r\n", "MCAP"),
    (b"SQLite format 3\0", "a ROS 2 bag (SQLite)"),
)
_HDF5 = b"\x89HDF\r\n\x1a\n"
_NUMBERS = re.compile(
    rb"^\s*-?[\d.]+(?:[eE][-+]?\d+)?(?:[\s,;]+-?[\d.]+(?:[eE][-+]?\d+)?){3,4}\s*$", re.MULTILINE
)


def detect(head: bytes) -> str | None:
    """The format's name for a message, or None; `head` is up to HEAD_BYTES from the file's begin."""
    for start, name in _STARTS:
        if head.startswith(start):
            return name
    if any(head.startswith(_HDF5, at) for at in (0, 512, 1_024, 2_048)):
        return "HDF5"
    if head.startswith(b"% "):
        comments = b"\n".join(line for line in head.split(b"\n") if line.startswith(b"%"))
        dat = b"% Data file containing" in comments or b"% Version" in comments
        if b"% evt" in comments or b"% format" in comments:
            dat = False
        return "Prophesee DAT" if dat else "Prophesee RAW"
    text = not re.search(rb"[^\t\n\r -~]", head)
    if text and _NUMBERS.search(head):
        return "text (CSV or TXT)"
    if head.startswith(b"#") and not text:  # a version line is not required
        return "AEDAT 1.0"
    return None
