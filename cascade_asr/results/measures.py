"""What a task measures: the numbers of an experiment, and which of them are columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cascade_asr.options.training import TrainingOptions
from cascade_asr.results.collect import Stage
from cascade_asr.results.inspection import Inspector
from cascade_asr.training.convergence import in_words, is_converged
from cascade_asr.training.state import duration

ERRORS = ("loss", "error", "perplexity", "wer", "cer")  # less of these is better
TWO_DECIMALS = ("perplexity", "wer", "cer")


def shown(value: float, metric: str, signed: bool = False) -> str:
    """A value or a difference as tables and sentences show it.

    Perplexities and error rates in percent have two decimals; other metrics, such as an
    accuracy between 0 and 1, have four significant digits.
    """
    form = ".2f" if any(word in metric.lower() for word in TWO_DECIMALS) else ".4g"
    return format(value, f"+{form}" if signed else form)


def divide_name(name: str) -> tuple[str, str]:
    """Set and metric of a score's name, such as ``test_seen WER``."""
    place, _, metric = name.rpartition(" ")
    return place or "test", metric


def is_less_better(name: str, selected: str, mode: str) -> bool | None:
    """Whether less of a score is better; None where that is not known.

    Args:
        name: of the score, such as ``test accuracy``.
        selected: the dev metric that selects.
        mode: ``min`` or ``max`` of that metric.
    """
    metric = divide_name(name)[1]
    if metric == selected:
        return mode == "min"
    return True if any(word in metric.lower() for word in ERRORS) else None


@dataclass(frozen=True)
class Value:
    """One number of a table: a training on a test set.

    Attributes:
        training, set: such as ``stage1`` and ``test_seen``.
        metric: such as ``WER``, ``CER``, ``perplexity``.
        value: in percent, where it is a rate.
        low, high: its 95 % interval, where there is one.
        less_is_better: None where that is not known.
        counts: what it is made of, such as ``{"words": 600, "substitutions": 3}``.
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
    """A paired difference on a test set: value of ``training`` - value of ``against``."""

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
    """A column of the table that a recipe ends with: a metric on a set.

    Attributes:
        set, metric: of the values in it.
        title: in the header.
        form: how a value is written, see `format`.
    """

    set: str
    metric: str
    title: str
    form: str = ".2f"


@dataclass
class Measured:
    """What a task contributes to the record of an experiment.

    Attributes:
        kind: ``speech``, ``text``, or what else was trained.
        stages: rows of the table: full training and the cascade's stages.
        controls: further trainings that have values.
        columns: of the table.
        values, differences: the numbers behind it, and more of them.
        sentences: one a stage and set: is it better than full training?
        dev_form: how the dev metric is written.
        extra: lines between the table and these; None for a task that never has any.
        notes: what is particular about the scores of a set.
        files: where models and reports are, in lines.
        utterances: see `results.utterances`; None where there are none.
        defaults: the options of training as they are where a file says nothing.
        data: sizes of data sets, by name.
        inspector: looks into the models; None: nobody does.
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
    """Header and cells of the table that a recipe ends with, one row a stage.

    Args:
        measured: by the task.
        metric: the dev metric that selects.
    """
    values = {(each.training, each.set, each.metric): each for each in measured.values}
    titles = [column.title for column in measured.columns]
    # trainings of older versions have no verdict
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
    """``12.3``, or ``12.3 (11.0-13.5)``."""
    if value.low is None or value.high is None:
        return format(value.value, form)
    return f"{value.value:{form}} ({value.low:{form}}-{value.high:{form}})"
