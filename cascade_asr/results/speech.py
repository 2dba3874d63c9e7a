"""What a speech experiment adds to its record: table, error rates, comparisons in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from cascade_asr.files import read_json
from cascade_asr.results.collect import WITHOUT_WORDS, Results, Stage
from cascade_asr.results.inspection import Inspector
from cascade_asr.results.measures import Column, Difference, Measured, Value
from cascade_asr.results.record import experiment_record
from cascade_asr.results.test_sets import BOOTSTRAP_SAMPLES
from cascade_asr.results.utterances import utterances_record
from cascade_asr.scoring.sclite_reports import shown_rate
from cascade_asr.scoring.significance import Comparison, compare, shown_probability
from cascade_asr.speech.config import TrainConfig


def character_lines(results: Results) -> list[str]:
    """The character error rates of all stages side by side, one line per set."""
    stages = (*results.stages, *results.controls)
    lines = [
        f"CER on {name}: "
        + ", ".join(f"{each.name} {shown_rate(each.characters[name])}" for each in stages)
        for name in results.stages[0].characters
    ]
    if lines:
        lines.append("CER counts the spaces between words as characters, as ESPnet's does")
    return lines


def against_controls(results: Results) -> list[tuple[str, Comparison, Difference]]:
    """Compare the cascade's selected training with that of each control on the same utterances.

    Dev alone cannot decide, because it was used for selection.
    """
    chosen = next(stage for stage in results.stages if stage.selected)
    return [
        (
            f"{chosen.name} against {control.name} on {name}",
            comparison,
            _difference(chosen.name, control.name, name, comparison),
        )
        for control in results.controls
        if control is not chosen
        for name, comparison in versus(chosen, control, results.sets)
    ]


def versus(chosen: Stage, control: Stage, sets: list[str]) -> Iterator[tuple[str, Comparison]]:
    """The selected training of the cascade against another one, by set."""
    for name in sets:
        before, after = control.scores[name], chosen.scores[name]
        if not before.has_reference:
            continue
        unit = before.versus_full.unit  # a control is never full training
        yield name, compare(before.result, after.result, BOOTSTRAP_SAMPLES, unit=unit)


def against_full(results: Results) -> list[str]:
    """One sentence per stage and set: is it better than full training?"""
    return [
        sentence(f"{stage.name} against full training on {name}", stage.scores[name].versus_full)
        for stage in (*results.stages, *results.controls)
        for name in results.sets
        if stage.scores[name].versus_full is not None and stage.scores[name].has_reference
    ]


def sentence(what: str, comparison: Comparison) -> str:
    """A comparison in words."""
    test = comparison.mapsswe
    spread = ""
    if not math.isnan(comparison.low):
        better = shown_probability("P(better)", comparison.probability_b_better)
        spread = f" ({comparison.low:+.1f} to {comparison.high:+.1f}), {better}"
    verdict = ", significant" if test.significant else ", not significant"
    if math.isnan(test.p):
        verdict = ""
    return f"{what}: {comparison.difference:+.1f} % WER{spread}, {test.in_words()}{verdict}"


def measured(
    results: Results,
    data: dict[str, dict[str, int]] | None = None,
    inspector: Inspector | None = None,
) -> Measured:
    """What a speech experiment adds to its record."""
    directory = results.directory
    files = [
        f"Report: {directory}/report.html",
        f"Models: {directory}/STAGE/model.pth, lineage in lineage.json",
        f"sclite reports: {directory}/STAGE/decode_SET/score_wer/result.txt",
    ]
    if results.notes:
        files.append(f"hubscr.pl reports: {directory}/STAGE/decode_SET/score_hub5/SUBSET")
    against = against_controls(results)
    return Measured(
        kind="speech",
        stages=results.stages,
        controls=results.controls,
        columns=[
            Column(name, "WER", f"{name} WER (95 % interval)", ".1f") for name in results.sets
        ],
        values=_values(results),
        differences=_differences(results, against),
        sentences=[*against_full(results), *(sentence(*each[:2]) for each in against)],
        extra=character_lines(results),
        notes=[*results.notes, *_without_words(results)],
        files=files,
        utterances=utterances_record(results),
        defaults=TrainConfig(),
        data=data or {},
        inspector=inspector,
    )


def _without_words(results: Results) -> list[str]:
    scores = results.stages[0].scores
    return [f"{name}: {WITHOUT_WORDS}" for name in results.sets if not scores[name].has_reference]


def _values(results: Results) -> list[Value]:
    values = []
    for stage in (*results.stages, *results.controls):
        for name, score in stage.scores.items():
            if not score.has_reference:
                continue
            total, spread = score.result.total, score.interval
            counts = {
                key: getattr(total, key)
                for key in ("words", "substitutions", "deletions", "insertions", "utterances",
                            "wrong_utterances")
            }  # fmt: skip
            ends = (spread.low, spread.high) if spread else (None, None)
            values.append(Value(stage.name, name, "WER", total.error_rate, *ends, True, counts))
        for name, rate in stage.characters.items():
            values.append(Value(stage.name, name, "CER", rate, *_character_interval(stage, name)))
    return values


def _character_interval(stage: Stage, name: str) -> tuple[float | None, float | None]:
    """The interval that the scoring of characters wrote."""
    path = stage.directory / f"decode_{name}" / "score_cer" / "result.json"
    spread = read_json(path).get("interval") if path.is_file() else None
    return (spread["low"], spread["high"]) if spread else (None, None)


def _differences(
    results: Results, against: list[tuple[str, Comparison, Difference]]
) -> list[Difference]:
    found = [
        _difference(stage.name, results.stages[0].name, name, score.versus_full)
        for stage in (*results.stages, *results.controls)
        for name, score in stage.scores.items()
        if score.versus_full is not None and score.has_reference
    ]
    return found + [each for _, _, each in against]


def _difference(training: str, against: str, name: str, comparison: Comparison) -> Difference:
    test = comparison.mapsswe
    return Difference(
        training, against, name, "WER", comparison.difference, comparison.low, comparison.high,
        test.p, None if math.isnan(test.p) else bool(test.significant),
    )  # fmt: skip


def record_of(
    results: Results, data: dict[str, dict[str, int]] | None = None
) -> dict[str, Any]:
    """Make the record of a speech experiment, the source of all its views."""
    return experiment_record(results.directory, measured(results, data))
