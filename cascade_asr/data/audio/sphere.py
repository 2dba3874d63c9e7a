"""Read NIST SPHERE audio (WSJ's ``.wv1``, Switchboard's ``.sph``), and check it.

A file is a text header of 1024 bytes (``name -i INT`` or ``name -sLEN TEXT`` on each
line) and the samples with interleaved channels: linear, logarithmic, or compressed by
shorten (Robinson 1994, CUED/F-INFENG/TR.156). The decoded samples are always compared
with ``sample_count`` and ``sample_checksum``, because decoders may return fewer, or
different, samples without an error. ``sample_min`` and ``sample_max`` are not
compared: they are wrong in otherwise valid corpora.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import shutil
import subprocess
import wave
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from cascade_asr.errors import DataError

MAGIC = b"NIST_1A"
SMALLEST_HEADER = 1024  # bytes
LARGEST_HEADER = 1 << 20  # bytes; a larger size means damage
LINEAR, ULAW, ALAW = "pcm", "ulaw", "alaw"
_CODINGS = {"pcm": LINEAR, "ulaw": ULAW, "mu-law": ULAW, "alaw": ALAW, "a-law": ALAW}
_BYTE_ORDERS = {"01": "<i2", "10": ">i2"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SphereHeader:
    """The content of a file's header.

    Attributes:
        path: the file.
        size: bytes of the header; the samples follow.
        sample_count: samples of each channel.
        channel_count: channels, interleaved.
        sample_rate: in Hz.
        sample_bytes: bytes per sample, before compression.
        byte_format: order of a sample's bytes: ``01`` low byte first, ``10`` high
            byte first, ``1`` for single bytes.
        coding: ``pcm``, ``ulaw`` or ``alaw``.
        compression: such as ``embedded-shorten-v2.00``, or empty.
        checksum: sum of all samples modulo 65536, or None if there is none.
    """

    path: Path
    size: int
    sample_count: int
    channel_count: int
    sample_rate: int
    sample_bytes: int
    byte_format: str
    coding: str
    compression: str
    checksum: int | None

    @property
    def duration_s(self) -> float:
        """Duration according to the header."""
        return self.sample_count / self.sample_rate

    @property
    def full_coding(self) -> str:
        """The coding as the header writes it, with the compression."""
        return f"{self.coding},{self.compression}" if self.compression else self.coding


def is_sphere(beginning: bytes) -> bool:
    """Whether a file that begins with these bytes is SPHERE."""
    return beginning.startswith(MAGIC)


def read_header(path: Path | str) -> SphereHeader:
    """Read only the header: one kilobyte of the file.

    Raises:
        DataError: for a file that is missing or not SPHERE, or whose header is damaged.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            block = stream.read(SMALLEST_HEADER)
            size = _header_size(path, block)
            block += stream.read(size - len(block))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if len(block) < size:
        raise _damaged(path, f"it is {len(block)} bytes long, not {size}")
    return _interpret(path, size, _parse_fields(path, block))


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path}: damaged SPHERE header: {reason}; copy the file from the disc again")


def _header_size(path: Path, block: bytes) -> int:
    if not block:
        raise DataError(f"{path}: empty file")
    if not is_sphere(block):
        raise DataError(f"{path}: no NIST_1A magic: not a SPHERE file")
    lines = block.split(b"\n", 2)
    text = lines[1].strip() if len(lines) == 3 else b""
    if lines[0].strip() != MAGIC or not text.isdigit():
        raise _damaged(path, "its second line is not a size")
    if not SMALLEST_HEADER <= int(text) <= LARGEST_HEADER:
        raise _damaged(path, f"a size of {int(text)} bytes")
    return int(text)


def _parse_fields(path: Path, block: bytes) -> dict[str, int | float | str]:
    """Names and values between the size and ``end_head``."""
    fields: dict[str, int | float | str] = {}
    lines = block.decode("latin-1").split("\n")
    for number, line in enumerate(lines[2:], start=3):
        words = line.split(None, 2)
        if words[:1] == ["end_head"]:
            return fields
        if not words or words[0].startswith(";"):
            continue
        try:
            name, kind, value = words
            if kind == "-i":
                fields[name] = int(value)
            elif kind == "-r":
                fields[name] = float(value)
            elif kind.startswith("-s"):
                fields[name] = value[: int(kind[2:])]
            else:
                raise ValueError
        except ValueError:
            raise _damaged(path, f"line {number} is '{line[:40]}'") from None
    raise _damaged(path, "no end_head")


def _interpret(path: Path, size: int, fields: dict[str, int | float | str]) -> SphereHeader:
    def integer(name: str, smallest: int, default: int | None = None) -> int:
        value = fields.get(name, default)
        if value is None:
            raise _damaged(path, f"no {name}")
        if not isinstance(value, (int, float)) or value != int(value) or value < smallest:
            raise _damaged(path, f"{name} is {value!r}")
        return int(value)

    text = str(fields.get("sample_coding", LINEAR))
    name, _, compression = text.partition(",")
    if name not in _CODINGS:
        raise DataError(f"{path}: coding '{text}' is unknown; expected pcm, ulaw or alaw")
    coding = _CODINGS[name]
    checksum = fields.get("sample_checksum")
    return SphereHeader(
        path=path,
        size=size,
        sample_count=integer("sample_count", 0),
        channel_count=integer("channel_count", 1, 1),
        sample_rate=integer("sample_rate", 1),
        sample_bytes=integer("sample_n_bytes", 1, 2 if coding == LINEAR else 1),
        byte_format=str(fields.get("sample_byte_format", "")),
        coding=coding,
        compression=compression,
        checksum=checksum % 65536 if isinstance(checksum, int) else None,
    )


def read_sphere(path: Path | str) -> tuple[np.ndarray, int]:
    """Read a whole file and check it against its header.

    Returns:
        Samples, int16, shape (frames,) or (frames, channels), and the rate in Hz.

    Raises:
        DataError: for a damaged header, a file that is truncated or corrupt, and a
            coding for which no decoder is installed.
    """
    header = read_header(path)
    if header.compression:
        samples, summed = _decompress(header), None
        if header.coding == LINEAR:
            summed = samples
    else:
        stored = _read_stored(header)
        samples = stored if header.coding == LINEAR else _EXPANSIONS[header.coding]()[stored]
        summed = stored
    samples = _checked(header, samples, summed)
    if len(samples) == 0:
        raise DataError(f"{header.path}: holds no samples")
    return (samples[:, 0] if header.channel_count == 1 else samples), header.sample_rate


def choose_channel(samples: np.ndarray, channel: int, name: str) -> np.ndarray:
    """One channel of (frames,) or (frames, channels) samples, counted from 1.

    Raises:
        DataError: naming the recording, if it has fewer channels.
    """
    channels = samples.reshape(len(samples), -1)
    if not 1 <= channel <= channels.shape[1]:
        raise DataError(f"{name}: no channel {channel}; it has {channels.shape[1]}")
    return channels[:, channel - 1]


def wav_bytes(samples: np.ndarray, rate: int) -> bytes:
    """A WAV file of (frames,) or (frames, channels) int16 samples."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as writer:
        writer.setnchannels(samples.shape[1] if samples.ndim > 1 else 1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples.astype("<i2").tobytes())
    return stream.getvalue()


def frame_count(header: SphereHeader) -> int:
    """Samples per channel, by the header and, unless the file is compressed, its size.

    Raises:
        DataError: if the file is truncated.
    """
    if header.compression:
        return header.sample_count
    size = header.path.stat().st_size - header.size
    return _agreed(header, size // (header.sample_bytes * header.channel_count))


def _agreed(header: SphereHeader, found: int) -> int:
    """How many of the frames found to read; ``sample_count`` may be the total of all channels."""
    if header.channel_count > 1 and found * header.channel_count == header.sample_count:
        return found
    if found < header.sample_count:
        raise DataError(
            f"{header.path}: header says {header.sample_count} samples, found {found}: truncated; "
            "copy the file from the disc again"
        )
    return header.sample_count


def _checked(header: SphereHeader, samples: np.ndarray, summed: np.ndarray | None) -> np.ndarray:
    """Compare (frames, channels) samples with the header's count and checksum."""
    found, frames = len(samples), _agreed(header, len(samples))
    if found > frames:
        logger.warning(
            "%s: %d samples more than the header says; left out", header.path, found - frames
        )
        samples = samples[:frames]
        summed = summed if summed is None else summed[:frames]
    elif frames < header.sample_count:
        logger.warning(
            "%s: sample_count %d is the total of %d channels; read as %d",
            header.path, header.sample_count, header.channel_count, frames,
        )  # fmt: skip
    if header.checksum is not None and summed is not None:
        checksum = int(summed.sum(dtype=np.int64)) % 65536
        if checksum != header.checksum:
            raise DataError(
                f"{header.path}: checksum {checksum}, header {header.checksum}: corrupt; "
                "copy the file from the disc again"
            )
    return samples


def _read_stored(header: SphereHeader) -> np.ndarray:
    """Uncompressed samples as they are stored, (frames, channels): int16, or uint8 codes."""
    if header.coding != LINEAR:
        kind = np.dtype(np.uint8)
    elif header.byte_format in _BYTE_ORDERS:
        kind = np.dtype(_BYTE_ORDERS[header.byte_format])
    else:
        raise _damaged(header.path, f"sample_byte_format is '{header.byte_format}'")
    if header.sample_bytes != kind.itemsize:
        raise DataError(
            f"{header.path}: {header.sample_bytes} bytes per sample; {header.coding} must have "
            f"{kind.itemsize}"
        )
    with header.path.open("rb") as stream:
        stream.seek(header.size)
        content = stream.read()
    frames = len(content) // (kind.itemsize * header.channel_count)
    stored = np.frombuffer(content, kind, frames * header.channel_count)
    stored = stored.astype(np.int16) if header.coding == LINEAR else stored
    return stored.reshape(frames, header.channel_count)


@cache
def _ulaw_expansion() -> np.ndarray:
    """Linear value of each 8-bit code, int16 (ITU-T G.711, mu-law, 14 bits as 16)."""
    codes = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = ((((codes & 0x0F) << 3) + 0x84) << ((codes & 0x70) >> 4)) - 0x84
    return np.where(codes & 0x80, -magnitude, magnitude).astype(np.int16)


@cache
def _alaw_expansion() -> np.ndarray:
    """Linear value of each 8-bit code, int16 (ITU-T G.711, A-law, 13 bits as 16)."""
    codes = np.arange(256, dtype=np.int32) ^ 0x55
    exponent, mantissa = (codes & 0x70) >> 4, (codes & 0x0F) << 4
    magnitude = np.where(
        exponent == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(exponent - 1, 0)
    )
    return np.where(codes & 0x80, magnitude, -magnitude).astype(np.int16)


_EXPANSIONS: dict[str, Callable[[], np.ndarray]] = {ULAW: _ulaw_expansion, ALAW: _alaw_expansion}


def require_decoder(header: SphereHeader) -> str:
    """Name the decoder for a file; empty if it is not compressed.

    Raises:
        DataError: naming what is needed, if no installed program can decode it.
    """
    if not header.compression:
        return ""
    if not header.compression.startswith("embedded-shorten"):
        raise DataError(
            f"{header.path}: coding '{header.full_coding}' is unknown; expected embedded-shorten"
        )
    names = ["desphere", "sph2pipe"]
    if header.coding == LINEAR:  # ffmpeg does not know the others
        names.insert(0, "ffmpeg")
    for name in names:
        if _is_installed(name):
            return name
    needed = ", ".join(names[:-1]) + f" or {names[-1]}"
    raise DataError(
        f"{header.path}: coding '{header.full_coding}' needs {needed}; install one of them "
        "(for example 'pip install desphere')"
    )


@cache
def _is_installed(name: str) -> bool:
    if name == "desphere":
        return importlib.util.find_spec(name) is not None
    return shutil.which(name) is not None


def _decompress(header: SphereHeader) -> np.ndarray:
    """Samples of a shortened file, (frames, channels) int16, by the first available decoder."""
    samples = _DECODERS[require_decoder(header)](header)
    frames = len(samples) // header.channel_count
    return samples[: frames * header.channel_count].reshape(frames, header.channel_count)


def _decode_by_ffmpeg(header: SphereHeader) -> np.ndarray:
    arguments = ["ffmpeg", "-nostdin", "-v", "error", "-threads", "1", "-f", "nistsphere"]
    content = _run(header, [*arguments, "-i", f"file:{header.path}", "-f", "s16le", "-"])
    return np.frombuffer(content[: len(content) // 2 * 2], "<i2").astype(np.int16, copy=False)


def _decode_by_sph2pipe(header: SphereHeader) -> np.ndarray:
    return _samples_of_wav(_run(header, ["sph2pipe", "-p", "-f", "wav", str(header.path)]))


def _decode_by_desphere(header: SphereHeader) -> np.ndarray:
    import desphere

    try:
        return _samples_of_wav(desphere.transcode_bytes(header.path.read_bytes()))
    except (desphere.DesphereError, EOFError, ValueError, IndexError) as error:
        raise DataError(f"{header.path}: desphere cannot decode it: {error}") from error


def _samples_of_wav(content: bytes) -> np.ndarray:
    import soundfile

    return soundfile.read(io.BytesIO(content), dtype="int16")[0].reshape(-1)


def _run(header: SphereHeader, command: list[str]) -> bytes:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise DataError(
            f"{header.path}: {command[0]} cannot decode it: {reason[-1] if reason else 'no reason'}"
        )
    return done.stdout


_DECODERS: dict[str, Callable[[SphereHeader], np.ndarray]] = {
    "ffmpeg": _decode_by_ffmpeg,
    "sph2pipe": _decode_by_sph2pipe,
    "desphere": _decode_by_desphere,
}
