"""Hypotheses that ended, and the steps from which they are read back."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch


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

    def add(self, parents: torch.Tensor, tokens: torch.Tensor) -> None:
        """One step: (K,) each, on the host."""
        self.parents.append(parents.long().tolist())
        self.tokens.append(tokens.long().tolist())

    def read(self, slot: int) -> list[int]:
        """The tokens of the hypothesis that stands in this slot of the last step."""
        tokens = []
        for parents, row in zip(reversed(self.parents), reversed(self.tokens), strict=True):
            tokens.append(row[slot])
            slot = parents[slot]
        return tokens[::-1]
