"""Compute the features of part of a data folder and write them to Kaldi archives."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cascade_asr.data.audio.audio import ALLOWED, Pipes, SegmentReader
from cascade_asr.data.features.fbank import compute_fbank, feature_type, read_fbank_options
from cascade_asr.data.kaldi.tables import Segment, parse_segment, read_table, write_table
from cascade_asr.errors import DataError

logger = logging.getLogger(__name__)

SHOWN_FAULTS = 20


REPORT_INTERVAL_S = 30


SPEECH_FEATURE = 2  # Kaldi's compression method for features: 8 bits per value


# from samples, their rate in Hz and the utterance's id to features (T, D)
Extract = Callable[[np.ndarray, int, str], np.ndarray]


def read_extractor(path: Path) -> Extract:
    """The function that computes the features that an option file asks for."""
    if feature_type(path) == "espnet2":
        # torch takes seconds to load, and Kaldi's features do not need it
        import torch

        from cascade_asr.data.features.log_mel import compute_log_mel, read_log_mel_options

        torch.set_num_threads(1)  # jobs run side by side
        log_mel = read_log_mel_options(path)
        return lambda samples, rate, utterance: compute_log_mel(samples, rate, log_mel, utterance)
    options = read_fbank_options(path)
    return lambda samples, rate, utterance: compute_fbank(samples, rate, options, utterance)


def read_segments(directory: Path, recordings: dict[str, str]) -> dict[str, Segment]:
    """Segment of each utterance; without ``segments`` each recording is one utterance."""
    path = directory / "segments"
    if not path.is_file():
        return {name: Segment(name, 0.0, None) for name in recordings}
    segments = {}
    for utterance, line in read_table(path).items():
        try:
            segments[utterance] = parse_segment(line)
        except ValueError as error:
            raise DataError(f"{path}: utterance '{utterance}': {error}") from error
    return dict(sorted(segments.items(), key=lambda each: each[1].recording))


def compute_all(
    recordings: dict[str, str],
    segments: dict[str, Segment],
    extract: Extract,
    write: Callable[[str, np.ndarray], None],
    pipes: Pipes = ALLOWED,
) -> dict[str, int]:
    """Compute and write the features of every utterance.

    Returns:
        Number of frames of each utterance; those shorter than one frame are left out.

    Raises:
        DataError: once all utterances have been tried, naming those that failed.
    """
    reader = SegmentReader(recordings, pipes)
    frames: dict[str, int] = {}
    faults: list[str] = []
    started = last_report = time.monotonic()
    for number, (utterance, segment) in enumerate(segments.items(), start=1):
        try:
            samples, rate = reader.read(utterance, segment)
            features = extract(samples, rate, utterance)
            if not np.isfinite(features).all():
                raise DataError(f"utterance '{utterance}': its features are NaN or infinite")
        except DataError as error:
            faults.append(str(error))
            continue
        if len(features):
            write(utterance, features)
            frames[utterance] = len(features)
        else:
            logger.warning("%s: shorter than one frame; dropped", utterance)
        if time.monotonic() - last_report > REPORT_INTERVAL_S:
            last_report = time.monotonic()
            logger.info("%d of %d utterances, %.0f s", number, len(segments), last_report - started)
    if faults:
        more = len(faults) - SHOWN_FAULTS
        shown = faults[:SHOWN_FAULTS] + ([f"and {more} more"] if more > 0 else [])
        raise DataError(f"{len(faults)} of {len(segments)} utterances failed:\n" + "\n".join(shown))
    return frames


def finish(temporary: Path, ark: Path, prefix: Path, frames: dict[str, int]) -> None:
    """Give the archive its final name, then write the tables that point into it."""
    offsets = {}
    content = Path(f"{temporary}.scp").read_bytes().decode("utf-8", "surrogateescape")
    for line in content.rstrip("\n").split("\n"):
        utterance, _, entry = line.partition(" ")
        offsets[utterance] = entry.rpartition(":")[2]
    temporary.replace(ark)
    names = sorted(frames)
    write_table(f"{prefix}.utt2num_frames", {name: str(frames[name]) for name in names})
    write_table(f"{prefix}.scp", {name: f"{ark}:{offsets[name]}" for name in names})
