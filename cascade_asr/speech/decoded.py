"""The result of decoding an utterance, and its JSON form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cascade_asr.speech.ctc_alignment import Word

_LISTS = ("nbest", "token_times", "word_times")


@dataclass(frozen=True)
class Ranked:
    """One of the n best texts.

    Attributes:
        text: the text.
        tokens: ids, without sentence edge and blanks.
        score: weighted log-probability.
        parts: components of the score, before weighting.
    """

    text: str
    tokens: list[int]
    score: float
    parts: dict[str, float]


@dataclass(frozen=True)
class Decoded:
    """The result for an utterance.

    Attributes:
        utterance: its id.
        nbest: best texts, best first, at least one.
        token_times: times of the best text's tokens.
        word_times: times of its words.
    """

    utterance: str
    nbest: list[Ranked]
    token_times: list[Word]
    word_times: list[Word]

    def to_json(self) -> dict[str, Any]:
        """The form that `from_json` reads; numbers keep all their digits."""
        lists = {name: [vars(each) for each in getattr(self, name)] for name in _LISTS}
        return {"utterance": self.utterance, **lists}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Decoded:
        """Restore a result from `to_json`.

        Raises:
            TypeError, KeyError: if the content has a different form.
        """
        return cls(
            content["utterance"],
            [Ranked(**each) for each in content["nbest"]],
            [Word(**each) for each in content["token_times"]],
            [Word(**each) for each in content["word_times"]],
        )
