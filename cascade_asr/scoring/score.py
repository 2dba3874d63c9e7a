"""The score of one system: alignments, counts, and figures derived from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from cascade_asr.scoring.alignment import Alignment
from cascade_asr.scoring.options import ScoringOptions


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of correct and wrong words, and of the utterances they came from."""

    correct: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    utterances: int = 0
    wrong_utterances: int = 0

    @property
    def words(self) -> int:
        """Reference words: correct, substituted and deleted."""
        return self.correct + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def error_rate(self) -> float:
        """Errors in percent of the reference words; 0 if there are none, as in sclite."""
        return percent(self.errors, self.words)

    @property
    def utterance_error_rate(self) -> float:
        """Percentage of utterances with an error."""
        return percent(self.wrong_utterances, self.utterances)

    @classmethod
    def of(cls, utterances: Iterable[Utterance]) -> Counts:
        """Add up utterances."""
        group = list(utterances)
        totals = [sum(kind) for kind in zip(*(u.counts for u in group))] or [0, 0, 0, 0]
        return cls(*totals, len(group), sum(u.errors > 0 for u in group))


@dataclass(frozen=True, slots=True)
class Utterance:
    """One aligned utterance.

    Attributes:
        identifier: the id with parentheses, case-folded as the options say.
        speaker: as sclite reads it from the id.
        counts: words correct, substituted, deleted, inserted.
    """

    identifier: bytes
    speaker: bytes
    alignment: Alignment
    counts: tuple[int, int, int, int]

    @classmethod
    def of(cls, identifier: bytes, speaker: bytes, alignment: Alignment) -> Utterance:
        """Count the operations of an alignment."""
        count = alignment.operations.count
        counts = (count(b"C"), count(b"S"), count(b"D"), count(b"I"))
        return cls(identifier, speaker, alignment, counts)

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return len(self.alignment.operations) - self.counts[0]

    @property
    def name(self) -> str:
        """The id without its parentheses."""
        return self.identifier[1:-1].decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Interval:
    """A bootstrap interval of an error rate, in percent."""

    low: float
    high: float
    confidence: float
    samples: int
    seed: int
    unit: str


@dataclass(frozen=True)
class ScoreResult:
    """The score of one system on one set.

    Attributes:
        title: name of the system in reports.
        utterances: in the order of the hypothesis.
        options: how words were read and matched.
        warnings: oddities of the input.
    """

    title: str
    utterances: Sequence[Utterance]
    options: ScoringOptions
    warnings: Sequence[str] = field(default_factory=tuple)

    @cached_property
    def speakers(self) -> Mapping[bytes, list[Utterance]]:
        """Utterances by speaker, both in order of first appearance."""
        groups: dict[bytes, list[Utterance]] = {}
        for utterance in self.utterances:
            groups.setdefault(utterance.speaker, []).append(utterance)
        return groups

    @cached_property
    def speaker_counts(self) -> Mapping[bytes, Counts]:
        """Counts by speaker, in order of first appearance."""
        return {name: Counts.of(group) for name, group in self.speakers.items()}

    @cached_property
    def total(self) -> Counts:
        """Counts over the whole set."""
        return Counts.of(self.utterances)

    @property
    def error_rate(self) -> float:
        """Word (or character) error rate of the whole set, in percent."""
        return self.total.error_rate

    @cached_property
    def counts(self) -> np.ndarray:
        """(utterances, 4) int64: correct, substituted, deleted, inserted words."""
        return np.array([u.counts for u in self.utterances], np.int64).reshape(-1, 4)


def percent(part: float, whole: float) -> float:
    """``part`` of ``whole`` in percent; 0 if ``whole`` is 0.

    As in sclite, the division comes first: the last bit decides how 6.25 is rounded.
    """
    return part / whole * 100.0 if whole else 0.0
