"""The results of an experiment: scores of every stage on every test set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cascade_asr.data.atomic import read_json
from cascade_asr.data.data_dir import read_table
from cascade_asr.errors import DataError
from cascade_asr.scoring.comparison import changes, write_changes
from cascade_asr.scoring.options import ScoringOptions
from cascade_asr.scoring.output import result_record, write_record, write_reports
from cascade_asr.scoring.result import Interval, ScoreResult
from cascade_asr.scoring.scorer import score_texts
from cascade_asr.scoring.significance import Comparison, compare, interval

BOOTSTRAP_SAMPLES = 1000


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
        scores: by test set.
    """

    name: str
    title: str
    directory: Path
    dev_value: float
    kept: bool
    selected: bool
    lineage: dict
    scores: dict[str, Score] = field(default_factory=dict)


@dataclass
class Results:
    """All of an experiment."""

    directory: Path
    metric: str
    stages: list[Stage]
    sets: list[str]


def collect(directory: Path, dump: Path, sets: list[str]) -> Results:
    """Score every decoded stage on every set and compare it with full training.

    Writes sclite's reports into ``STAGE/decode_SET/score_wer`` and
    ``score_cer``, and ``changes.tsv`` of the utterances that differ.

    Raises:
        DataError: if a stage has not been decoded.
    """
    selection = read_json(directory / "selection.json")
    stages = []
    for entry in selection["stages"]:
        folder = directory / entry["name"]
        stages.append(
            Stage(
                entry["name"],
                entry["title"],
                folder,
                entry["value"],
                entry["kept"],
                entry["name"] == selection["selected"],
                read_json(folder / "lineage.json"),
            )
        )
    for name in sets:
        reference = _texts(dump / name / "text")
        speakers = read_table(dump / name / "utt2spk")
        full = None
        for stage in stages:
            folder = stage.directory / f"decode_{name}"
            if not (folder / "text").is_file():
                raise DataError(f"{folder}/text: not decoded; run stage 5")
            hypothesis = _texts(folder / "text")
            result = _score(folder / "score_wer", reference, hypothesis, speakers, False)
            _score(folder / "score_cer", reference, hypothesis, speakers, True)
            comparison = None
            if full is None:
                full = result
            else:
                comparison = compare(full, result, BOOTSTRAP_SAMPLES)
                write_changes(folder / "score_wer" / "changes.tsv", changes(full, result))
            stage.scores[name] = Score(result, interval(result, BOOTSTRAP_SAMPLES), comparison)
    return Results(directory, selection["metric"], stages, sets)


def _texts(path: Path) -> dict[str, list[str]]:
    return {name: text.split() for name, text in read_table(path).items()}


def _score(
    folder: Path,
    reference: dict[str, list[str]],
    hypothesis: dict[str, list[str]],
    speakers: dict[str, str],
    characters: bool,
) -> ScoreResult:
    """Score one hypothesis and write sclite's files."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ScoringOptions(encoding="utf-8", characters=characters)
    result = score_texts(
        reference, hypothesis, speakers, options, title=f"{folder}/hyp.trn", strict=True
    )
    write_reports(folder, result)
    write_record(folder / "result.json", result_record(result, interval(result, BOOTSTRAP_SAMPLES)))
    return result


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
    widths = [max(len(row[index]) for row in [header, *rows]) for index in range(len(header))]

    def line(cells: list[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return "| " + " | ".join(padded) + " |"

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)])


def duration(seconds: float) -> str:
    """``4 min 05 s``, or ``2 h 13 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s"


def comparison_lines(results: Results) -> list[str]:
    """One sentence a stage and set: is it better than full training?"""
    lines = []
    for stage in results.stages:
        for name in results.sets:
            comparison = stage.scores[name].versus_full
            if comparison is None:
                continue
            test = comparison.mapsswe
            verdict = "significant" if test.significant else "not significant"
            lines.append(
                f"{stage.name} against full training on {name}: {comparison.difference:+.1f} % WER "
                f"({comparison.low:+.1f} to {comparison.high:+.1f}), P(better) "
                f"{comparison.probability_b_better:.2f}, MAPSSWE Z {test.z:.2f}, {verdict}"
            )
    return lines


def markdown(results: Results) -> str:
    """Table, comparisons, caveat and where the files are."""
    directory = results.directory
    lines = ["", f"Results of {directory}", "", markdown_table(results), ""]
    comparisons = comparison_lines(results)
    if comparisons:
        lines += comparisons + [
            "",
            "No controls were run (longer training, continued training at equal compute): a gain is "
            "not attributed to the cascade.",
        ]
    lines += [
        "",
        f"Report: {directory}/report.html",
        f"Models: {directory}/STAGE/model.pth, lineage in lineage.json",
        f"sclite reports: {directory}/STAGE/decode_SET/score_wer/result.txt",
        "",
    ]
    return "\n".join(lines)
