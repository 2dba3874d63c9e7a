"""Hypotheses that have ended, and those still growing."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Hypothesis:
    """One text found by a search.

    Attributes:
        tokens: ids, with the sentence edge at the end.
        score: weighted log-probability.
        parts: components of the score, before weighting: ``decoder``, ``ctc``,
            ``lm``, ``length_bonus``.
    """

    tokens: list[int]
    score: float
    parts: dict[str, float]


@dataclass
class History:
    """The running hypotheses of one utterance, step by step.

    Attributes:
        texts: the tokens of each slot's hypothesis.
    """

    texts: list[list[int]] = field(default_factory=list)

    def add(self, parents: list[int], tokens: list[int]) -> None:
        """Add one step, with K parents and K tokens."""
        texts = self.texts or [[]] * len(parents)
        self.texts = [
            [*texts[parent], token] for parent, token in zip(parents, tokens, strict=True)
        ]

    def read(self, slot: int) -> list[int]:
        """The tokens of the hypothesis in this slot of the last step."""
        return list(self.texts[slot])
