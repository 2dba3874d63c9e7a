"""The cascade compared with its controls: metric, compute and, over seeds, statistics."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade_asr.cascade.names import CASCADE
from cascade_asr.errors import DataError
from cascade_asr.files import read_json
from cascade_asr.results import compute
from cascade_asr.results.columns import table
from cascade_asr.results.convergence import how_many_converged
from cascade_asr.results.experiments import read_if_whole
from cascade_asr.results.measures import shown
from cascade_asr.training.convergence import in_words, is_converged
from cascade_asr.training.finished import read_lineage

DEV_SET = "dev"  # name of the dev set where it is not recorded, as for a user's own module
MOST_NAMED = 6  # disturbed trainings that a note names


@dataclass(frozen=True)
class BranchResult:
    """What a branch ended with.

    Attributes:
        name, title: name and title of the branch.
        selected: name of its best training, by the dev metric.
        dev: value of that metric.
        scores: scores of the selected training on the test sets, such as ``{"test WER": 4.5}``.
        complete: whether nothing is left to run: all is done, or patience ended it.
        trainings, updates, frames: totals of everything trained to get there.
        seconds: wall time of these trainings.
        processor_seconds: processor time of the training processes of all ranks, or time of
            all GPUs if one was used; NaN if an old record only has that of one rank.
        processor: ``CPU``, ``GPU``, or ``CPU and GPU``.
        flops, trained_parameter_updates: totals over these trainings, estimated by `Work`;
            None if an old record lacks them.
        devices: the devices that they ran on, in words.
        disturbed: trainings whose seconds are not those of one undisturbed run, and why.
        parameters: size of the network of the branch's last training; None if not recorded.
        convergence: of the selected training, from its lineage; None in older records.
        metrics: all dev metrics of the selected training; empty for old records.
    """

    name: str
    title: str
    selected: str
    dev: float
    scores: dict[str, float]
    complete: bool
    trainings: int
    updates: int
    frames: int
    seconds: float
    processor_seconds: float
    processor: str
    flops: int | None = None
    trained_parameter_updates: int | None = None
    devices: tuple[str, ...] = ()
    disturbed: tuple[str, ...] = ()
    parameters: int | None = None
    convergence: Mapping[str, Any] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def converged(self) -> bool | None:
        """Whether the selected training has converged; None if not recorded."""
        return is_converged({"convergence": self.convergence})


@dataclass(frozen=True)
class ExperimentResult:
    """All branches of one experiment.

    Attributes:
        directory: ``exp/TAG``.
        metric, mode: the dev metric used for model selection; ``min`` or ``max``.
        full: full training by itself.
        branches: the cascade first, then the controls.
        dev_set: name of the dev set, which may be scored like a test set.
    """

    directory: Path
    metric: str
    mode: str
    full: BranchResult
    branches: list[BranchResult]
    dev_set: str = DEV_SET

    @property
    def rows(self) -> list[BranchResult]:
        """Full training, the cascade, the controls."""
        return [self.full, *self.branches]


def read_experiment(directory: Path) -> ExperimentResult:
    """Read the records of an experiment's trainings.

    Raises:
        DataError: if no training is finished there.
    """
    path = directory / "selection.json"
    if not path.is_file():
        raise DataError(f"{path}: not found; run stage 3 first")
    selection = read_json(path)
    cascade = {**selection, "title": "cascade"}  # the plan says of which direction
    plan_path = directory / "plan.json"
    if plan_path.is_file():
        cascade["title"] = read_json(plan_path).get("title", cascade["title"])
    full_entry = selection["stages"][0]
    full = {"title": full_entry["title"], "selected": "full", "stages": [full_entry]}
    branches = [_branch(directory, CASCADE, cascade)]
    branches += [
        _branch(directory, name, entry) for name, entry in selection.get("controls", {}).items()
    ]
    return ExperimentResult(
        directory,
        selection["metric"],
        selection["mode"],
        _branch(directory, "full", full),
        branches,
        str(read_if_whole(directory / "arguments.json").get("dev_set", DEV_SET)),
    )


def _branch(directory: Path, name: str, entry: dict) -> BranchResult:
    records = [read_lineage(directory / each["name"]) for each in entry["stages"]]
    chosen = next(each for each in entry["stages"] if each["name"] == entry["selected"])
    scores_path = directory / entry["selected"] / "scores.json"
    return BranchResult(
        name=name,
        title=entry["title"],
        selected=entry["selected"],
        dev=chosen["value"],
        scores=read_json(scores_path) if scores_path.is_file() else {},
        complete=entry.get("complete", True),
        trainings=len(records),
        updates=sum(each["updates"] for each in records),
        frames=sum(each["frames"] for each in records),
        seconds=sum(each["seconds"] for each in records),
        processor_seconds=sum(map(compute.processor_seconds, records)),
        processor=" and ".join(sorted(set(map(compute.device_type, records)))),
        flops=compute.total(records, "flops"),
        trained_parameter_updates=compute.total(records, "trained_parameter_updates"),
        devices=tuple(dict.fromkeys(compute.device_of(each) for each in records)),
        disturbed=tuple(
            f"{each['name']} ({why})"
            for each, record in zip(entry["stages"], records, strict=True)
            if (why := compute.disturbance(record))
        ),
        parameters=compute.own_parameters(records),
        convergence=records[entry["stages"].index(chosen)].get("convergence"),
        metrics=records[entry["stages"].index(chosen)].get("metrics", {}),
    )


def branch_table(result: ExperimentResult) -> str:
    """A Markdown table with one row per branch, followed by caveats about its times."""
    return "\n\n".join([table(*branch_rows(result)), *time_notes([result])])


def time_notes(results: Sequence[ExperimentResult]) -> list[str]:
    """Why times of a table cannot be compared: different devices, or disturbed runs."""
    rows = [row for each in results for row in each.rows]
    notes = []
    devices = list(dict.fromkeys(device for row in rows for device in row.devices))
    if len(devices) > 1:
        where = "; ".join(
            f"{device}: {', '.join(dict.fromkeys(x.name for x in rows if device in x.devices))}"
            for device in devices
        )
        notes.append(
            f"Times are not comparable because the trainings ran on different devices: {where}."
        )
    disturbed = dict.fromkeys(
        f"{each.directory / training}" if len(results) > 1 else training
        for each in results
        for row in each.rows
        for training in row.disturbed
    )
    if disturbed:
        named = list(disturbed)
        if len(named) > MOST_NAMED:
            more = f"{len(named) - MOST_NAMED} more, listed in report.json"
            named = [*named[:MOST_NAMED], more]
        notes.append(
            f"* not the time of one undisturbed run: {', '.join(named)}. Work repeated after a "
            "kill is counted once."
        )
    return notes


def branch_rows(result: ExperimentResult) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the table of branches."""
    names = sorted({name for row in result.rows for name in row.scores})
    has_work = any(row.flops is not None for row in result.rows)  # older records have none
    judged = any(row.converged is not None for row in result.rows)
    header = ["branch", "selected", f"dev {result.metric}", *names, "trainings", "updates",
              "frames", *(["trained parameters x updates", "FLOPs (estimated)"] * has_work),
              "time", *(["converged?"] * judged)]  # fmt: skip
    rows = [
        [
            row.title + ("" if row.complete else " (not complete)"),
            row.selected,
            shown(row.dev, result.metric),
            *(shown(row.scores[name], name) if name in row.scores else "-" for name in names),
            str(row.trainings),
            f"{row.updates:,}",
            f"{row.frames:,}",
            *([compute.in_words(row.trained_parameter_updates)] * has_work),
            *([compute.in_words(row.flops)] * has_work),
            f"{compute.seconds_in_words(row.processor_seconds)} {row.processor}"
            + (" *" if row.disturbed else ""),
            *([in_words(row.converged)] * judged),
        ]
        for row in result.rows
    ]
    return header, rows


def row_of(result: ExperimentResult, name: str) -> BranchResult:
    """The row of full training, the cascade or a control."""
    return next(row for row in result.rows if row.name == name)


def everywhere(results: Sequence[ExperimentResult], name: str) -> bool:
    """Whether a branch is complete in every experiment."""
    return all(
        any(branch.name == name and branch.complete for branch in each.branches) for each in results
    )


def values_of(results: Sequence[ExperimentResult], name: str, metric: str | None) -> list[float]:
    """Values of a branch, one per experiment; ``metric`` None is the dev metric."""
    rows = [row_of(each, name) for each in results]
    return [row.dev if metric is None else row.scores[metric] for row in rows]


def seeds_table(results: Sequence[ExperimentResult]) -> str:
    """A table of mean and standard deviation over experiments that differ in their seeds.

    Updates, frames and seconds are means of the totals of everything trained to get there.
    Controls that are not complete in every experiment are left out.
    """
    metrics = common_metrics(results)
    has_work = any(row.flops is not None for each in results for row in each.rows)
    judged = any(row.converged is not None for each in results for row in each.rows)
    processor = " or ".join(
        dict.fromkeys(row.processor for each in results for row in each.rows)
    )
    header = ["branch", f"dev {results[0].metric}", *(name for name in metrics if name), "updates",
              "frames", "seconds", f"{processor} seconds", *(["FLOPs (estimated)"] * has_work),
              *(["converged?"] * judged)]  # fmt: skip
    rows = []
    for name in common_branches(results):
        complete = all(row_of(each, name).complete for each in results)
        cells = [row_of(results[0], name).title + ("" if complete else " (not complete)")]
        for metric in metrics:
            values = values_of(results, name, metric)
            cells.append(_mean_and_deviation(values, metric or results[0].metric))
        mine = [row_of(each, name) for each in results]
        for what in ("updates", "frames", "seconds", "processor_seconds"):
            value = statistics.mean(getattr(row, what) for row in mine)
            mark = " *" if "seconds" in what and any(row.disturbed for row in mine) else ""
            cells.append("not known" if math.isnan(value) else f"{value:,.0f}{mark}")
        cells += [compute.in_words(compute.mean([row.flops for row in mine]))] * has_work
        cells += [how_many_converged([row.converged for row in mine])] * judged
        rows.append(cells)
    return "\n\n".join([table(header, rows), *time_notes(results)])


def _mean_and_deviation(values: list[float], metric: str) -> str:
    if len(values) == 1:
        return shown(values[0], metric)
    mean = statistics.mean(values)
    deviation = statistics.stdev(values) if math.isfinite(mean) else math.nan
    return f"{shown(mean, metric)} ± {shown(deviation, metric)}"


def common_branches(results: Sequence[ExperimentResult]) -> list[str]:
    names = [row.name for row in results[0].rows]
    return [name for name in names if name in ("full", CASCADE) or everywhere(results, name)]


def common_metrics(results: Sequence[ExperimentResult]) -> list[str | None]:
    """None, which stands for the dev metric, then every test score that all of them have."""
    rows = [row for each in results for row in each.rows if row.name in common_branches(results)]
    shared = set.intersection(*(set(row.scores) for row in rows))
    return [None, *sorted(shared)]
