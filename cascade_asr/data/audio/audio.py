"""Read the audio that a wav.scp names: files, pipes, and segments of them.

Samples are float32 in the range of 16-bit integers (±32768), as Kaldi's
feature code expects, whatever the coding of the file.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import soundfile

from cascade_asr.data.audio.sphere import MAGIC, choose_channel, is_sphere, read_sphere, wav_bytes
from cascade_asr.data.declared_length import is_shorter_than_declared
from cascade_asr.data.kaldi.tables import Segment
from cascade_asr.data.mp3_header import Mp3Length, read_mp3_length
from cascade_asr.data.wav_header import read_wav_header, with_true_length
from cascade_asr.errors import DataError

SPHERE_COMMAND = ("-m", "cascade_asr.cli.sphere")  # follows "python" in a pipe of wav.scp
_SHELL = re.compile(r"[$`*?;&<>~()\[{]")  # what a shell would expand or act on
UNKNOWN_FRAMES = 1 << 62  # libsndfile tells the largest number instead of an unknown one
NO_LENGTH = (
    "its header does not say how long it is, as when a pipe has written FLAC; write it to a file, or "
    "as WAV: 'ffmpeg -v error -i FILE -f wav - |'"
)
MP3_SPARE = 1152  # samples, one frame, that a decoder may leave out at the end of an MP3 file
CLIP_TOLERANCE_S = 0.1  # a segment may end this much after its recording
_OF_SIGPIPE = 128 + signal.SIGPIPE  # exit status, as a shell tells it
# What is appended to a command, so that the end of its messages tells the status of each part.
_TELL_STATUSES = '\n_each=($? "${PIPESTATUS[@]}"); printf "\\nstatuses: %s" "${_each[*]:1}" >&2; exit "$_each"'
_STATUSES = re.compile(rb"\nstatuses: ([\d ]+)$")
_SPEED = re.compile(r"\bspeed (\d+\.?\d*) \|$")  # how entries of a perturbed data folder end


@dataclass(frozen=True)
class Pipes:
    """What the commands in a wav.scp may do.

    Attributes:
        allowed: False refuses them, so that a table from somebody else runs nothing.
        limit_s: a command that takes longer is killed.
    """

    allowed: bool = True
    limit_s: float = 600.0


ALLOWED = Pipes()


def read_audio(entry: str, pipes: Pipes = ALLOWED) -> tuple[np.ndarray, int]:
    """Read the audio of one wav.scp entry.

    Args:
        entry: a file name (SPHERE, WAV and whatever else libsndfile knows), or a shell
            command that ends in ``|`` and prints a WAV file. A command that begins
            with ``python -m cascade_asr.cli.sphere FILE |`` or ``sph2pipe -f wav -p
            -c 1 FILE |`` is not started: the file is read here, in a hundredth of the
            time.
        pipes: whether such commands may run, and for how long.

    Returns:
        Samples, shape (frames,) or (frames, channels), and the rate in Hz.

    Raises:
        DataError: if the file is missing, empty, truncated or not audio, or if
            any part of the pipe fails.
    """
    entry = entry.strip()
    if not entry.endswith("|"):
        return read_audio_file(entry)
    sphere = _parse_sphere_command(entry)
    if sphere is not None and not sphere.pipe:
        return _read_channel(sphere)
    if not pipes.allowed:
        raise DataError(f"wav.scp command '{entry}': commands are not allowed here")
    if sphere is not None:
        content = _run_pipe(sphere.pipe, pipes.limit_s, _as_wav(*_read_channel(sphere)))
    else:
        content = _run_pipe(entry[:-1], pipes.limit_s)
    if not content:
        raise DataError(f"wav.scp command '{entry}' prints nothing")
    return decode_audio(io.BytesIO(content), f"output of '{entry}'")


class UnknownFormat(DataError):
    """libsndfile does not recognise a file as audio; another program may."""


def read_audio_file(name: str) -> tuple[np.ndarray, int]:
    """Read an audio file of any name; otherwise as `read_audio`."""
    if not Path(name).is_file():
        raise DataError(f"{name}: no such audio file")
    with open(name, "rb") as stream:
        if is_sphere(stream.read(len(MAGIC))):
            samples, rate = read_sphere(name)
            return samples.astype(np.float32), rate
        if stream.seek(0, io.SEEK_END) == 0:
            raise DataError(f"{name}: empty file")
        return decode_audio(stream, name)


def decode_audio(stream: IO[bytes], what: str) -> tuple[np.ndarray, int]:
    """Samples of an open file; a WAV header without the true length is repaired."""
    header = read_wav_header(stream)
    if header is not None and header.is_truncated:
        if header.data_start is None:
            raise DataError(f"{what}: RIFF file without a data chunk: truncated")
        raise DataError(
            f"{what}: header says {(header.declared or 0) // header.frame_bytes} samples, "
            f"found {header.found // header.frame_bytes}: truncated"
        )
    mp3 = read_mp3_length(stream) if header is None else None
    if mp3 is not None and mp3.is_truncated:
        raise DataError(f"{what}: header says {mp3.declared} bytes, found {mp3.found}: truncated")
    if is_shorter_than_declared(stream):
        raise DataError(f"{what}: shorter than its header says: truncated")
    stream.seek(0)
    if header is not None and header.declared is None:
        stream = io.BytesIO(with_true_length(stream.read(), header))
    try:
        samples, rate = soundfile.read(stream, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise UnknownFormat(f"{what}: cannot be read as audio ({error.error_string})") from error
    except ValueError as error:  # there is no array of so many samples
        stream.seek(0)
        if soundfile.info(stream).frames < UNKNOWN_FRAMES:
            raise
        raise UnknownFormat(f"{what}: {NO_LENGTH}") from error
    if mp3 is not None and is_cut_short(mp3, len(samples)):
        raise UnknownFormat(
            f"{what}: its header does not say how long it is, and libsndfile reads {len(samples) / rate:.1f} s "
            f"of {mp3.samples / rate:.1f} s; write 'ffmpeg -v error -i FILE -f wav - |' instead"
        )
    if not len(samples):
        raise DataError(f"{what}: holds no samples")
    samples *= np.float32(32768.0)
    return samples, rate


def is_cut_short(mp3: Mp3Length, frames: int) -> bool:
    """Whether libsndfile reads fewer frames of audio than an MP3 file has."""
    return mp3.samples is not None and frames < mp3.samples - MP3_SPARE


def _as_wav(samples: np.ndarray, rate: int) -> bytes:
    """The content of a WAV file: with 16 bits if that is enough for the samples, else with 32."""
    rounded = samples.clip(-32768, 32767).astype(np.int16)
    if np.array_equal(rounded, samples):
        return wav_bytes(rounded, rate)
    stream = io.BytesIO()
    soundfile.write(stream, samples / 32768.0, rate, format="WAV", subtype="FLOAT")
    return stream.getvalue()


def print_as_wav(name: str, channel: int | None) -> bytes:
    """Any audio file, or one channel of it, as the content of a WAV file."""
    return _as_wav(*_read_channel(_SphereCommand(name, channel, "")))


@dataclass(frozen=True)
class _SphereCommand:
    """A wav.scp entry that is read here: a file, its channel, and what it is piped into."""

    path: str
    channel: int | None
    pipe: str


def _parse_sphere_command(entry: str) -> _SphereCommand | None:
    """Recognise ``python -m cascade_asr.cli.sphere [--channel N] FILE | [command |]``.

    ``sph2pipe -f wav [-p] [-c N] FILE`` is recognised as well.
    """
    first, _, rest = entry.partition("|")
    if _SHELL.search(first) and not re.search("[\"']", first):
        return None  # the shell must expand it
    try:
        found = shlex.split(first)
    except ValueError:  # a quoted "|"
        return None
    pipe = rest.strip().removesuffix("|").strip()
    if len(found) >= 4 and tuple(found[1:3]) == SPHERE_COMMAND:
        arguments, flags = found[3:], {"--channel": True}
    elif found and Path(found[0]).name == "sph2pipe":
        arguments, flags = found[1:], {"-f": True, "-p": False, "-c": True}
    else:
        return None  # some other command
    values = {}
    while len(arguments) > 1 and arguments[0] in flags:
        flag = arguments.pop(0)
        values[flag] = arguments.pop(0) if flags[flag] else ""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        return None
    if "-f" in flags and values.get("-f") not in ("wav", "rif"):
        return None
    channel = values.get("--channel", values.get("-c"))
    if channel is not None and not (channel.isascii() and channel.isdecimal()):
        return None
    return _SphereCommand(arguments[0], None if channel is None else int(channel), pipe)


def _read_channel(command: _SphereCommand) -> tuple[np.ndarray, int]:
    samples, rate = read_audio_file(command.path)
    if command.channel is not None:
        samples = choose_channel(samples, command.channel, command.path)
    return samples, rate


class SegmentReader:
    """Reads utterances; a recording is read once for consecutive utterances of it.

    Args:
        recordings: wav.scp.
        pipes: whether its commands may run, and for how long.
    """

    def __init__(self, recordings: Mapping[str, str], pipes: Pipes = ALLOWED) -> None:
        self.recordings = recordings
        self.pipes = pipes
        self._name: str | None = None
        self._samples, self._rate = np.zeros(0, dtype=np.float32), 0

    def read(self, utterance: str, segment: Segment) -> tuple[np.ndarray, int]:
        """Samples, shape (frames,), and rate in Hz of one utterance.

        A segment that ends up to 0.1 s after its recording is clipped; where the speed was
        perturbed, 0.1 s of the original.

        Raises:
            DataError: naming the utterance, for a missing recording or one that
                cannot be read, a segment that is empty or lies beyond the end, and
                samples that are not numbers.
        """
        if segment.recording != self._name:
            if segment.recording not in self.recordings:
                raise DataError(
                    f"utterance '{utterance}': recording '{segment.recording}' is not in wav.scp"
                )
            self._name = None
            try:
                samples, self._rate = read_audio(self.recordings[segment.recording], self.pipes)
            except DataError as error:
                raise DataError(f"utterance '{utterance}': {error}") from error
            if samples.ndim > 1:
                raise DataError(
                    f"recording '{segment.recording}' has {samples.shape[1]} channels, expected 1; "
                    "choose one in wav.scp, for example with 'sox FILE -t wav - remix 1 |'"
                )
            self._name, self._samples = segment.recording, samples
        samples = self._cut(utterance, segment)
        if not np.isfinite(samples).all():
            place = int(np.flatnonzero(~np.isfinite(samples))[0])
            raise DataError(
                f"utterance '{utterance}': recording '{segment.recording}' has samples that are "
                f"NaN or infinite, first at sample {place} of the utterance"
            )
        return samples, self._rate

    def _cut(self, utterance: str, segment: Segment) -> np.ndarray:
        length_s = len(self._samples) / self._rate
        end_s = length_s if segment.end_s is None else segment.end_s
        if segment.start_s >= min(end_s, length_s):
            raise DataError(
                f"{utterance}: zero/negative length {segment.start_s:.2f}-{min(end_s, length_s):.2f}"
            )
        speed = _SPEED.search(self.recordings[segment.recording])
        tolerance_s = CLIP_TOLERANCE_S / min(1.0, float(speed[1]) if speed else 1.0)
        if end_s > length_s + tolerance_s:
            raise DataError(
                f"{utterance}: ends at {end_s:.2f} s but recording '{segment.recording}' ends at "
                f"{length_s:.2f} s"
            )
        start = round(segment.start_s * self._rate)
        return self._samples[start : round(min(end_s, length_s) * self._rate)]


def _run_pipe(command: str, limit_s: float, given: bytes | None = None) -> bytes:
    """Run a wav.scp pipe; a failure of any part of it counts, not only of the last.

    It is no failure of a part that the next one has read enough, as ``sox ... trim 10 5`` does.
    """
    process = subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", (command + _TELL_STATUSES).encode("utf-8", "surrogateescape")],
        stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # so that all its parts can be killed
    )
    try:
        output, messages = process.communicate(given, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise DataError(
            f"wav.scp command '{command.strip()} |' has not ended after {limit_s:g} s"
        ) from None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        told = _STATUSES.search(messages)
        messages = messages[: told.start()] if told else messages
        if told and _is_left_unread(list(map(int, told[1].split())), messages):
            return output
        reason = messages.decode(errors="replace").strip().splitlines()
        raise DataError(
            f"wav.scp command '{command.strip()} |' ended with status {process.returncode}: "
            f"{reason[-1] if reason else 'no message'}"
        )
    return output


def _is_left_unread(statuses: list[int], messages: bytes) -> bool:
    """Whether the parts of a pipe that failed did so because the next one had ended well.

    The signal SIGPIPE ends most programs then; ffmpeg and Python's print a message.
    """
    failed = [status for status in statuses if status not in (0, _OF_SIGPIPE)]
    return statuses[-1] == 0 and (not failed or b"Broken pipe" in messages)
