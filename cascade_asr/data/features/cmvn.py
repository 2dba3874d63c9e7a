"""Mean and variance statistics of features (CMVN), accumulated in float64.

Global statistics are stored as ESPnet2 stores them (``count``, ``sum``,
``sum_square`` in an .npz), speaker statistics as Kaldi does (2 x (D+1) matrices
in an ark), so that either toolkit reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import kaldiio
import numpy as np

from cascade_asr.errors import DataError
from cascade_asr.files import atomic_write

VARIANCE_FLOOR = 1e-20
# Kaldi's way to write a command, or standard input, where an archive is expected
_COMMAND = re.compile(r"^\s*(\||-\s*$)|\|\s*(:\d+)?\s*(\[[^\]]*\])?\s*$")


class FeatureStatistics:
    """Running count, sum and sum of squares of D-dimensional features."""

    def __init__(self) -> None:
        self.count = 0
        self.sum: np.ndarray | float = 0.0
        self.sum_square: np.ndarray | float = 0.0

    def add(self, features: np.ndarray) -> None:
        """Accumulate one utterance, shape (T, D)."""
        features = features.astype(np.float64)
        self.count += len(features)
        self.sum = self.sum + features.sum(axis=0)
        self.sum_square = self.sum_square + np.square(features).sum(axis=0)

    def kaldi_matrix(self) -> np.ndarray:
        """The statistics in Kaldi's form, shape (2, D+1)."""
        matrix = np.zeros((2, len(self.sum) + 1))
        matrix[0, :-1], matrix[0, -1], matrix[1, :-1] = self.sum, self.count, self.sum_square
        return matrix


def read_features(feats_scp: dict[str, str]) -> Iterable[tuple[str, np.ndarray]]:
    """Yield (utterance, features (T, D)) for the entries of a feats.scp."""
    for utterance, entry in feats_scp.items():
        yield utterance, load_features(entry, utterance)


def load_features(entry: str, utterance: str) -> np.ndarray:
    """Load one feats.scp entry, shape (T, D) float32.

    Raises:
        DataError: naming the utterance and the archive, if it cannot be read, is a command
            or contains NaN or infinite values.
    """
    if _COMMAND.search(entry):
        raise DataError(
            f"utterance '{utterance}': feats.scp has the command '{entry}'; commands are not run "
            "here: write the features to an archive"
        )
    try:
        features = kaldiio.load_mat(entry)
    except Exception as error:  # kaldiio raises whatever its parser stumbles on
        raise DataError(
            f"utterance '{utterance}': features {entry} cannot be read ({error}); run stage 1 again"
        ) from error
    if not np.isfinite(features).all():
        raise DataError(
            f"utterance '{utterance}': features {entry} are NaN or infinite; run stage 1 again"
        )
    return features.astype(np.float32, copy=False)  # an archive may hold doubles


def write_global_statistics(path: Path, statistics: FeatureStatistics) -> None:
    """Write the statistics of a whole set as ESPnet2's stats file."""
    with atomic_write(path, "wb") as stream:
        np.savez(
            stream,
            count=np.array(statistics.count),
            sum=statistics.sum,
            sum_square=statistics.sum_square,
        )


def write_speaker_statistics(path: Path, statistics: dict[str, FeatureStatistics]) -> None:
    """Write one matrix per speaker to an ark, atomically."""
    with atomic_write(path, "wb") as stream:
        kaldiio.save_ark(stream, {name: each.kaldi_matrix() for name, each in statistics.items()})


class SpeakerMVN:
    """Normalises features with the statistics of their speaker.

    Args:
        stats_file: Kaldi statistics, one matrix per speaker.
        norm_means: subtract the mean.
        norm_vars: divide by the standard deviation.

    Raises:
        DataError: if the statistics are missing.
    """

    def __init__(self, stats_file: Path, norm_means: bool = True, norm_vars: bool = True) -> None:
        self.statistics = read_speaker_statistics(stats_file)
        self.norm_means, self.norm_vars = norm_means, norm_vars

    def __call__(self, features: np.ndarray, speaker: str) -> np.ndarray:
        """Features (T, D) of a speaker, normalised.

        Raises:
            DataError: for a speaker without statistics.
        """
        if speaker not in self.statistics:
            raise DataError(f"speaker '{speaker}' has no CMVN statistics; run stage 1 again")
        mean, deviation = self.statistics[speaker]
        if self.norm_means:
            features = features - mean
        return features / deviation if self.norm_vars else features


def read_speaker_statistics(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read mean and standard deviation, each of shape (D,), of every speaker."""
    if not path.is_file():
        raise DataError(f"{path}: no speaker statistics; run stage 1")
    return {name: mean_and_deviation(matrix) for name, matrix in kaldiio.load_ark(str(path))}


def mean_and_deviation(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation from Kaldi's (2, D+1) statistics."""
    count = matrix[0, -1]
    mean = matrix[0, :-1] / count
    variance = np.maximum(matrix[1, :-1] / count - mean**2, VARIANCE_FLOOR)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)
