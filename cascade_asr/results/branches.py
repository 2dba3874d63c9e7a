"""The cascade beside its controls: metric, compute and, over seeds, statistics."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_asr.cascade.names import ATTRIBUTING, CASCADE
from cascade_asr.errors import DataError
from cascade_asr.files import read_json
from cascade_asr.results import compute
from cascade_asr.results.columns import table
from cascade_asr.results.convergence import convergence_sentences, how_many_converged
from cascade_asr.training.convergence import in_words, is_converged

NOT_ATTRIBUTED = "A gain is not attributed to the cascade: "
EQUAL = 0.05  # relative difference of updates and of frames up to which compute is equal


@dataclass(frozen=True)
class BranchResult:
    """What a branch ended with.

    Attributes:
        name, title: of the branch.
        selected: name of its best training, by the dev metric.
        dev: that metric.
        scores: of the selected training on the test sets, such as ``{"test WER": 4.5}``.
        complete: nothing of it is left to run: all is done, or patience ended it.
        trainings, updates, frames: of all that was trained to get there.
        seconds: wall time of these trainings.
        processor_seconds: of the training processes of all ranks, or of all GPUs where
            one was used; NaN where an old record has that of one rank only.
        processor: ``CPU``, ``GPU``, or ``CPU and GPU``.
        flops, trained_parameter_updates: of all of them, as `Work` estimates them;
            None where a record is older than these.
        devices: that they ran on, in words.
        disturbed: trainings whose seconds are not those of one undisturbed run, and why.
        parameters: of the network of the branch's last training; None where not recorded.
        convergence: of the selected training, as its lineage has it; None where it is older.
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

    @property
    def converged(self) -> bool | None:
        """Whether the selected training has converged; None where that is not recorded."""
        return is_converged({"convergence": self.convergence})


@dataclass(frozen=True)
class ExperimentResult:
    """All branches of one experiment.

    Attributes:
        directory: ``exp/TAG``.
        metric, mode: the dev metric used for model selection; ``min`` or ``max``.
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
    )


def branch_table(result: ExperimentResult) -> str:
    """One row a branch, in Markdown, and below it what its times must not be read for."""
    return "\n\n".join([table(*branch_rows(result)), *time_notes([result])])


def time_notes(results: Sequence[ExperimentResult]) -> list[str]:
    """Why times of a table cannot be compared: other devices, or runs that were disturbed."""
    rows = [row for each in results for row in each.rows]
    notes = []
    devices = list(dict.fromkeys(device for row in rows for device in row.devices))
    if len(devices) > 1:
        where = "; ".join(
            f"{device}: {', '.join(dict.fromkeys(x.name for x in rows if device in x.devices))}"
            for device in devices
        )
        notes.append(f"Times are not comparable, the trainings ran on different devices: {where}.")
    disturbed = dict.fromkeys(
        f"{each.directory / training}" if len(results) > 1 else training
        for each in results
        for row in each.rows
        for training in row.disturbed
    )
    if disturbed:
        notes.append(
            f"* not the time of one undisturbed run: {', '.join(disturbed)}. What was trained twice "
            "after a kill is counted once."
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
            f"{row.dev:.2f}",
            *(f"{row.scores[name]:.2f}" if name in row.scores else "-" for name in names),
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


def headline(results: Sequence[ExperimentResult]) -> str:
    """What may be said of the cascade: its gain, and whether it is attributed.

    A gain is attributed where the cascade beats every control of `ATTRIBUTING`, none
    of which had less compute, on dev, which also selected, and on every test set.

    Args:
        results: one experiment, or one per seed.
    """
    names = [name for name in (*ATTRIBUTING, "longer-early-stop") if everywhere(results, name)]
    full, cascade = (_mean_of(results, name, None) for name in ("full", CASCADE))
    improved = _beats(results, "full", None)
    seeds = f" (means of {len(results)} seeds)" if len(results) > 1 else ""
    parts = [
        f"The cascade {'improved' if improved else 'did not improve'} on full training: dev "
        f"{results[0].metric} {full:.2f} -> {cascade:.2f}{seeds}.",
        *_compute_sentences(results, names),
        *_network_sentences(results, names),
        *_convergence_sentences(results),
    ]
    if improved:
        reasons = _reasons_against(results, names)
        surely = "one seed is no proof" if len(results) == 1 else "the paired tests say how surely"
        if reasons:
            parts.append(f"{NOT_ATTRIBUTED}{'; '.join(reasons)}.")
        else:
            parts.append(f"The cascade beat {', '.join(ATTRIBUTING)}; {surely}.")
    return " ".join([*parts, _test_sentence(results, names)])


def _reasons_against(results: Sequence[ExperimentResult], names: Sequence[str]) -> list[str]:
    """Why a gain on dev is not attributed to the cascade."""
    missing = [name for name in ATTRIBUTING if name not in names]
    reasons = []
    if missing:
        many = len(missing) > 1
        reasons.append(
            f"the control{'s' if many else ''} {_listed(missing)} {'were' if many else 'was'} not run"
        )
    run = [name for name in ATTRIBUTING if name in names]
    short = [name for name in run if min(_ratios(results, name)) < 1 - EQUAL]
    if short:
        reasons.append(f"{_listed(short)} had less compute than the cascade")
    for metric in [None, *_test_metrics(results)]:
        rivals = run if metric is None else ["full", *run]
        ahead = [name for name in rivals if not _beats(results, name, metric)]
        if ahead:
            where = "" if metric is None else f" on {metric}"
            reasons.append(f"{_listed(ahead)} did as well or better{where}")
    return reasons


def _compute_sentences(results: Sequence[ExperimentResult], names: Sequence[str]) -> list[str]:
    """The controls by their measured compute: equal only where updates and frames are."""
    equal, other = [], []
    for name in names:
        value = f"{name} {_mean_of(results, name, None):.2f}"
        updates, frames = _ratios(results, name)
        if max(abs(updates - 1), abs(frames - 1)) <= EQUAL:
            equal.append(value)
        else:
            other.append(f"{value} ({updates:.2f} times the updates, {frames:.2f} times the frames)")
    sentences = [f"At equal compute: {', '.join(equal)}."] if equal else []
    if other:
        sentences.append(f"At another compute than the cascade's: {', '.join(other)}.")
    return sentences


def _network_sentences(results: Sequence[ExperimentResult], names: Sequence[str]) -> list[str]:
    """Which controls trained a network of another size, as with tied weights untied."""
    own = _row(results[0], CASCADE).parameters
    sizes = {name: _row(results[0], name).parameters for name in ("full", *names)}
    return [
        f"{name} is another network than the cascade's stages: {size:,} parameters, not {own:,}."
        for name, size in sizes.items()
        if own is not None and size is not None and size != own
    ]


def _convergence_sentences(results: Sequence[ExperimentResult]) -> list[str]:
    """Whether full training had converged: by its own epochs, and beside a longer training."""
    gain = None
    if everywhere(results, "longer"):
        gain = _mean_of(results, "full", None) - _mean_of(results, "longer", None)
        gain = -gain if results[0].mode == "max" else gain
    verdicts = [_row(each, "full").convergence for each in results]
    return convergence_sentences(verdicts, results[0].metric, gain)


def _test_sentence(results: Sequence[ExperimentResult], names: Sequence[str]) -> str:
    """The same comparison where nothing was selected."""
    metrics = _test_metrics(results)
    if not metrics:
        return "Dev also selected, which favours the cascade's many trainings; no test scores yet."
    shown = [
        f"{metric}: "
        + ", ".join(
            f"{name} {_mean_of(results, name, metric):.2f}" for name in ("full", CASCADE, *names)
        )
        for metric in metrics
    ]
    return f"Dev also selected; on sets that did not, {'; '.join(shown)}."


def _test_metrics(results: Sequence[ExperimentResult]) -> list[str]:
    """Scores on test sets; character error rates only where there are no others."""
    metrics = [metric for metric in common_metrics(results) if metric is not None]
    return [metric for metric in metrics if not metric.endswith(" CER")] or metrics


def _ratios(results: Sequence[ExperimentResult], name: str) -> tuple[float, float]:
    """Measured updates and frames of a branch over those of the cascade."""
    ratios = []
    for what in ("updates", "frames"):
        own = sum(getattr(_row(each, CASCADE), what) for each in results)
        other = sum(getattr(_row(each, name), what) for each in results)
        ratios.append(other / own if own else math.inf)
    return ratios[0], ratios[1]


def _row(result: ExperimentResult, name: str) -> BranchResult:
    return next(row for row in result.rows if row.name == name)


def _mean_of(results: Sequence[ExperimentResult], name: str, metric: str | None) -> float:
    return statistics.mean(values_of(results, name, metric))


def _beats(results: Sequence[ExperimentResult], name: str, metric: str | None) -> bool:
    """Whether the cascade is better than another branch; less is better on test sets."""
    own, other = (_mean_of(results, each, metric) for each in (CASCADE, name))
    return own > other if metric is None and results[0].mode == "max" else own < other


def _listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def everywhere(results: Sequence[ExperimentResult], name: str) -> bool:
    """Whether a branch is complete in every experiment."""
    return all(
        any(branch.name == name and branch.complete for branch in each.branches) for each in results
    )


def values_of(results: Sequence[ExperimentResult], name: str, metric: str | None) -> list[float]:
    """Of a branch, by experiment; ``metric`` None is the dev metric."""
    rows = [next(row for row in each.rows if row.name == name) for each in results]
    return [row.dev if metric is None else row.scores[metric] for row in rows]


def seeds_table(results: Sequence[ExperimentResult]) -> str:
    """Mean and standard deviation over experiments that differ by their seed.

    Updates, frames and seconds are means of all that was trained to get there.
    Only branches that are complete in every experiment are shown.
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
        complete = all(_row(each, name).complete for each in results)
        cells = [_row(results[0], name).title + ("" if complete else " (not complete)")]
        for metric in metrics:
            cells.append(_mean_and_deviation(values_of(results, name, metric)))
        mine = [next(row for row in each.rows if row.name == name) for each in results]
        for what in ("updates", "frames", "seconds", "processor_seconds"):
            value = statistics.mean(getattr(row, what) for row in mine)
            mark = " *" if "seconds" in what and any(row.disturbed for row in mine) else ""
            cells.append("not known" if math.isnan(value) else f"{value:,.0f}{mark}")
        cells += [compute.in_words(compute.mean([row.flops for row in mine]))] * has_work
        cells += [how_many_converged([row.converged for row in mine])] * judged
        rows.append(cells)
    return "\n\n".join([table(header, rows), *time_notes(results)])


def _mean_and_deviation(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def common_branches(results: Sequence[ExperimentResult]) -> list[str]:
    names = [row.name for row in results[0].rows]
    return [name for name in names if name in ("full", CASCADE) or everywhere(results, name)]


def common_metrics(results: Sequence[ExperimentResult]) -> list[str | None]:
    """None for the dev metric, then every test score that all have."""
    rows = [row for each in results for row in each.rows if row.name in common_branches(results)]
    shared = set.intersection(*(set(row.scores) for row in rows))
    return [None, *sorted(shared)]
