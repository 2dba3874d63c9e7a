"""The header of a WAV file, and how far its lengths can be trusted.

A program that writes WAV to a pipe does not know the length when it writes the
header: it writes 0, 0xFFFFFFFF or, as sox does, something near 0x7FFFFFFF. RF64 (EBU
Tech 3306) has its lengths in a chunk of 64-bit numbers.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import IO

# As sox writes it, less what is no whole frame (sox leaves that out); from here on, a length
# that does not fit means unknown.
SMALLEST_UNKNOWN = 0x7FFFF000
_AFTER_EMPTY_DATA = (b"LIST", b"id3 ", b"ID3 ", b"PEAK", b"bext", b"cue ", b"fact", b"iXML")


@dataclass(frozen=True)
class WavHeader:
    """What a header says about the samples.

    Attributes:
        is_rf64: 64-bit lengths.
        data_start: byte where the samples begin; None if there are none.
        declared: bytes of samples according to the header; None if it does not know.
        found: bytes of samples, and whatever follows them, by the size of the file.
        frame_bytes: bytes of one sample of all channels.
    """

    is_rf64: bool
    data_start: int | None
    declared: int | None
    found: int
    frame_bytes: int

    @property
    def is_truncated(self) -> bool:
        """Whether the file is shorter than its header says."""
        return self.data_start is None or (self.declared or 0) > self.found


def read_wav_header(stream: IO[bytes]) -> WavHeader | None:
    """Read the header of a file that is open for reading; None if it is not a WAV file."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    kind = stream.read(12)[:4]
    if kind not in (b"RIFF", b"RF64"):
        return None
    is_rf64, frame_bytes, long_length = kind == b"RF64", 1, 0
    while len(header := stream.read(8)) == 8:
        chunk, length = header[:4], struct.unpack("<I", header[4:])[0]
        start = stream.tell()
        if chunk == b"data":
            found = size - start
            declared = long_length if is_rf64 and length == 0xFFFFFFFF else length
            if _is_unknown(declared, found, frame_bytes, stream.read(4)):
                declared = None
            return WavHeader(is_rf64, start, declared, found, frame_bytes)
        if chunk == b"ds64" and len(lengths := stream.read(16)) == 16:
            long_length = struct.unpack("<8xQ", lengths)[0]
        if chunk == b"fmt " and len(fields := stream.read(14)) == 14:
            frame_bytes = max(1, struct.unpack("<12xH", fields)[0])
        stream.seek(start + length + length % 2)
    return WavHeader(is_rf64, None, None, 0, frame_bytes)


def _is_unknown(declared: int, found: int, frame_bytes: int, beginning: bytes) -> bool:
    if declared == 0:
        return found > 0 and beginning not in _AFTER_EMPTY_DATA
    smallest = SMALLEST_UNKNOWN // frame_bytes * frame_bytes
    return declared > found and smallest <= declared < 1 << 32 or declared == (1 << 64) - 1


def with_true_length(content: bytes, header: WavHeader) -> bytes:
    """The file as RIFF, with the true length of its samples."""
    assert header.data_start is not None
    length = header.found // header.frame_bytes * header.frame_bytes
    fixed = bytearray(content[: header.data_start + length])
    fixed[:8] = b"RIFF" + struct.pack("<I", min(len(fixed) - 8, 0xFFFFFFFF))
    if header.is_rf64 and fixed[12:16] == b"ds64":
        fixed[12:16] = b"JUNK"
    start = header.data_start
    fixed[start - 4 : start] = struct.pack("<I", min(length, 0xFFFFFFFF))
    return bytes(fixed)
