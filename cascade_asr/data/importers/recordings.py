"""What an audio file contains, by its header, and the wav.scp entry that reads part of it."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import soundfile

from cascade_asr.data.audio.any_audio import tells_of_truncation
from cascade_asr.data.audio.audio import (
    NO_LENGTH,
    UNKNOWN_FRAMES,
    is_cut_short,
    read_audio_file,
)
from cascade_asr.data.audio.sphere import (
    MAGIC,
    frame_count,
    is_sphere,
    read_header,
    require_decoder,
)
from cascade_asr.data.declared_length import is_shorter_than_declared
from cascade_asr.data.importers.entries import Fault
from cascade_asr.data.mp3_header import read_mp3_length
from cascade_asr.data.wav_header import read_wav_header
from cascade_asr.errors import DataError

# libsndfile's names of WAV codings that store samples one by one, not in blocks
ONE_SAMPLE_EACH = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
THREADS = 16  # the time goes into waiting for the file system
SOX = "sox -R -D -t wav - -t wav -"  # without dither, which is random
AS_WAV = "python -m cascade_asr.cli.sphere"  # feature extraction reads the file itself instead


@dataclass(frozen=True)
class Recording:
    """An audio file.

    Attributes:
        path: the file.
        rate: in Hz.
        channels: their number.
        duration_s: by the header.
        needs_ffmpeg: whether neither libsndfile nor our own reader reads the whole file.
    """

    path: Path
    rate: int
    channels: int
    duration_s: float
    needs_ffmpeg: bool = False

    def wav_entry(self, channel: int | str | None, rate: int) -> str:
        """The wav.scp entry for one channel at a rate: the file itself if that is enough.

        Args:
            channel: counted from 1; ``mean`` of all; None for a single-channel file.
            rate: wanted rate in Hz.
        """
        path = shlex.quote(str(self.path))
        if self.needs_ffmpeg:
            which = f" -af {shlex.quote(f'pan=mono|c0=c{channel - 1}')}" if isinstance(channel, int) else ""
            return f"ffmpeg -nostdin -v error -i {shlex.quote(f'file:{self.path}')} -map 0:a:0{which} -ac 1 -ar {rate} -f wav - |"
        effects = "remix -" if channel == "mean" else ""
        if rate != self.rate:
            effects += f" rate {rate}"
        chosen = f" --channel {channel}" if isinstance(channel, int) and self.channels > 1 else ""
        if not effects and not chosen:
            return str(self.path)
        pipe = f"{SOX} {effects.strip()} |" if effects else ""
        return f"{AS_WAV}{chosen} {path} | {pipe}".rstrip()


def probe_all(paths: Iterable[Path]) -> dict[Path, Recording | str]:
    """What each file contains, or what is wrong with it."""
    paths = list(dict.fromkeys(paths))

    def work(path: Path) -> Recording | str:
        try:
            return probe(path)
        except (DataError, Fault) as error:
            return str(error)
        except OSError as error:
            return f"{path}: cannot be read: {error.strerror or error}"

    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(paths, pool.map(work, paths), strict=True))


def probe(path: Path) -> Recording:
    """Read the header of an audio file.

    Raises:
        DataError, Fault: if it is empty, truncated, or not audio.
    """
    with path.open("rb") as stream:
        beginning = stream.read(len(MAGIC))
        if not beginning:
            raise Fault(f"{path}: empty file")
        if is_sphere(beginning):
            header = read_header(path)
            require_decoder(header)
            duration_s = frame_count(header) / header.sample_rate
            return _with_samples(Recording(path, header.sample_rate, header.channel_count, duration_s))
        wav = read_wav_header(stream)
        mp3 = read_mp3_length(stream) if wav is None else None
        is_truncated = is_shorter_than_declared(stream) or (mp3 is not None and mp3.is_truncated)
    if is_truncated:
        raise Fault(f"{path}: truncated: its header promises more bytes than there are")
    if wav is not None and wav.is_truncated:
        raise Fault(f"{path}: truncated: its header promises more samples than there are")
    try:
        info = soundfile.info(str(path))
    except soundfile.LibsndfileError:
        return _with_samples(_probe_by_ffmpeg(path))
    frames = info.frames
    if wav is not None and wav.declared is None:  # written by a pipe
        if info.subtype in ONE_SAMPLE_EACH:
            frames = wav.found // wav.frame_bytes
        else:
            frames = len(read_audio_file(str(path))[0])
    if mp3 is not None and mp3.samples is not None:
        duration_s = mp3.samples / info.samplerate
        by_ffmpeg = is_cut_short(mp3, frames)
        return _with_samples(Recording(path, info.samplerate, info.channels, duration_s, by_ffmpeg))
    if frames >= UNKNOWN_FRAMES:
        raise Fault(f"{path}: {NO_LENGTH}")
    return _with_samples(Recording(path, info.samplerate, info.channels, frames / info.samplerate))


def _with_samples(recording: Recording) -> Recording:
    if not recording.duration_s > 0:
        raise Fault(f"{recording.path}: holds no samples")
    return recording


def _probe_by_ffmpeg(path: Path) -> Recording:
    if not (shutil.which("ffprobe") and shutil.which("ffmpeg")):
        raise Fault(f"{path}: libsndfile cannot read it, and ffmpeg is not installed")
    done = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "a:0", "-of", "json", "-show_entries",
         "stream=sample_rate,channels,duration:format=duration", f"file:{path}"],
        stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    try:
        told = json.loads(done.stdout)
        stream = told["streams"][0]
        duration_s = float(stream.get("duration") or told["format"]["duration"])
        recording = Recording(path, int(stream["sample_rate"]), int(stream["channels"]), duration_s, True)
    except (ValueError, LookupError, TypeError):
        raise Fault(f"{path}: neither libsndfile nor ffmpeg reads it as audio") from None
    copied = subprocess.run(  # reads the file to its end, without decoding it
        ["ffmpeg", "-nostdin", "-v", "error", "-i", f"file:{path}", "-map", "0:a:0", "-c", "copy", "-f", "null", "-"],
        stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    if tells_of_truncation(copied.stderr):
        raise Fault(f"{path}: truncated: it ends before its header says")
    return recording
