"""The results of an experiment: scores of every stage on every test set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cascade_asr.files import read_json, write_json
from cascade_asr.results.decodings import decoded_folder
from cascade_asr.results.test_sets import (
    BOOTSTRAP_SAMPLES,
    Hub5Set,
    PlainSet,
    open_set,
)
from cascade_asr.scoring.changes import changes, write_changes
from cascade_asr.scoring.score import Interval, ScoreResult
from cascade_asr.scoring.significance import Comparison, compare, interval
from cascade_asr.training.finished import read_lineage

WITHOUT_WORDS = "its text has no words, so it was decoded but has no error rate"


@dataclass
class Score:
    """One stage on one test set.

    Attributes:
        result: alignments and counts.
        interval: 95 % bootstrap interval of the WER.
        versus_full: comparison with full training; None for full training itself.
    """

    result: ScoreResult
    interval: Interval | None
    versus_full: Comparison | None

    @property
    def has_reference(self) -> bool:
        """Whether the reference has words; a set that is only to be decoded has no error rate."""
        return self.result.total.words > 0


@dataclass
class Stage:
    """A finished stage with its scores.

    Attributes:
        name, title: ``stage1``, and a description of it.
        directory: its folder.
        dev_value: the dev metric used for model selection.
        kept, selected: whether that metric kept and selected it.
        lineage: content of ``lineage.json``.
        scores: by test set, or by set and subset.
        characters: CER in percent by test set, if scored.
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
    """All results of an experiment.

    Attributes:
        directory: ``exp/TAG``.
        metric: the dev metric used for model selection.
        stages: full training and the cascade's stages.
        sets: test sets; for those that are scored by subset, each subset.
        controls: the selected training of each control that was run.
        notes: peculiarities of the scores of a set.
        names: utterance and speaker by set, then by the id that scoring uses.
    """

    directory: Path
    metric: str
    stages: list[Stage]
    sets: list[str]
    controls: list[Stage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    names: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)


def collect(
    directory: Path,
    dump: Path,
    sets: list[str],
    data: Path | None = None,
    sctk: Path | None = None,
) -> Results:
    """Score every decoded stage on every set and compare it with full training.

    Writes sclite's reports to ``STAGE/decode_SET/score_wer`` and ``score_cer``, or
    hubscr.pl's to ``score_hub5``; ``changes.tsv``, which lists the utterances that differ;
    and ``STAGE/scores.json``. The selected training of every control is scored, too.

    Args:
        directory: ``exp/TAG``.
        dump: folder of stages 1 and 2.
        sets: test sets inside it.
        data: folder of stage 0, which has the references of sets that are scored as Hub5.
        sctk: folder of hubscr.pl; None searches for it.

    Raises:
        DataError: if a set has not been decoded.
    """
    selection = read_json(directory / "selection.json")
    stages = [
        read_stage(directory, entry, entry["name"] == selection["selected"])
        for entry in selection["stages"]
    ]
    chosen = selected_controls(directory, selection)
    opened = {name: open_set(name, dump, data, sctk) for name in sets}
    for name, each in opened.items():
        _score_set(name, each, [*stages, *chosen])
    for stage in (*stages, *chosen):
        write_json(stage.directory / "scores.json", _rates(stage))
    columns = [column for each in opened.values() for column in each.columns]
    notes = [each.note for each in opened.values() if each.note]
    names = {column: each.names() for each in opened.values() for column in each.columns}
    return Results(directory, selection["metric"], stages, columns, chosen, notes, names)


def selected_controls(directory: Path, selection: dict) -> list[Stage]:
    """What each control selected, unless the cascade has it too; not scored yet.

    Args:
        directory: ``exp/TAG``.
        selection: content of its ``selection.json``.
    """
    known = {each["name"] for each in selection["stages"]}
    entries = {
        each["name"]: each
        for control in selection.get("controls", {}).values()
        for each in control["stages"]
        if each["name"] == control["selected"] and each["name"] not in known
    }
    return [read_stage(directory, entry, False) for entry in entries.values()]


def read_stage(directory: Path, entry: dict, is_selected: bool) -> Stage:
    """Read a finished training, given its entry in ``selection.json``; not scored yet."""
    folder = directory / entry["name"]
    return Stage(
        entry["name"],
        entry["title"],
        folder,
        entry["value"],
        entry["kept"],
        is_selected,
        read_lineage(folder),
    )


def _score_set(name: str, test_set: PlainSet | Hub5Set, stages: list[Stage]) -> None:
    """Score stages on one set, full training first."""
    full: dict[str, ScoreResult] = {}
    unit = test_set.bootstrap_unit
    for stage in stages:
        folder = decoded_folder(stage.directory, name)
        score = test_set.score(folder)
        if score.characters is not None and any(each.total.words for each in score.words.values()):
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
    """Error rates in percent, in the form that tables of branches and seeds read."""
    scored = {name: score for name, score in stage.scores.items() if score.has_reference}
    return {f"{name} WER": score.result.error_rate for name, score in scored.items()} | {
        f"{name} CER": rate for name, rate in stage.characters.items()
    }
