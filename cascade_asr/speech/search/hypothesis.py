"""Hypotheses that ended, and those that still grow."""

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
    """The running hypotheses of one utterance, step by step.

    Attributes:
        texts: the tokens of each slot's hypothesis.
    """

    texts: list[list[int]] = field(default_factory=list)

    def add(self, parents: list[int], tokens: list[int]) -> None:
        """One step: K each."""
        texts = self.texts or [[]] * len(parents)
        self.texts = [
            [*texts[parent], token] for parent, token in zip(parents, tokens, strict=True)
        ]

    def read(self, slot: int) -> list[int]:
        """The tokens of the hypothesis that stands in this slot of the last step."""
        return list(self.texts[slot])
