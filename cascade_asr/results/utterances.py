"""Alignments of all utterances of several trainings, in few bytes, because the page embeds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascade_asr.results.collect import Results, Stage
from cascade_asr.scoring.alignment import CORRECT, Alignment
from cascade_asr.scoring.score import ScoreResult, Utterance
from cascade_asr.scoring.significance import matching


def utterances_record(results: Results) -> dict[str, Any]:
    """Every utterance of every set, with its alignments to the hypotheses of all trainings.

    A set whose utterances all belong to another one, such as a subset of Hub5, is left out.

    Returns:
        ``trainings``: names; ``words``: every word once; ``sets``: by name, a list of
        ``[utterance, speaker, reference, alignments]`` with words as indices. An
        alignment is ``[operations, wrong words]`` if its correct words are the
        reference's, else ``[operations, reference, hypothesis]``.
    """
    stages = [*results.stages, *results.controls]
    words: dict[bytes, int] = {}
    sets = {
        name: _rows(
            [stage.scores[name].result for stage in stages], words, results.names.get(name, {})
        )
        for name in _largest(results.sets, stages[0])
    }
    return {
        "trainings": [stage.name for stage in stages],
        "words": [_text(word) for word in words],
        "sets": sets,
    }


def _largest(names: Sequence[str], stage: Stage) -> list[str]:
    """Sets whose utterances are not all in a larger set, nor in an equal set before it."""
    kept: list[str] = []
    ids = {
        name: {each.identifier for each in stage.scores[name].result.utterances} for name in names
    }
    for name in sorted(names, key=lambda name: -len(ids[name])):
        if ids[name] and not any(ids[name] <= ids[other] for other in kept):
            kept.append(name)
    return [name for name in names if name in kept]


def _rows(
    results: Sequence[ScoreResult], words: dict[bytes, int], names: dict[str, tuple[str, str]]
) -> list[list[Any]]:
    others = [matching(results[0], result).utterances for result in results[1:]]
    return [_row(same, words, names) for same in zip(results[0].utterances, *others, strict=True)]


def _row(
    same: Sequence[Utterance], words: dict[bytes, int], names: dict[str, tuple[str, str]]
) -> list[Any]:
    reference = same[0].alignment.reference
    alignments = [_compact(each.alignment, reference, words) for each in same]
    name, speaker = names.get(same[0].name, (same[0].name, _text(same[0].speaker)))
    return [name, speaker, _indices(reference, words), alignments]


def _compact(alignment: Alignment, reference: Sequence[bytes], words: dict[bytes, int]) -> list:
    operations = alignment.operations.decode("ascii")
    plain = list(alignment.reference) == list(reference) and all(
        operation != CORRECT or expected == found
        for operation, expected, found in alignment.columns()
    )
    if plain:
        wrong = [found for _, found in alignment.errors() if found is not None]
        return [operations, _indices(wrong, words)]
    hypothesis = _indices(alignment.hypothesis, words)
    return [operations, _indices(alignment.reference, words), hypothesis]


def _indices(text: Sequence[bytes], words: dict[bytes, int]) -> list[int]:
    return [words.setdefault(word, len(words)) for word in text]


def _text(word: bytes) -> str:
    return word.decode("utf-8", "backslashreplace")
