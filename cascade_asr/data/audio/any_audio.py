"""Read audio of any kind as one channel at the rate that a model expects.

libsndfile reads WAV, FLAC, Ogg, MP3 and more, our own reader SPHERE, and ffmpeg
(if it is installed) everything else: M4A, the sound of a video.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from math import gcd
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from cascade_asr.data.audio.audio import UnknownFormat, decode_audio, read_audio_file
from cascade_asr.data.audio.sphere import MAGIC, is_sphere
from cascade_asr.errors import DataError

logger = logging.getLogger(__name__)

FULL_SCALE = 32768.0
MOST_CHANNELS = 32  # of a recording; one with no more frames, but more channels, is transposed
MOST_FACTOR = 10_000  # largest resampling factor; beyond it, rates are rounded to a common one
# what ffmpeg says of a file that is not complete, and decodes as far as it goes
_TRUNCATED = (b"File ended prematurely", b"partial file")

Content = bytes | bytearray | memoryview
Source = str | Path | Content | BinaryIO | np.ndarray


def read_any(
    source: Source, rate: int, name: str, given_rate: int | None = None, channel: int | None = None
) -> np.ndarray:
    """Read a recording.

    Args:
        source: a file, its content, an open binary stream, or samples of shape
            (frames,) or (frames, channels): integers over the range of their type, or floats
            between -1 and 1.
        rate: sampling rate to return, in Hz.
        name: name of the recording, for the messages.
        given_rate: sampling rate of samples in Hz; other sources contain it.
        channel: counted from 1; None takes the mean of all channels.

    Returns:
        Samples, shape (frames,), float32 in the range ±32768.

    Raises:
        DataError: if it is missing, empty, damaged or not audio.
    """
    if isinstance(source, np.ndarray):
        if not isinstance(given_rate, (int, float, np.number)) or not given_rate >= 1:
            raise DataError(f"{name}: samples need their sampling rate in Hz; give rate=16000")
        samples, found_rate = _scaled(source, name), int(given_rate)
    elif isinstance(source, (str, Path)):
        samples, found_rate = _read_file(Path(source))
    elif isinstance(source, io.TextIOBase):
        raise DataError(f"{name}: a stream of text; open the file in binary mode: open(FILE, 'rb')")
    else:
        content = source.read() if hasattr(source, "read") else bytes(source)
        samples, found_rate = _read_content(content, name)
    samples = _one_channel(samples, channel, name)
    if not len(samples):
        raise DataError(f"{name}: holds no samples")
    if not np.isfinite(samples).all():
        raise DataError(f"{name}: contains samples that are not numbers (NaN or infinity)")
    if found_rate < rate:
        logger.warning(
            "%s: %d Hz; the model expects %d Hz, and everything above %d Hz is missing: there may "
            "be many errors", name, found_rate, rate, found_rate // 2,
        )  # fmt: skip
    return resample(samples, found_rate, rate)


def resample(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Resample (frames,) samples to another rate, band-limited, as float32."""
    if rate == wanted:
        return samples.astype(np.float32, copy=False)
    from scipy.signal import resample_poly  # takes half a second to import

    common = gcd(rate, wanted)
    up, down = wanted // common, rate // common
    if max(up, down) > MOST_FACTOR:  # such as 44099 Hz: within 0.01 %
        largest = max(rate, wanted)
        up, down = (round(MOST_FACTOR * each / largest) for each in (wanted, rate))
    return resample_poly(samples.astype(np.float32, copy=False), up, down).astype(np.float32)


def _scaled(samples: np.ndarray, name: str) -> np.ndarray:
    """Scale samples of any type to the range ±32768."""
    if samples.ndim not in (1, 2):
        raise DataError(f"{name}: {samples.ndim} axes, expected (frames,) or (frames, channels)")
    if samples.ndim == 2 and samples.shape[0] <= MOST_CHANNELS < samples.shape[1]:
        raise DataError(
            f"{name}: samples of shape {samples.shape}, expected (frames,) or (frames, channels); "
            "transpose what has its channels first, as from torchaudio"
        )
    if np.issubdtype(samples.dtype, np.signedinteger):
        peak = max(-int(samples.min()), int(samples.max())) if samples.size else 0
        if samples.dtype.itemsize > 2 and 0 < peak <= FULL_SCALE:
            raise DataError(
                f"{name}: samples of type {samples.dtype}, none beyond those of int16: almost silent in "
                "the range of that type; give int16 if they are of 16 bits: samples.astype('int16')"
            )
        return samples.astype(np.float32) * np.float32(FULL_SCALE / -np.iinfo(samples.dtype).min)
    if not np.issubdtype(samples.dtype, np.floating):
        raise DataError(f"{name}: samples of type {samples.dtype}; expected int16 or float32")
    if samples.size and np.abs(samples).max() > 256:
        raise DataError(
            f"{name}: floats are expected between -1 and 1, found {np.abs(samples).max():.0f}; "
            "divide by 32768, or give int16"
        )
    return samples.astype(np.float32) * np.float32(FULL_SCALE)


def _one_channel(samples: np.ndarray, channel: int | None, name: str) -> np.ndarray:
    count = 1 if samples.ndim == 1 else samples.shape[1]
    if channel is not None and not 1 <= channel <= count:
        raise DataError(f"{name}: no channel {channel}; it has {count}")
    if samples.ndim == 1:
        return samples
    return samples.mean(axis=1) if channel is None else samples[:, channel - 1]


def _read_file(path: Path) -> tuple[np.ndarray, int]:
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name the recordings in it")
    if not path.exists():
        raise DataError(f"{path}: no such audio file")
    if not path.is_file():  # a named pipe, such as the shell's <(...)
        return _read_content(path.read_bytes(), str(path))
    try:
        return read_audio_file(str(path))
    except UnknownFormat as error:
        return _read_by_ffmpeg(path, str(path), error)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _read_content(content: bytes, name: str) -> tuple[np.ndarray, int]:
    """Read what came through a pipe. SPHERE and ffmpeg need a seekable file."""
    if not content:
        raise DataError(f"{name}: empty: no data arrived")
    try:
        if not is_sphere(content[: len(MAGIC)]):
            return decode_audio(io.BytesIO(content), name)
    except UnknownFormat as error:
        with _as_file(content) as path:
            return _read_by_ffmpeg(path, name, error)
    with _as_file(content) as path:
        try:
            return read_audio_file(str(path))
        except DataError as error:
            raise DataError(str(error).replace(str(path), name)) from error


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(prefix="cascade_asr_") as stream:
        stream.write(content)
        stream.flush()
        yield Path(stream.name)


def tells_of_truncation(messages: bytes) -> bool:
    """Whether ffmpeg's messages say that a file ends before it should; its exit status does not."""
    return any(sign in messages for sign in _TRUNCATED)


def _read_by_ffmpeg(path: Path, name: str, reason: Exception) -> tuple[np.ndarray, int]:
    """Have ffmpeg decode the first audio stream of a file that libsndfile does not know."""
    if not shutil.which("ffmpeg"):
        raise DataError(
            f"{name}: libsndfile cannot read it, and ffmpeg is not installed; install it, or "
            "convert the file to WAV or FLAC"
        ) from reason
    options = ["-map", "0:a:0", "-f", "au", "-c:a", "pcm_f32be", "-"]
    # through a file, not in memory: half an hour of stereo is 700 MB
    with tempfile.TemporaryFile(prefix="cascade_asr_") as written:
        done = subprocess.run(
            ["ffmpeg", "-nostdin", "-v", "error", "-i", f"file:{path.absolute()}", *options],
            stdin=subprocess.DEVNULL, stdout=written, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
        told = done.stderr.decode(errors="replace").strip().splitlines()
        if tells_of_truncation(done.stderr):
            raise DataError(f"{name}: ends before its header says: truncated")
        if done.returncode or not written.seek(0, io.SEEK_END):
            silent = not told or any("matches no streams" in line for line in told)
            last = "no sound in it" if silent else told[-1].replace(f"file:{path.absolute()}", name)
            raise DataError(
                f"{name}: neither libsndfile nor ffmpeg reads it as audio ({last})"
            ) from reason
        written.seek(0)
        samples, rate = soundfile.read(written, dtype="float32")
    samples *= np.float32(FULL_SCALE)
    return samples, rate
