"""Compute the features of one part of a data folder (one job of stage 1).

Example:
    python -m cascade_asr.cli.fbank --config conf/fbank.conf data/train/split4/1 dump/train/fbank.1

writes dump/train/fbank.1.{ark,scp} and .utt2num_frames, with the scp last. If a folder
has its own feats.scp, nothing is computed: its features are checked and used as they
are, or with --add-deltas and --splice written with their context.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cascade_asr import command
from cascade_asr.data.audio.audio import ALLOWED, Pipes
from cascade_asr.data.features.archive import ArchiveWriter
from cascade_asr.data.features.context import Context
from cascade_asr.data.features.extraction import (
    SPEECH_FEATURE,
    compute_all,
    finish,
    read_extractor,
    read_segments,
)
from cascade_asr.data.features.frame_shift import (
    shift_of_options_s,
    told_frame_shift_s,
    write_frame_shift,
)
from cascade_asr.data.features.precomputed import check_all, read_precomputed
from cascade_asr.data.kaldi.tables import read_table, write_table
from cascade_asr.errors import ConfigError
from cascade_asr.files import atomic_write

logger = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="data folder, with wav.scp and optionally segments")
    parser.add_argument("output", type=Path, help="prefix of the output files")
    parser.add_argument("--config", type=Path, required=True, help="fbank options, as in Kaldi or ESPnet2")
    parser.add_argument("--compress", choices=("true", "false"), default="true")
    parser.add_argument(
        "--add-deltas",
        choices=("true", "false"),
        default="false",
        help="append first and second time derivatives (window 2)",
    )
    parser.add_argument(
        "--splice", type=int, default=0, metavar="N", help="concatenate each frame with N frames on either side"
    )
    parser.add_argument(
        "--allow-pipes",
        choices=("true", "false"),
        default="true",
        help="false refuses commands in wav.scp, for a table from elsewhere (default: true)",
    )
    parser.add_argument(
        "--pipe-limit",
        type=float,
        default=ALLOWED.limit_s,
        metavar="SECONDS",
        help="a command in wav.scp that takes longer is killed (default: %(default)g)",
    )
    arguments = parser.parse_args()

    context = Context(arguments.add_deltas == "true", arguments.splice)
    ark = Path(f"{arguments.output}.ark").absolute()
    ark.parent.mkdir(parents=True, exist_ok=True)
    own_features = (arguments.data / "feats.scp").is_file()
    write_frame_shift(
        ark.parent,
        told_frame_shift_s(arguments.data) if own_features
        else shift_of_options_s(arguments.config),
    )  # fmt: skip
    started = time.monotonic()
    if not own_features:
        frames = compute(arguments, ark, context)
    elif context.changes_features:
        frames = copy_with_context(arguments, ark, context)
    else:
        frames = take_as_they_are(arguments, ark)
    logger.info("%d utterances in %.1f s", len(frames), time.monotonic() - started)


def compute(arguments: argparse.Namespace, ark: Path, context: Context) -> dict[str, int]:
    """Compute features from the audio; return each utterance's number of frames."""
    extract = read_extractor(arguments.config)
    if not arguments.pipe_limit > 0:
        raise ConfigError(f"--pipe-limit {arguments.pipe_limit:g}: expected seconds above 0")
    pipes = Pipes(arguments.allow_pipes == "true", arguments.pipe_limit)
    recordings = read_table(arguments.data / "wav.scp")
    segments = read_segments(arguments.data, recordings)

    def write_frames(writer: ArchiveWriter) -> dict[str, int]:
        def write(utterance: str, features: np.ndarray) -> None:
            writer(utterance, context(features))

        return compute_all(recordings, segments, extract, write, pipes)

    options = ark.with_name("fbank.conf")  # records what the features are
    if context.changes_features:
        options.unlink(missing_ok=True)
    else:
        with atomic_write(options) as stream:
            stream.write(arguments.config.read_text(encoding="utf-8"))
    compression = SPEECH_FEATURE if arguments.compress == "true" else None
    return write_archive(ark, arguments.output, compression, write_frames)


def copy_with_context(arguments: argparse.Namespace, ark: Path, context: Context) -> dict[str, int]:
    """Write a folder's existing features with their context, uncompressed."""
    entries = read_precomputed(arguments.data, ark.parent)
    ark.with_name("fbank.conf").unlink(missing_ok=True)

    def write_frames(writer: ArchiveWriter) -> dict[str, int]:
        def write(utterance: str, features: np.ndarray) -> None:
            writer(utterance, context(features))

        return check_all(arguments.data / "feats.scp", entries, write)

    return write_archive(ark, arguments.output, None, write_frames)


def take_as_they_are(arguments: argparse.Namespace, ark: Path) -> dict[str, int]:
    """Check a folder's existing features and point to them."""
    entries = read_precomputed(arguments.data, ark.parent)
    ark.with_name("fbank.conf").unlink(missing_ok=True)
    frames = check_all(arguments.data / "feats.scp", entries, lambda utterance, features: None)
    ark.unlink(missing_ok=True)
    lengths = {name: str(count) for name, count in frames.items()}
    write_table(f"{arguments.output}.utt2num_frames", lengths)
    write_table(f"{arguments.output}.scp", entries)
    return frames


def write_archive(
    ark: Path,
    output: Path,
    compression: int | None,
    write_frames: Callable[[ArchiveWriter], dict[str, int]],
) -> dict[str, int]:
    """Let ``write_frames`` fill an archive, which gets its final name once it is complete."""
    temporary = ark.with_name(f".{ark.name}.partial")
    try:
        with ArchiveWriter(temporary, Path(f"{temporary}.scp"), compression) as writer:
            frames = write_frames(writer)
        finish(temporary, ark, output, frames)
    finally:
        temporary.unlink(missing_ok=True)
        Path(f"{temporary}.scp").unlink(missing_ok=True)
    return frames


if __name__ == "__main__":
    command.run(main)
