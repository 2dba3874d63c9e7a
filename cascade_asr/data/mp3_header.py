"""How long an MP3 file is, where libsndfile would not know.

An MP3 file is a sequence of frames. The first one may contain no sound, but a Xing header,
also called Info, which says how long the stream is. Without it libsndfile takes all frames
for as large as the first one: of a stream with a variable bit rate it may read a tenth.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import IO

# kbit/s by the index in a frame's header, for MPEG-1 and for MPEG-2 and 2.5 (layer III)
_KBITS = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
)
_RATES_HZ = (44100, 48000, 32000, 0)  # of MPEG-1; half of it for MPEG-2, a quarter for 2.5
_LARGEST_FRAME = 2_880  # bytes
_HAS_FRAMES, _HAS_BYTES = 1, 2  # flags of a Xing header
COMPLETE = 0.99  # least share of the bytes that a header promises


@dataclass(frozen=True)
class Mp3Length:
    """What a file says about its length.

    Attributes:
        declared: bytes of the stream by its header; None if it has none.
        found: bytes from the first frame to the end of the file.
        samples: samples per channel of all frames, counted where no header tells them.
    """

    declared: int | None
    found: int
    samples: int | None

    @property
    def is_truncated(self) -> bool:
        """Whether the file is shorter than its header says."""
        return self.declared is not None and self.found < COMPLETE * self.declared


@dataclass(frozen=True)
class _Frame:
    size: int  # bytes
    samples: int
    rate: int  # Hz


def read_mp3_length(stream: IO[bytes]) -> Mp3Length | None:
    """Read the length of a file that is open for reading; None if it is not an MP3 file."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    start = _after_tag(stream.read(10))
    stream.seek(start)
    beginning = stream.read(_LARGEST_FRAME)
    first = _frame(beginning[:4])
    if first is None:
        return None
    following = beginning[first.size : first.size + 4]
    if following and _frame(following) is None:
        return None
    head = beginning[: first.size]
    for name in (b"Xing", b"Info"):
        if (place := head.find(name)) >= 0:
            flags, *numbers = struct.unpack_from(">III", head.ljust(place + 16, b"\0"), place + 4)
            if flags & _HAS_FRAMES:
                declared = numbers[1] if flags & _HAS_BYTES else None
                return Mp3Length(declared, size - start, None)
    return Mp3Length(None, size - start, _counted(beginning + stream.read()))


def _after_tag(beginning: bytes) -> int:
    """Where an ID3v2 tag at the beginning of a file ends; 0 if there is none."""
    if beginning[:3] != b"ID3" or len(beginning) < 10:
        return 0
    length = 0
    for byte in beginning[6:10]:
        length = length << 7 | byte & 0x7F
    return 10 + length + (10 if beginning[5] & 0x10 else 0)


def _frame(header: bytes) -> _Frame | None:
    """The frame that begins with these four bytes; None if it is none of layer III."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version = header[1] >> 3 & 3  # 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5
    kbits = _KBITS[version != 3][header[2] >> 4]
    rate = _RATES_HZ[header[2] >> 2 & 3] >> {3: 0, 2: 1, 0: 2}.get(version, 0)
    if version == 1 or not kbits or not rate:
        return None
    samples = 1152 if version == 3 else 576
    return _Frame(samples // 8 * kbits * 1000 // rate + (header[2] >> 1 & 1), samples, rate)


def _counted(content: bytes) -> int:
    """Samples of all frames; what lies between them, such as a tag, is skipped."""
    total, place, rate = 0, 0, None
    while place >= 0:
        frame = _frame(content[place : place + 4])
        if frame is None or rate not in (None, frame.rate):
            place = content.find(b"\xff", place + 1)
            continue
        total, rate = total + frame.samples, frame.rate
        place += frame.size
    return total
