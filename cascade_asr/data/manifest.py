"""The list of utterances that training and decoding read.

One tab-separated line per utterance, in a file that loads fast even with 600,000
of them: id, speaker, frames, feats.scp entry, token ids.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cascade_asr.errors import DataError
from cascade_asr.files import atomic_write


@dataclass
class Manifest:
    """Utterances of one set; arrays and lists run in parallel.

    Attributes:
        utterances, speakers: ids.
        feats: feats.scp entries (``ark:offset``).
        frames: feature frames of each utterance, shape (N,).
        tokens: token ids of all utterances, concatenated.
        token_ends: where each utterance ends in ``tokens``, shape (N,).
        path: the file it was read from.
    """

    utterances: list[str]
    speakers: list[str]
    feats: list[str]
    frames: np.ndarray
    tokens: np.ndarray
    token_ends: np.ndarray
    path: Path

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def token_lengths(self) -> np.ndarray:
        """U of each utterance, shape (N,)."""
        return np.diff(self.token_ends, prepend=0)

    def token_ids(self, index: int) -> np.ndarray:
        """Token ids of utterance ``index``, shape (U,)."""
        start = self.token_ends[index - 1] if index else 0
        return self.tokens[start : self.token_ends[index]]

    def select(self, indices: Sequence[int] | np.ndarray) -> Manifest:
        """The same manifest with only the utterances at ``indices``, in that order."""
        lengths = self.token_lengths
        tokens = [self.token_ids(index) for index in indices]
        return Manifest(
            [self.utterances[index] for index in indices],
            [self.speakers[index] for index in indices],
            [self.feats[index] for index in indices],
            self.frames[indices],
            np.concatenate(tokens) if tokens else self.tokens[:0],
            np.cumsum(lengths[indices]),
            self.path,
        )


def write_manifest(
    path: Path, rows: Iterable[tuple[str, str, int, str, Sequence[int]]]
) -> None:
    """Write (utterance, speaker, frames, feats entry, token ids) rows, atomically."""
    with atomic_write(path) as stream:
        for utterance, speaker, frames, feats, tokens in rows:
            ids = " ".join(map(str, tokens))
            stream.write(f"{utterance}\t{speaker}\t{frames}\t{feats}\t{ids}\n")


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        DataError: if the file is missing, empty or damaged (with the line).
    """
    if not path.is_file():
        raise DataError(f"{path}: no such manifest; run stage 2")
    utterances, speakers, feats, frames, ends = [], [], [], [], []
    tokens = array("q")  # a list of millions of integers takes five times the memory
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            fields = line.rstrip("\n").split("\t")
            try:
                utterance, speaker, length, entry, ids = fields
                frames.append(int(length))
                tokens.extend(map(int, ids.split()))
            except ValueError as error:
                raise DataError(f"{path}:{number}: damaged line; run stage 2 again") from error
            utterances.append(utterance)
            speakers.append(speaker)
            feats.append(entry)
            ends.append(len(tokens))
    if not utterances:
        raise DataError(f"{path}: no utterances; run stage 2 again")
    return Manifest(
        utterances,
        speakers,
        feats,
        np.array(frames, dtype=np.int64),
        np.array(tokens, dtype=np.int64),
        np.array(ends, dtype=np.int64),
        path,
    )


def content_digest(path: Path) -> str:
    """SHA-256 of what a manifest says about its utterances, wherever the archives are.

    A model remembers its data by this digest: moving a folder, or computing the
    same features with more jobs, does not make the data different.
    """
    content = hashlib.sha256()
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            utterance, speaker, frames, _, tokens = line.split("\t")
            content.update(f"{utterance}\t{speaker}\t{frames}\t{tokens}".encode())
    return content.hexdigest()
