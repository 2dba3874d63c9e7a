"""How long AIFF, AU and W64 files are by their headers: libsndfile reads what there is."""

from __future__ import annotations

import io
from typing import IO

SMALLEST_UNKNOWN = 0x7F000000  # from here on, a length of 32 bits was written to a pipe
_W64 = b"riff.\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"  # the first chunk's identifier


def is_shorter_than_declared(stream: IO[bytes]) -> bool:
    """Whether an open AIFF, AU or W64 file ends before its header says; False for any other."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    declared = _declared(stream.read(24))
    return declared is not None and size < declared


def _declared(beginning: bytes) -> int | None:
    """Bytes of the whole file; None if the header does not know, or is another's."""
    start, length = 0, 0
    if beginning[:4] == b"FORM" and beginning[8:12] in (b"AIFF", b"AIFC"):
        start, length = 8, int.from_bytes(beginning[4:8], "big")
        length -= length % 2  # a byte that only fills up may be missing
    elif beginning[:4] == b".snd":
        start, length = (int.from_bytes(beginning[at : at + 4], "big") for at in (4, 8))
    elif beginning[:16] == _W64 and len(beginning) == 24:
        length = int.from_bytes(beginning[16:24], "little")
        return length if length < 1 << 63 else None
    return start + length if 0 < length < SMALLEST_UNKNOWN else None
