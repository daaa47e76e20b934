"""The text in a gzip file, as far as it can be had: also in front of damage, and of a file that was cut."""

import zlib
from typing import IO

PACKED_BYTES = 1 << 14  # looked at together; behind an error they are gone through one by one
GZIP = 16 + zlib.MAX_WBITS


class Unzip:
    """`read` gives up to so many bytes, and none at the end; `fault` is then why it is not the end, or ''."""

    def __init__(self, file: IO[bytes]) -> None:
        self.fault = ""
        self._file = file
        self._member = zlib.decompressobj(GZIP)
        self._packed = b""
        self._begun = False  # the member has had bytes

    def read(self, count: int) -> bytes:
        while not self.fault:
            if not self._packed:
                self._packed = self._file.read(PACKED_BYTES)
                if not self._packed:
                    self.fault = "the packed file ends before its time" if self._begun else ""
                    return b""
            if text := self._unpack(count):
                return text
        return b""

    def _unpack(self, count: int) -> bytes:
        before = self._member.copy()
        self._begun = True
        try:
            text = self._member.decompress(self._packed, count)
        except zlib.error as error:
            self.fault = f"the packed file is damaged: {error}"
            return _until_error(before, self._packed)
        if self._member.eof:
            self._packed, self._begun = self._member.unused_data.lstrip(b"\0"), False
            self._member = zlib.decompressobj(GZIP)
        else:
            self._packed = self._member.unconsumed_tail
        return text


def _until_error(member: "zlib._Decompress", packed: bytes) -> bytes:
    """What the bytes in front of the one that cannot be right give."""
    parts = []
    for at in range(len(packed)):
        try:
            parts.append(member.decompress(packed[at : at + 1]))
        except zlib.error:
            break
    return b"".join(parts)
