"""What changed, utterance by utterance, between two systems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cascade_asr.scoring.alignment import CORRECT
from cascade_asr.scoring.score import ScoreResult, Utterance
from cascade_asr.scoring.significance import matching

COLUMNS = ("utterance", "words", "errors_a", "errors_b", "change", "mended", "broken",
           "reference", "hypothesis_a", "hypothesis_b")


@dataclass(frozen=True)
class Change:
    """One utterance that two systems recognised differently.

    Attributes:
        change: errors of B - errors of A; negative if B is better.
        mended: reference words that only B has right.
        broken: reference words that only A has right.
    """

    utterance: str
    words: int
    errors_a: int
    errors_b: int
    change: int
    mended: str
    broken: str
    reference: str
    hypothesis_a: str
    hypothesis_b: str


def changes(result_a: ScoreResult, result_b: ScoreResult) -> list[Change]:
    """Utterances whose hypotheses differ, beginning with those that B made worst.

    Raises:
        DataError: if the systems were not scored on the same utterances.
    """
    found = [
        _change(a, b)
        for a, b in zip(result_a.utterances, matching(result_a, result_b).utterances)
        if a.alignment.operations != b.alignment.operations
        or a.alignment.hypothesis != b.alignment.hypothesis
    ]
    return sorted(found, key=lambda change: (-change.change, change.utterance))


def _change(a: Utterance, b: Utterance) -> Change:
    right_a, right_b = (_right_words(u) for u in (a, b))
    return Change(
        a.name,
        len(a.alignment.reference),
        a.errors,
        b.errors,
        b.errors - a.errors,
        _text((right_b - right_a).elements()),
        _text((right_a - right_b).elements()),
        _text(a.alignment.reference),
        _text(a.alignment.hypothesis),
        _text(b.alignment.hypothesis),
    )


def _right_words(utterance: Utterance) -> Counter[bytes]:
    return Counter(
        reference or hypothesis
        for operation, reference, hypothesis in utterance.alignment.columns()
        if operation == CORRECT
    )


def _text(words: Iterable[bytes]) -> str:
    return b" ".join(words).decode("utf-8", "backslashreplace")


def write_changes(path: Path, table: list[Change]) -> None:
    """Write the table as tab-separated values with a header line."""
    rows = ["\t".join(COLUMNS)]
    rows += ["\t".join(str(getattr(change, name)) for name in COLUMNS) for change in table]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
