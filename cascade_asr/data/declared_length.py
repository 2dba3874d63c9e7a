"""How long AIFF, AU, W64 and Ogg files are by their headers: libsndfile reads what there is."""

from __future__ import annotations

import io
from typing import IO

SMALLEST_UNKNOWN = 0x7F000000  # from here on, a length of 32 bits was written to a pipe
_W64 = b"riff.\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"  # the first chunk's identifier
_PAGE, _PAGE_HEADER, _LARGEST_PAGE = b"OggS\0", 27, 27 + 255 + 255 * 255


def is_shorter_than_declared(stream: IO[bytes]) -> bool:
    """Whether an open AIFF, AU or W64 file ends before its header says, or Ogg within a page.

    False for any other file.
    """
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    beginning = stream.read(24)
    if beginning.startswith(_PAGE):
        stream.seek(max(0, size - _LARGEST_PAGE))
        return _ends_within_page(stream.read())
    declared = _declared(beginning)
    return declared is not None and size < declared


def _ends_within_page(end: bytes) -> bool:
    """Whether the last page that begins in the end of an Ogg file is incomplete."""
    place = end.rfind(_PAGE)
    header = end[place : place + _PAGE_HEADER]
    if place < 0 or len(header) < _PAGE_HEADER:
        return place >= 0
    sizes = end[place + _PAGE_HEADER :][: header[-1]]
    return len(sizes) < header[-1] or place + _PAGE_HEADER + len(sizes) + sum(sizes) > len(end)


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
