"""The cascade beside its controls: metric, compute and, over seeds, statistics."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cascade_asr.cascade.names import ATTRIBUTING, CASCADE
from cascade_asr.errors import DataError
from cascade_asr.files import read_json
from cascade_asr.results.columns import table

NOT_ATTRIBUTED = "A gain is not attributed to the cascade: "


@dataclass(frozen=True)
class BranchResult:
    """What a branch ended with.

    Attributes:
        name, title: of the branch.
        selected: name of its best training, by the dev metric.
        dev: that metric.
        scores: of the selected training on the test sets, such as ``{"test WER": 4.5}``.
        complete: all of its trainings are done.
        trainings, updates, frames: of all that was trained to get there.
        seconds: wall time of these trainings.
        processor_seconds: of the training processes, or of all GPUs where one was used.
        processor: ``CPU`` or ``GPU``.
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


@dataclass(frozen=True)
class ExperimentResult:
    """All branches of one experiment.

    Attributes:
        directory: ``exp/TAG``.
        metric, mode: the dev metric that selects; ``min`` or ``max``.
        full: full training alone.
        branches: the cascade first, then the controls.
    """

    directory: Path
    metric: str
    mode: str
    full: BranchResult
    branches: list[BranchResult]

    @property
    def rows(self) -> list[BranchResult]:
        """Full training, the cascade, the controls."""
        return [self.full, *self.branches]


def read_experiment(directory: Path) -> ExperimentResult:
    """Read what an experiment's trainings left behind.

    Raises:
        DataError: if nothing is finished there.
    """
    path = directory / "selection.json"
    if not path.is_file():
        raise DataError(f"{path}: not found; run stage 3 first")
    selection = read_json(path)
    cascade = {**selection, "title": "top-down cascade"}
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
    )


def _branch(directory: Path, name: str, entry: dict) -> BranchResult:
    records = [read_json(directory / each["name"] / "lineage.json") for each in entry["stages"]]
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
        processor_seconds=sum(map(_processor_seconds, records)),
        processor="GPU" if any(map(_used_gpu, records)) else "CPU",
    )


def _used_gpu(record: dict) -> bool:
    return any(name in record["device"].lower() for name in ("cuda", "gpu"))


def _processor_seconds(record: dict) -> float:
    """GPU time where a GPU was used, else processor time of the training process."""
    if _used_gpu(record):
        return record["seconds"] * record.get("ranks", 1)
    return record.get("cpu_seconds", math.nan)


def branch_table(result: ExperimentResult) -> str:
    """One row a branch, in Markdown."""
    return table(*branch_rows(result))


def branch_rows(result: ExperimentResult) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the table of branches."""
    names = sorted({name for row in result.rows for name in row.scores})
    header = ["branch", "selected", f"dev {result.metric}", *names, "trainings", "updates",
              "frames", "time"]  # fmt: skip
    rows = [
        [
            row.title + ("" if row.complete else " (not complete)"),
            row.selected,
            f"{row.dev:.2f}",
            *(f"{row.scores[name]:.2f}" if name in row.scores else "-" for name in names),
            str(row.trainings),
            f"{row.updates:,}",
            f"{row.frames:,}",
            f"{row.processor_seconds:.0f} s {row.processor}",
        ]
        for row in result.rows
    ]
    return header, rows




def headline(results: Sequence[ExperimentResult]) -> str:
    """What may be said of the cascade: its gain, and whether it is attributed.

    Args:
        results: one experiment, or one a seed.
    """
    first = results[0]
    full, cascade = (statistics.mean(values_of(results, name, None)) for name in ("full", CASCADE))
    improved = _beats(results, "full")
    seeds = f" (means of {len(results)} seeds)" if len(results) > 1 else ""
    text = (
        f"The cascade {'improved' if improved else 'did not improve'} on full training: dev "
        f"{first.metric} {full:.2f} -> {cascade:.2f}{seeds}. "
    )
    missing = [name for name in ATTRIBUTING if not _everywhere(results, name)]
    if missing:
        many = len(missing) > 1
        return text + (
            f"{NOT_ATTRIBUTED}the control{'s' if many else ''} {' and '.join(missing)} "
            f"{'were' if many else 'was'} not run."
        )
    values = {name: statistics.mean(values_of(results, name, None)) for name in ATTRIBUTING}
    text += f"At equal compute: {', '.join(f'{name} {value:.2f}' for name, value in values.items())}."
    not_beaten = [name for name in ATTRIBUTING if not _beats(results, name)]
    if not_beaten:
        did = f"{' and '.join(not_beaten)} did as well or better."
        return f"{text} {NOT_ATTRIBUTED}{did}" if improved else text
    if len(results) == 1:
        return f"{text} The cascade beat both; one seed is no proof."
    return f"{text} The cascade beat both; the paired tests say how surely."


def _everywhere(results: Sequence[ExperimentResult], name: str) -> bool:
    return all(
        any(branch.name == name and branch.complete for branch in each.branches) for each in results
    )


def values_of(results: Sequence[ExperimentResult], name: str, metric: str | None) -> list[float]:
    """Of a branch, by experiment; ``metric`` None is the dev metric."""
    rows = [next(row for row in each.rows if row.name == name) for each in results]
    return [row.dev if metric is None else row.scores[metric] for row in rows]


def _beats(results: Sequence[ExperimentResult], name: str) -> bool:
    own, other = (statistics.mean(values_of(results, each, None)) for each in (CASCADE, name))
    return own < other if results[0].mode == "min" else own > other


def seeds_table(results: Sequence[ExperimentResult]) -> str:
    """Mean and standard deviation over experiments that differ by their seed.

    Updates, frames and seconds are means of all that was trained to get there.
    Only branches that are complete in every experiment are shown.
    """
    metrics = common_metrics(results)
    processor = results[0].full.processor
    header = ["branch", f"dev {results[0].metric}", *(name for name in metrics if name), "updates",
              "frames", "seconds", f"{processor} seconds"]  # fmt: skip
    rows = []
    for name in common_branches(results):
        cells = [next(row.title for row in results[0].rows if row.name == name)]
        for metric in metrics:
            cells.append(_mean_and_deviation(values_of(results, name, metric)))
        mine = [next(row for row in each.rows if row.name == name) for each in results]
        for what in ("updates", "frames", "seconds", "processor_seconds"):
            cells.append(f"{statistics.mean(getattr(row, what) for row in mine):,.0f}")
        rows.append(cells)
    return table(header, rows)


def _mean_and_deviation(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def common_branches(results: Sequence[ExperimentResult]) -> list[str]:
    names = [row.name for row in results[0].rows]
    return [name for name in names if name in ("full", CASCADE) or _everywhere(results, name)]


def common_metrics(results: Sequence[ExperimentResult]) -> list[str | None]:
    """None for the dev metric, then every test score that all have."""
    rows = [row for each in results for row in each.rows if row.name in common_branches(results)]
    shared = set.intersection(*(set(row.scores) for row in rows))
    return [None, *sorted(shared)]








