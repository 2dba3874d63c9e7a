"""The frame shift of features in seconds, from which word times are computed."""

from __future__ import annotations

import logging
from pathlib import Path

from cascade_asr.data.features.fbank import feature_type, read_fbank_options
from cascade_asr.errors import DataError
from cascade_asr.files import atomic_write

FRAME_SHIFT = "frame_shift"  # Kaldi's name for the file; it contains seconds
DEFAULT_S = 0.01

logger = logging.getLogger(__name__)


def write_frame_shift(directory: Path, seconds: float | None) -> None:
    """Store the frame shift of a set; None, for an unknown one, removes what was stored."""
    path = directory / FRAME_SHIFT
    if seconds is None:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as stream:
        stream.write(f"{seconds:g}\n")


def told_frame_shift_s(directory: Path) -> float | None:
    """The number in a folder's file ``frame_shift``; None if there is no such file.

    Raises:
        DataError: if it does not contain a number above 0.
    """
    path = directory / FRAME_SHIFT
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8").strip()
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < float("inf"):
        raise DataError(f"{path}:1: '{text}': expected seconds above 0, such as 0.01")
    return seconds


def shift_of_options_s(path: Path) -> float:
    """The frame shift that an option file of features asks for, in seconds."""
    if feature_type(path) == "espnet2":
        # torch takes seconds to load, and Kaldi's features do not need it
        from cascade_asr.data.features.log_mel import read_log_mel_options

        options = read_log_mel_options(path)
        return options.hop_length / options.fs
    return read_fbank_options(path).frame_opts.frame_shift_ms / 1000


def frame_shift_s(directory: Path) -> float:
    """Frame shift of a set in ``dump``, in seconds: stored by stage 1, or from its options."""
    told = told_frame_shift_s(directory)
    if told is not None:
        return told
    if (directory / "fbank.conf").is_file():
        return shift_of_options_s(directory / "fbank.conf")
    logger.warning(
        "%s: the frame shift is unknown; times assume %g s per frame; if it is different, "
        "write it in seconds to data/%s/%s, and run stage 1 again",
        directory, DEFAULT_S, directory.name, FRAME_SHIFT,
    )  # fmt: skip
    return DEFAULT_S
