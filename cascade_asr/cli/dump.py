"""Join the output of stage 1's jobs in a dump folder and compute CMVN statistics.

Example:
    python -m cascade_asr.cli.dump data/train dump/train --jobs 4

joins dump/train/fbank.{1..4}.scp into feats.scp, copies text and utt2spk for the
utterances that have features, and computes global and speaker CMVN statistics.
"""

from __future__ import annotations

import argparse
import logging
from collections import defaultdict
from pathlib import Path

import numpy as np

from cascade_asr import command
from cascade_asr.data.features.cmvn import (
    FeatureStatistics,
    read_features,
    write_global_statistics,
    write_speaker_statistics,
)
from cascade_asr.data.kaldi.tables import invert, read_table, write_table
from cascade_asr.errors import DataError

logger = logging.getLogger(__name__)


def join_jobs(directory: Path, jobs: int, suffix: str) -> dict[str, str]:
    """Join the tables of all jobs into one sorted table.

    Raises:
        DataError: if a job wrote no table.
    """
    joined: dict[str, str] = {}
    for job in range(1, jobs + 1):
        path = directory / f"fbank.{job}.{suffix}"
        if not path.is_file():
            raise DataError(f"{path}: missing; job {job} of stage 1 did not finish: see its log")
        joined |= read_table(path)
    return dict(sorted(joined.items()))


def expected_dimension(like: Path | None) -> tuple[int, str] | None:
    """Feature dimension of another dump folder, and its name for messages."""
    if like is None:
        return None
    path = like / "cmvn.npz"
    if not path.is_file():
        raise DataError(f"{path}: missing; run stage 1 for the training set first")
    return len(np.load(path)["sum"]), str(like)


def check_dimension(
    features: np.ndarray, expected: tuple[int, str] | None, what: str
) -> tuple[int, str]:
    """Check features against the expected dimension; return what later ones must have.

    Raises:
        DataError: if these features have a different dimension.
    """
    dimension = features.shape[1]
    if expected is not None and expected[0] != dimension:
        raise DataError(
            f"{what} has features of {dimension} dimensions, {expected[1]} has {expected[0]}; "
            "all sets need the same features: give every set its feats.scp, or none of them"
        )
    return expected or (dimension, what)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="data folder")
    parser.add_argument("dump", type=Path, help="dump folder with the tables of the jobs")
    parser.add_argument("--jobs", type=int, required=True, help="number of jobs")
    parser.add_argument(
        "--complete",
        choices=("true", "false"),
        default="true",
        help="an utterance without features is an error; false only for training sets",
    )
    parser.add_argument(
        "--like", type=Path, help="dump folder whose feature dimension must be the same"
    )
    arguments = parser.parse_args()

    feats = join_jobs(arguments.dump, arguments.jobs, "scp")
    frames = join_jobs(arguments.dump, arguments.jobs, "utt2num_frames")
    utt2spk = read_table(arguments.data / "utt2spk")
    text = read_table(arguments.data / "text")
    names = [name for name in feats if name in utt2spk and name in text]
    if not names:
        raise DataError(f"{arguments.dump}: no utterance has features, speaker and text")
    without = sorted(set(text) - set(names))
    if without and arguments.complete == "true":
        raise DataError(
            f"{arguments.data}: {len(without)} of {len(text)} utterances have no features, first: "
            f"{without[0]}; a set that is scored must be complete (too short? see the logs in "
            f"{arguments.dump}/log)"
        )
    if without:
        logger.warning(
            "%d utterances of %s have no features, first: %s",
            len(without),
            arguments.data,
            without[0],
        )
    total, by_speaker = FeatureStatistics(), defaultdict(FeatureStatistics)
    expected = expected_dimension(arguments.like)
    for name, features in read_features({name: feats[name] for name in names}):
        expected = check_dimension(features, expected, f"{arguments.data}: utterance '{name}'")
        total.add(features)
        by_speaker[utt2spk[name]].add(features)
    write_global_statistics(arguments.dump / "cmvn.npz", total)
    write_speaker_statistics(arguments.dump / "cmvn_speaker.ark", by_speaker)
    for table, values in (("text", text), ("utt2spk", utt2spk), ("utt2num_frames", frames)):
        write_table(arguments.dump / table, {name: values[name] for name in names})
    write_table(arguments.dump / "spk2utt", invert({name: utt2spk[name] for name in names}))
    write_table(arguments.dump / "feats.scp", {name: feats[name] for name in names})
    logger.info("%s: %d utterances, %d frames", arguments.dump, len(names), total.count)


if __name__ == "__main__":
    command.run(main)
