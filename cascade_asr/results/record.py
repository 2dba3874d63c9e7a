"""The record of an experiment: one JSON-serialisable object, from which every view is made.

RESULTS.md, report.html, report.json and report.csv are views of it. What a task measures
is passed in as `Measured`; what experiments of all tasks have in common is read here.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
import platform
import shlex
import time
from pathlib import Path
from typing import Any

from cascade_asr.results.branches import branch_rows, read_experiment, time_notes
from cascade_asr.results.configuration import differences_to
from cascade_asr.results.headline import headline
from cascade_asr.results.inspection import inspect
from cascade_asr.results.measures import Measured, Value, shown, table_rows
from cascade_asr.results.provenance import provenance_lines
from cascade_asr.results.trainings import curves_of, order_layers, read_trainings

FORMAT = 1  # of report.json


def experiment_record(directory: Path, measured: Measured) -> dict[str, Any]:
    """Make the record of an experiment whose trainings are finished.

    Args:
        directory: ``exp/TAG``.
        measured: the results of its task.

    Raises:
        DataError: if no training is finished there.
    """
    experiment = read_experiment(directory)
    trainings = read_trainings(directory)
    order_layers(trainings)
    branch_header, branch_cells = branch_rows(experiment)
    header, rows = table_rows(measured, experiment.metric)
    decoded = {each.training for each in measured.values}
    for training in trainings:
        training["decoded"] = training["name"] in decoded
    record = {
        "format": FORMAT,
        "directory": str(directory),
        "kind": measured.kind,
        "metric": experiment.metric,
        "mode": experiment.mode,
        "selected": experiment.branches[0].selected,
        "headline": headline([experiment]),
        "remarks": better_on_test(measured, experiment.branches[0].selected, experiment.dev_set),
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": platform.node(),
        "command": whole_recipe(os.environ.get("CASCADE_ASR_COMMAND", "")),
        "data": measured.data,
        "configuration": differences_to(measured.defaults, directory, trainings),
        "trainings": trainings,
        "table": {"header": header, "rows": rows},
        "values": [dataclasses.asdict(each) for each in measured.values],
        "differences": [dataclasses.asdict(each) for each in measured.differences],
        "sentences": measured.sentences,
        "extra": measured.extra,
        "notes": measured.notes,
        "branches": {
            "header": branch_header,
            "rows": branch_cells,
            "notes": time_notes([experiment]),
        },
        "provenance": provenance_lines([*measured.stages, *measured.controls]),
        "files": measured.files,
        "logs": [
            str(path.relative_to(directory)) for path in sorted(directory.glob("log/*.log"))
        ],
        "curves": curves_of(directory, [each["name"] for each in trainings]),
        "inspection": inspect(measured.inspector, trainings) if measured.inspector else None,
        "utterances": measured.utterances,
    }
    return without_nan(record)


def whole_recipe(command: str) -> str:
    """The command line of a recipe without its choice of stages, so that it runs all of them.

    >>> whole_recipe("./run.sh --tag a --stage 6 --stop-stage=6 --follow=true")
    './run.sh --tag a'
    """
    kept, words = [], iter(shlex.split(command))
    for word in words:
        name = word.partition("=")[0].replace("_", "-")
        if name in ("--stage", "--stop-stage"):
            if "=" not in word:
                next(words, None)
        elif name not in ("--follow", "--detach"):
            kept.append(word)
    return shlex.join(kept)


def better_on_test(measured: Measured, selected: str, dev_set: str = "") -> list[str]:
    """Where another training was better than the selected one on a test set.

    Character error rates are left out if the set has word error rates.
    """
    values = {(each.training, each.set, each.metric): each for each in measured.values}
    found = []
    for each in measured.values:
        own = values.get((selected, each.set, each.metric))
        both = each.metric == "CER" and (selected, each.set, "WER") in values
        if own is None or each.training == selected or both or each.less_is_better is None:
            continue
        if each.set == dev_set:  # scored like a test set, but it has selected already
            continue
        gain = own.value - each.value if each.less_is_better else each.value - own.value
        if gain > 0:
            found.append(
                f"On {each.set}, {each.training} was better than {selected}, which dev selected in the cascade: "
                f"{each.metric} {shown(own.value, each.metric)} -> {shown(each.value, each.metric)}"
                f"{_how_surely(measured, each, selected)}."
            )
    return found


def _how_surely(measured: Measured, value: Value, selected: str) -> str:
    for each in measured.differences:
        pair = (each.training, each.against)
        same = (each.set, each.metric) == (value.set, value.metric)
        if same and pair in ((value.training, selected), (selected, value.training)):
            if each.significant is not None:
                return ", significant" if each.significant else ", not significant"
    return ""


def without_nan(value: Any) -> Any:
    """The same value, with None for numbers that JSON cannot express."""
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def without_utterances(record: dict[str, Any]) -> dict[str, Any]:
    """The record without alignments and drawings of single utterances."""
    shown = {key: value for key, value in record.items() if key != "utterances"}
    if shown["inspection"]:
        shown["inspection"] = {
            key: value for key, value in shown["inspection"].items() if key != "samples"
        }
    return shown


def as_json(record: dict[str, Any]) -> str:
    """The record without its data on single utterances, which the page embeds."""
    return json.dumps(without_utterances(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(record: dict[str, Any]) -> str:
    """Every value and paired difference, one per line; a field is empty if unknown."""
    columns = ("what", "training", "against", "set", "metric", "value", "low", "high", "p")
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for each in record["trainings"]:
        writer.writerow(["value", each["name"], "", "dev", record["metric"], each["dev"], "", "", ""])
    for each in record["values"]:
        writer.writerow(["value", each["training"], "", each["set"], each["metric"], each["value"],
                         *(_or_empty(each[key]) for key in ("low", "high")), ""])  # fmt: skip
    for each in record["differences"]:
        writer.writerow(["difference", each["training"], each["against"], each["set"],
                         each["metric"], each["difference"],
                         *(_or_empty(each[key]) for key in ("low", "high", "p"))])  # fmt: skip
    return stream.getvalue()


def _or_empty(value: float | None) -> float | str:
    return "" if value is None else value
