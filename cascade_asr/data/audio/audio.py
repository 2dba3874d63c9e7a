"""Read the audio that a wav.scp names: files, pipes and segments of them.

Samples are float32 in the range of 16-bit integers (±32768), as Kaldi's
feature code expects, whatever the coding of the file.
"""

from __future__ import annotations

import io
import shlex
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from cascade_asr.data.audio.sphere import MAGIC, choose_channel, is_sphere, read_sphere, wav_bytes
from cascade_asr.data.kaldi.tables import Segment
from cascade_asr.errors import DataError

SPHERE_COMMAND = ("-m", "cascade_asr.cli.sphere")  # behind "python" in a pipe of wav.scp
CLIP_TOLERANCE_S = 0.1  # a segment may end this much behind its recording


def read_audio(entry: str) -> tuple[np.ndarray, int]:
    """Read what one wav.scp entry stands for.

    Args:
        entry: a file name (SPHERE, WAV and what else libsndfile knows), or a shell
            command that ends in ``|`` and prints a WAV file. A command that begins
            with ``python -m cascade_asr.cli.sphere FILE |`` is not started: the file
            is read here, in a hundredth of the time.

    Returns:
        Samples, shape (frames,) or (frames, channels), and the rate in Hz.

    Raises:
        DataError: if the file is missing, empty, truncated or no audio, or if
            any part of the pipe fails.
    """
    entry = entry.strip()
    if entry.endswith("|"):
        sphere = _parse_sphere_command(entry)
        if sphere is not None:
            samples, rate = _read_sphere(sphere.path, sphere.channel)
            if not sphere.pipe:
                return samples.astype(np.float32), rate
            content = _run_pipe(sphere.pipe, wav_bytes(samples, rate))
        else:
            content = _run_pipe(entry[:-1])
        source, what = io.BytesIO(content), f"output of '{entry}'"
    else:
        if not Path(entry).is_file():
            raise DataError(f"{entry}: no such audio file")
        with open(entry, "rb") as stream:
            if is_sphere(stream.read(len(MAGIC))):
                samples, rate = read_sphere(entry)
                return samples.astype(np.float32), rate
        _check_wav_is_whole(Path(entry))
        source, what = entry, entry
    try:
        samples, rate = soundfile.read(source, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise DataError(f"{what}: cannot be read as audio ({error.error_string})") from error
    if not len(samples):
        raise DataError(f"{what}: holds no samples")
    return samples * 32768.0, rate


@dataclass(frozen=True)
class _SphereCommand:
    """A wav.scp entry of our own: a file, a channel of it, and what it is piped into."""

    path: str
    channel: int | None
    pipe: str


def _parse_sphere_command(entry: str) -> _SphereCommand | None:
    """Recognise ``python -m cascade_asr.cli.sphere [--channel N] FILE | [command |]``."""
    first, _, rest = entry.partition("|")
    try:
        words = shlex.split(first)
    except ValueError:  # a quoted "|"
        return None
    if len(words) < 4 or tuple(words[1:3]) != SPHERE_COMMAND:
        return None  # some other command
    words = words[3:]
    channel = None
    if len(words) == 3 and words[0] == "--channel" and words[1].isdecimal():
        channel, words = int(words[1]), words[2:]
    if len(words) != 1 or words[0].startswith("-"):
        return None
    return _SphereCommand(words[0], channel, rest.strip().removesuffix("|").strip())


def _read_sphere(path: str, channel: int | None) -> tuple[np.ndarray, int]:
    samples, rate = read_sphere(path)
    return samples if channel is None else choose_channel(samples, channel, path), rate


class SegmentReader:
    """Reads utterances; consecutive ones of the same recording read it once.

    Args:
        recordings: wav.scp.
    """

    def __init__(self, recordings: Mapping[str, str]) -> None:
        self.recordings = recordings
        self._name: str | None = None
        self._samples, self._rate = np.zeros(0, dtype=np.float32), 0

    def read(self, utterance: str, segment: Segment) -> tuple[np.ndarray, int]:
        """Samples, shape (frames,), and rate in Hz of one utterance.

        A segment that ends up to 0.1 s behind its recording is clipped.

        Raises:
            DataError: naming the utterance, for a missing recording, an empty
                stretch or one that lies behind the end.
        """
        if segment.recording != self._name:
            if segment.recording not in self.recordings:
                raise DataError(
                    f"utterance '{utterance}': recording '{segment.recording}' is not in wav.scp"
                )
            self._name = None
            samples, self._rate = read_audio(self.recordings[segment.recording])
            if samples.ndim > 1:
                raise DataError(
                    f"recording '{segment.recording}' has {samples.shape[1]} channels, expected 1; "
                    "choose one in wav.scp, for example with 'sox FILE -t wav - remix 1 |'"
                )
            self._name, self._samples = segment.recording, samples
        return self._cut(utterance, segment), self._rate

    def _cut(self, utterance: str, segment: Segment) -> np.ndarray:
        length_s = len(self._samples) / self._rate
        end_s = length_s if segment.end_s is None else segment.end_s
        if segment.start_s >= min(end_s, length_s):
            raise DataError(
                f"{utterance}: zero/negative length {segment.start_s:.2f}-{min(end_s, length_s):.2f}"
            )
        if end_s > length_s + CLIP_TOLERANCE_S:
            raise DataError(
                f"{utterance}: ends at {end_s:.2f} s but recording '{segment.recording}' ends at "
                f"{length_s:.2f} s"
            )
        start = round(segment.start_s * self._rate)
        return self._samples[start : round(min(end_s, length_s) * self._rate)]


def _run_pipe(command: str, given: bytes | None = None) -> bytes:
    """Run a wav.scp pipe; a fault in any part of it counts, not only in the last."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], input=given, capture_output=True, check=False
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise DataError(
            f"wav.scp command '{command.strip()} |' ended with status {done.returncode}: "
            f"{reason[-1] if reason else 'no message'}"
        )
    return done.stdout


def _check_wav_is_whole(path: Path) -> None:
    """Refuse a RIFF file shorter than its header says; libsndfile would not notice."""
    with path.open("rb") as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        if size == 0:
            raise DataError(f"{path}: empty file")
        if stream.read(4) != b"RIFF":
            return
        stream.seek(12)
        frame_bytes = 1
        while len(header := stream.read(8)) == 8:
            chunk, length = header[:4], struct.unpack("<I", header[4:])[0]
            if chunk == b"fmt ":
                frame_bytes = max(1, struct.unpack("<12xH", stream.read(14))[0])
                stream.seek(length - 14 + length % 2, io.SEEK_CUR)
            elif chunk == b"data":
                found = size - stream.tell()
                if found < length:
                    raise DataError(
                        f"{path}: header says {length // frame_bytes} samples, "
                        f"found {found // frame_bytes}: truncated"
                    )
                return
            else:
                stream.seek(length + length % 2, io.SEEK_CUR)
    raise DataError(f"{path}: RIFF file without a data chunk: truncated")
