"""The results of an experiment: scores of every stage on every test set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cascade_asr.branch_results import branch_table, headline, read_experiment, table
from cascade_asr.data.atomic import read_json, write_json
from cascade_asr.evaluation import (
    BOOTSTRAP_SAMPLES,
    Hub5Set,
    PlainSet,
    decoded_folder,
    open_set,
)
from cascade_asr.scoring.comparison import changes, write_changes
from cascade_asr.scoring.result import Interval, ScoreResult
from cascade_asr.scoring.significance import Comparison, compare, interval


@dataclass
class Score:
    """One stage on one test set.

    Attributes:
        result: alignments and counts.
        interval: 95 % bootstrap interval of the WER.
        versus_full: comparison with the full training; None for itself.
    """

    result: ScoreResult
    interval: Interval | None
    versus_full: Comparison | None


@dataclass
class Stage:
    """A finished stage with its scores.

    Attributes:
        name, title: ``stage1`` and what it is.
        directory: its folder.
        dev_value: the dev metric that selects.
        kept, selected: by that metric.
        lineage: content of ``lineage.json``.
        scores: by test set, or by set and subset.
        characters: CER in percent by test set, where it is scored.
    """

    name: str
    title: str
    directory: Path
    dev_value: float
    kept: bool
    selected: bool
    lineage: dict
    scores: dict[str, Score] = field(default_factory=dict)
    characters: dict[str, float] = field(default_factory=dict)


@dataclass
class Results:
    """All of an experiment.

    Attributes:
        directory: ``exp/TAG``.
        metric: the dev metric that selects.
        stages: full training and the cascade's stages.
        sets: test sets; of those that are scored in subsets, each subset.
        controls: the selected training of each control that was run.
        notes: what is particular about the scores of a set.
    """

    directory: Path
    metric: str
    stages: list[Stage]
    sets: list[str]
    controls: list[Stage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def collect(
    directory: Path,
    dump: Path,
    sets: list[str],
    data: Path | None = None,
    sctk: Path | None = None,
) -> Results:
    """Score every decoded stage on every set and compare it with full training.

    Writes sclite's reports into ``STAGE/decode_SET/score_wer`` and ``score_cer``, or
    hubscr.pl's into ``score_hub5``, ``changes.tsv`` of the utterances that differ, and
    ``STAGE/scores.json``. The selected training of every control is scored too.

    Args:
        directory: ``exp/TAG``.
        dump: folder of stages 1 and 2.
        sets: test sets inside it.
        data: folder of stage 0, where sets that are scored as Hub5 have their reference.
        sctk: folder of hubscr.pl; None looks for it.

    Raises:
        DataError: if one of them has not been decoded.
    """
    selection = read_json(directory / "selection.json")
    stages = [
        read_stage(directory, entry, entry["name"] == selection["selected"])
        for entry in selection["stages"]
    ]
    chosen = []
    for control in selection.get("controls", {}).values():
        entry = next(each for each in control["stages"] if each["name"] == control["selected"])
        if entry["name"] not in {each.name for each in (*stages, *chosen)}:
            chosen.append(read_stage(directory, entry, False))
    opened = {name: open_set(name, dump, data, sctk) for name in sets}
    for name, each in opened.items():
        _score_set(name, each, [*stages, *chosen])
    for stage in (*stages, *chosen):
        write_json(stage.directory / "scores.json", _rates(stage))
    columns = [column for each in opened.values() for column in each.columns]
    notes = [each.note for each in opened.values() if each.note]
    return Results(directory, selection["metric"], stages, columns, chosen, notes)


def read_stage(directory: Path, entry: dict, is_selected: bool) -> Stage:
    """A finished training, from its entry in ``selection.json``; not scored yet."""
    folder = directory / entry["name"]
    return Stage(
        entry["name"],
        entry["title"],
        folder,
        entry["value"],
        entry["kept"],
        is_selected,
        read_json(folder / "lineage.json"),
    )


def _score_set(name: str, test_set: PlainSet | Hub5Set, stages: list[Stage]) -> None:
    """Score stages on one set, full training first."""
    full: dict[str, ScoreResult] = {}
    unit = test_set.bootstrap_unit
    for stage in stages:
        folder = decoded_folder(stage.directory, name)
        score = test_set.score(folder)
        if score.characters is not None:
            stage.characters[name] = score.characters
        for column, result in score.words.items():
            comparison = None
            if stage is not stages[0]:
                comparison = compare(full[column], result, BOOTSTRAP_SAMPLES, unit=unit)
                table = changes(full[column], result)
                write_changes(test_set.report_folder(folder, column) / "changes.tsv", table)
            spread = interval(result, BOOTSTRAP_SAMPLES, unit=unit)
            stage.scores[column] = Score(result, spread, comparison)
        full = full or score.words


def _rates(stage: Stage) -> dict[str, float]:
    """Error rates in percent, as tables of branches and seeds read them."""
    return {f"{name} WER": score.result.error_rate for name, score in stage.scores.items()} | {
        f"{name} CER": rate for name, rate in stage.characters.items()
    }


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


def duration(seconds: float) -> str:
    """``4 min 05 s``, or ``2 h 13 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s"


def character_lines(results: Results) -> list[str]:
    """The character error rates of all stages side by side, a line a set."""
    stages = (*results.stages, *results.controls)
    return [
        f"CER on {name}: " + ", ".join(f"{each.name} {each.characters[name]:.1f}" for each in stages)
        for name in results.stages[0].characters
    ]


def comparison_lines(results: Results) -> list[str]:
    """One sentence a stage and set: is it better than full training?"""
    return [
        _sentence(f"{stage.name} against full training on {name}", stage.scores[name].versus_full)
        for stage in (*results.stages, *results.controls)
        for name in results.sets
        if stage.scores[name].versus_full is not None
    ]


def _sentence(what: str, comparison: Comparison) -> str:
    test = comparison.mapsswe
    verdict = "significant" if test.significant else "not significant"
    return (
        f"{what}: {comparison.difference:+.1f} % WER ({comparison.low:+.1f} to "
        f"{comparison.high:+.1f}), P(better) {comparison.probability_b_better:.2f}, MAPSSWE Z "
        f"{test.z:.2f}, {verdict}"
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
