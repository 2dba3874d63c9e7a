"""Results of a speech experiment as Markdown and as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cascade_asr.results.branches import branch_table, headline, read_experiment
from cascade_asr.results.collect import Results, Stage
from cascade_asr.results.columns import table
from cascade_asr.results.compute import shown_probability
from cascade_asr.results.provenance import provenance_lines
from cascade_asr.results.test_sets import (
    BOOTSTRAP_SAMPLES,
    decoded_folder,
    open_set,
)
from cascade_asr.scoring.significance import Comparison, compare
from cascade_asr.training.state import duration


def markdown_table(results: Results) -> str:
    """The table that a recipe ends with, in Markdown."""
    header = ["stage", f"dev {results.metric}"]
    header += [f"{name} WER (95 % interval)" for name in results.sets] + ["trained", "updates"]
    rows = []
    for stage in results.stages:
        mark = " **(selected)**" if stage.selected else ""
        cells = [stage.title + mark, f"{stage.dev_value:.2f}"]
        for name in results.sets:
            score = stage.scores[name]
            cell = f"{score.result.error_rate:.1f}"
            if score.interval:
                cell += f" ({score.interval.low:.1f}-{score.interval.high:.1f})"
            cells.append(cell)
        cells += [duration(stage.lineage["seconds"]), str(stage.lineage["updates"])]
        rows.append(cells)
    return table(header, rows)


def character_lines(results: Results) -> list[str]:
    """The character error rates of all stages side by side, a line a set."""
    stages = (*results.stages, *results.controls)
    lines = [
        f"CER on {name}: " + ", ".join(f"{each.name} {each.characters[name]:.1f}" for each in stages)
        for name in results.stages[0].characters
    ]
    if lines:
        lines.append("CER counts the spaces between words as characters, as ESPnet's does")
    return lines


def comparison_lines(results: Results) -> list[str]:
    """One sentence a stage and set: is it better than full training?

    Then the cascade's selected training against that of each control, on the same
    utterances: dev alone, which selected, does not decide.
    """
    chosen = next(stage for stage in results.stages if stage.selected)
    against = [
        _sentence(f"{chosen.name} against {control.name} on {name}", comparison)
        for control in results.controls
        if control is not chosen
        for name, comparison in versus(chosen, control, results.sets)
    ]
    return against_full(results) + against


def versus(chosen: Stage, control: Stage, sets: list[str]) -> Iterator[tuple[str, Comparison]]:
    """The selected training of the cascade against another one, by set."""
    for name in sets:
        before, after = control.scores[name].result, chosen.scores[name].result
        spread = chosen.scores[name].interval
        unit = spread.unit if spread else "utterance"
        yield name, compare(before, after, BOOTSTRAP_SAMPLES, unit=unit)


def against_full(results: Results) -> list[str]:
    """One sentence a stage and set: is it better than full training?"""
    return [
        _sentence(f"{stage.name} against full training on {name}", stage.scores[name].versus_full)
        for stage in (*results.stages, *results.controls)
        for name in results.sets
        if stage.scores[name].versus_full is not None
    ]


def _sentence(what: str, comparison: Comparison) -> str:
    test = comparison.mapsswe
    better = shown_probability("P(better)", comparison.probability_b_better)
    verdict = "significant" if test.significant else "not significant"
    return (
        f"{what}: {comparison.difference:+.1f} % WER ({comparison.low:+.1f} to "
        f"{comparison.high:+.1f}), {better}, MAPSSWE Z "
        f"{test.z:.2f}, {shown_probability('p', test.p)}, {verdict}"
    )


def compare_models(
    model_a: Path, model_b: Path, dump: Path, name: str, data: Path | None = None
) -> list[str]:
    """Is model B better than model A on a set? A sentence for each of its columns.

    Raises:
        DataError: if one of them is not decoded.
    """
    folders = [decoded_folder(model, name) for model in (model_a, model_b)]
    test_set = open_set(name, dump, data)
    before, after = (test_set.words(folder) for folder in folders)
    return [
        _sentence(
            f"{model_b} against {model_a} on {column}",
            compare(before[column], after[column], BOOTSTRAP_SAMPLES, unit=test_set.bootstrap_unit),
        )
        for column in test_set.columns
    ]


def markdown(results: Results) -> str:
    """Table, comparisons, caveat and where the files are."""
    directory = results.directory
    lines = ["", f"Results of {directory}", "", markdown_table(results), ""]
    lines += [*character_lines(results), ""]
    lines += comparison_lines(results)
    lines += ["", *results.notes] if results.notes else []
    lines += ["", *branch_section(results)]
    lines += ["", *provenance_lines((*results.stages, *results.controls))]
    lines += [
        "",
        f"Report: {directory}/report.html",
        f"Models: {directory}/STAGE/model.pth, lineage in lineage.json",
        f"sclite reports: {directory}/STAGE/decode_SET/score_wer/result.txt",
        *([f"hubscr.pl reports: {directory}/STAGE/decode_SET/score_hub5/SUBSET"] * bool(results.notes)),
        "",
    ]
    return "\n".join(lines)


def branch_section(results: Results) -> list[str]:
    """What may be said of the cascade, and the table of the controls that were run."""
    experiment = read_experiment(results.directory)
    lines = [headline([experiment])]
    if len(experiment.branches) > 1:
        lines += ["", "Selected by dev in each branch, with all that was trained for it:", ""]
        lines.append(branch_table(experiment))
    return lines
