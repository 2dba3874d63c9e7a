"""What a task measures: the numbers of an experiment, and which of them become columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cascade_asr.options.training import TrainingOptions
from cascade_asr.results.collect import Stage
from cascade_asr.results.inspection import Inspector
from cascade_asr.scoring.sclite_reports import shown_rate
from cascade_asr.training.convergence import in_words, is_converged
from cascade_asr.training.state import duration

WITH_CACHE = "with cache"  # a perplexity: the only metric whose name has two words
ERRORS = ("loss", "error", "perplexity", "wer", "cer", WITH_CACHE)  # less of these is better
TWO_DECIMALS = ("perplexity", "wer", "cer", WITH_CACHE)
WHOLE_WORDS = ("wer", "cer", "acc")  # others may be part of a word, as in "NLLLoss"


def shown(value: float, metric: str, signed: bool = False) -> str:
    """A value or a difference as tables and sentences show it.

    Perplexities and error rates in percent have two decimals; other metrics, such as an
    accuracy between 0 and 1, have four significant digits.
    """
    form = ".2f" if _is_among(metric, TWO_DECIMALS) else ".4g"
    return format(value, f"+{form}" if signed else form)


def divide_name(name: str) -> tuple[str, str]:
    """Split the name of a score, such as ``test_seen WER``, into set and metric."""
    if name.endswith(f" {WITH_CACHE}"):
        return name.removesuffix(f" {WITH_CACHE}"), WITH_CACHE
    place, _, metric = name.rpartition(" ")
    return place or "test", metric


def _is_among(metric: str, names: Sequence[str]) -> bool:
    """Whether a metric is one of ``names``; ``answer_f1`` is not a ``wer``."""
    words = re.findall("[a-z]+", metric.lower())
    return any(each in (words if each in WHOLE_WORDS else metric.lower()) for each in names)


def is_less_better(name: str, selected: str, mode: str) -> bool | None:
    """Whether a lower score is better; None if unknown.

    Args:
        name: name of the score, such as ``test accuracy``.
        selected: the dev metric used for selection.
        mode: whether that metric is minimised (``min``) or maximised (``max``).
    """
    metric = divide_name(name)[1]
    if metric == selected:
        return mode == "min"
    if _is_among(metric, ("acc", "accuracy")):
        return False
    return True if _is_among(metric, ERRORS) else None


@dataclass(frozen=True)
class Value:
    """One number of a table: the score of a training on a test set.

    Attributes:
        training, set: such as ``stage1`` and ``test_seen``.
        metric: such as ``WER``, ``CER``, ``perplexity``.
        value: the score; rates are in percent.
        low, high: its 95 % interval, if it has one.
        less_is_better: None if unknown.
        counts: the counts behind it, such as ``{"words": 600, "substitutions": 3}``.
    """

    training: str
    set: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    less_is_better: bool | None = True
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """A paired difference on a test set: value of ``training`` minus value of ``against``."""

    training: str
    against: str
    set: str
    metric: str
    difference: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    significant: bool | None = None


@dataclass(frozen=True)
class Column:
    """A column of a recipe's final table: a metric on a set.

    Attributes:
        set, metric: set and metric of its values.
        title: its header.
        form: format specification of a value, see `format`.
    """

    set: str
    metric: str
    title: str
    form: str = ".2f"


@dataclass
class Measured:
    """What a task contributes to the record of an experiment.

    Attributes:
        kind: ``speech``, ``text``, or whatever else was trained.
        stages: rows of the table: full training and the cascade's stages.
        controls: further trainings that have values.
        columns: columns of the table.
        values, differences: the numbers behind the table, and more.
        sentences: one per stage and set: is it better than full training?
        dev_form: format specification of the dev metric.
        extra: lines between table and sentences; None for a task that never has any.
        notes: peculiarities of the scores of a set.
        files: lines that say where models and reports are.
        utterances: see `results.utterances`; None if there are none.
        defaults: the default training options.
        data: sizes of data sets, by name.
        inspector: inspects the models; None skips this.
    """

    kind: str
    stages: Sequence[Stage]
    columns: Sequence[Column]
    values: list[Value]
    controls: Sequence[Stage] = ()
    differences: list[Difference] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    dev_form: str = ".2f"
    extra: list[str] | None = None
    notes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    utterances: dict[str, Any] | None = None
    defaults: TrainingOptions = field(default_factory=TrainingOptions)
    data: dict[str, dict[str, int]] = field(default_factory=dict)
    inspector: Inspector | None = None


def table_rows(measured: Measured, metric: str) -> tuple[list[str], list[list[str]]]:
    """Header and cells of a recipe's final table, one row per stage.

    Args:
        measured: the results of the task.
        metric: the dev metric used for selection.
    """
    values = {(each.training, each.set, each.metric): each for each in measured.values}
    titles = [column.title for column in measured.columns]
    # trainings by older versions have no verdict
    judged = any(is_converged(stage.lineage) is not None for stage in measured.stages)
    rows = []
    for stage in measured.stages:
        cells = [stage.title + (" **(selected)**" if stage.selected else "")]
        cells.append(format(stage.dev_value, measured.dev_form))
        for column in measured.columns:
            value = values.get((stage.name, column.set, column.metric))
            cells.append("-" if value is None else _cell(value, column.form))
        cells += [duration(stage.lineage["seconds"]), f"{stage.lineage['updates']:,}"]
        cells += [in_words(is_converged(stage.lineage))] * judged
        rows.append(cells)
    last = ["converged?"] * judged
    return ["stage", f"dev {metric}", *titles, "trained", "updates", *last], rows


def _cell(value: Value, form: str) -> str:
    """``12.3``, or ``12.3 (11.0-13.5)``; one decimal is sclite's."""

    def shown_in_form(number: float) -> str:
        return shown_rate(number) if form == ".1f" else format(number, form)

    if value.low is None or value.high is None:
        return shown_in_form(value.value)
    return f"{shown_in_form(value.value)} ({shown_in_form(value.low)}-{shown_in_form(value.high)})"
