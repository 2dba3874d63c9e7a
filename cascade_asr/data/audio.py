"""Read the audio that a wav.scp names: files, pipes and segments of them.

Samples are float32 in the range of 16-bit integers (±32768), as Kaldi's
feature code expects, whatever the coding of the file.
"""

from __future__ import annotations

import io
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile

from cascade_asr.data.data_dir import Segment
from cascade_asr.errors import DataError

CLIP_TOLERANCE_S = 0.1  # a segment may end this much behind its recording


def read_audio(entry: str) -> tuple[np.ndarray, int]:
    """Read what one wav.scp entry stands for.

    Args:
        entry: a file name, or a shell command that ends in ``|`` and prints a
            WAV file.

    Returns:
        Samples, shape (frames,) or (frames, channels), and the rate in Hz.

    Raises:
        DataError: if the file is missing, empty, truncated or no audio, or if
            any part of the pipe fails.
    """
    entry = entry.strip()
    if entry.endswith("|"):
        content = _run_pipe(entry[:-1])
        source, what = io.BytesIO(content), f"output of '{entry}'"
    else:
        if not Path(entry).is_file():
            raise DataError(f"{entry}: no such audio file")
        _check_wav_is_whole(Path(entry))
        source, what = entry, entry
    try:
        samples, rate = soundfile.read(source, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise DataError(f"{what}: cannot be read as audio ({error.error_string})") from error
    if not len(samples):
        raise DataError(f"{what}: holds no samples")
    return samples * 32768.0, rate


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


def _run_pipe(command: str) -> bytes:
    """Run a wav.scp pipe; a fault in any part of it counts, not only in the last."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, check=False
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
