"""Hypotheses that ended, and the steps from which they are read back."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Hypothesis:
    """One text that a search found.

    Attributes:
        tokens: ids, with the sentence edge at the end.
        score: log-probability, weighted.
        parts: what the score is made of, before the weights: ``decoder``, ``ctc``,
            ``lm``, ``length_bonus``.
    """

    tokens: list[int]
    score: float
    parts: dict[str, float]


@dataclass
class History:
    """Parents and tokens of the hypotheses of one utterance, step by step."""

    parents: list[list[int]] = field(default_factory=list)
    tokens: list[list[int]] = field(default_factory=list)

    def add(self, parents: list[int], tokens: list[int]) -> None:
        """One step: K each."""
        self.parents.append(parents)
        self.tokens.append(tokens)

    def read(self, slot: int) -> list[int]:
        """The tokens of the hypothesis that stands in this slot of the last step."""
        tokens = []
        for parents, row in zip(reversed(self.parents), reversed(self.tokens), strict=True):
            tokens.append(row[slot])
            slot = parents[slot]
        return tokens[::-1]
