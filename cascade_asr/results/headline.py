"""What may be claimed about the cascade compared with its controls, in sentences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from cascade_asr.cascade.names import ATTRIBUTING, CASCADE
from cascade_asr.results.branches import (
    ExperimentResult,
    common_metrics,
    everywhere,
    row_of,
    values_of,
)
from cascade_asr.results.convergence import convergence_sentences
from cascade_asr.results.measures import divide_name, is_less_better, shown

NOT_ATTRIBUTED = "A gain is not attributed to the cascade: "
EQUAL = 0.05  # relative difference in updates and frames up to which compute counts as equal


def headline(results: Sequence[ExperimentResult]) -> str:
    """State what may be claimed about the cascade: its gain, and whether it is attributed.

    A gain is attributed if the cascade beats every control of `ATTRIBUTING`, none of which
    had less compute, on dev, which was also used for selection, and on every test set.

    Args:
        results: one experiment, or one per seed.
    """
    names = [name for name in (*ATTRIBUTING, "longer-early-stop") if everywhere(results, name)]
    metric = results[0].metric
    if all(row_of(each, CASCADE).trainings == 1 for each in results):
        values = [
            f"{name} {shown(_mean_of(results, name, None), metric)}" for name in ("full", *names)
        ]
        told = f"No stage of the cascade is trained yet. Dev {metric}: {', '.join(values)}."
        return " ".join([told, *_convergence_sentences(results)])
    full, cascade = (_mean_of(results, name, None) for name in ("full", CASCADE))
    improved = _beats(results, "full", None)
    seeds = f" (means of {len(results)} seeds)" if len(results) > 1 else ""
    state = "" if everywhere(results, CASCADE) else ", which is not complete,"
    parts = [
        f"The cascade{state} {'improved' if improved else 'did not improve'} on full training: dev "
        f"{metric} {shown(full, metric)} -> {shown(cascade, metric)}{seeds}.",
        *_compute_sentences(results, names),
        *_network_sentences(results, names),
        *_convergence_sentences(results),
    ]
    if improved:
        reasons = _reasons_against(results, names)
        surely = "one seed is no proof" if len(results) == 1 else "see the paired tests"
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
    short = [name for name in run if min(map(min, _ratios(results, name))) < 1 - EQUAL]
    if short:
        reasons.append(f"{_listed(short)} had less compute than the cascade")
    known = [each for each in _test_metrics(results) if _is_less_better(results, each) is not None]
    for metric in [None, *known]:
        rivals = run if metric is None else ["full", *run]
        ahead = [name for name in rivals if not _beats(results, name, metric)]
        if ahead:
            where = "" if metric is None else f" on {metric}"
            reasons.append(f"{_listed(ahead)} did as well or better{where}")
    return reasons


def _compute_sentences(results: Sequence[ExperimentResult], names: Sequence[str]) -> list[str]:
    """The controls by their measured compute: equal only if updates and frames are, in each seed."""
    equal, other = [], []
    for name in names:
        value = f"{name} {shown(_mean_of(results, name, None), results[0].metric)}"
        updates, frames = _ratios(results, name)
        if all(abs(ratio - 1) <= EQUAL for ratio in (*updates, *frames)):
            equal.append(value)
        else:
            other.append(f"{value} ({_times(updates)} the updates, {_times(frames)} the frames)")
    sentences = [f"At equal compute: {', '.join(equal)}."] if equal else []
    if other:
        sentences.append(f"At different compute: {', '.join(other)}.")
    return sentences


def _network_sentences(results: Sequence[ExperimentResult], names: Sequence[str]) -> list[str]:
    """Name branches whose network has another size, for example with tied weights untied."""
    own = row_of(results[0], CASCADE).parameters
    sizes = {name: row_of(results[0], name).parameters for name in ("full", *names)}
    return [
        f"{name} has another network than the cascade's stages: {size:,} parameters, not {own:,}."
        for name, size in sizes.items()
        if own is not None and size is not None and size != own
    ]


def _convergence_sentences(results: Sequence[ExperimentResult]) -> list[str]:
    """Whether full training had converged, judged by its own epochs and against ``longer``."""
    verdicts = [row_of(each, "full").convergence for each in results]
    return convergence_sentences(verdicts, results[0].metric, _gain_of_longer(results))


def _gain_of_longer(results: Sequence[ExperimentResult]) -> float | None:
    """Mean gain of ``longer`` over full training in the metric whose convergence was judged.

    None if it was not run, or if it is not known what is better in that metric.
    """
    judged = {(row_of(each, "full").convergence or {}).get("metric") for each in results}
    metric = judged.pop()
    if judged or metric is None or not everywhere(results, "longer"):
        return None
    is_less = is_less_better(metric, results[0].metric, results[0].mode)
    if metric == results[0].metric:
        full, longer = (_mean_of(results, name, None) for name in ("full", "longer"))
    else:
        pairs = [[row_of(each, name).metrics.get(metric) for name in ("full", "longer")]
                 for each in results]  # fmt: skip
        if is_less is None or any(None in pair for pair in pairs):
            return None
        full, longer = (statistics.mean(values) for values in zip(*pairs, strict=True))
    return full - longer if is_less else longer - full


def _test_sentence(results: Sequence[ExperimentResult], names: Sequence[str]) -> str:
    """The same comparison on sets that were not used for selection."""
    metrics = _test_metrics(results)
    if not metrics:
        scored = {name for each in results for row in each.rows for name in row.scores}
        some = any(not _is_of_dev(results, name) for name in scored)
        missing = "not every branch has test scores yet" if some else "no test scores yet"
        return f"Dev was also used for selection, which favours the cascade's many trainings; {missing}."
    parts = [
        f"{metric}: "
        + ", ".join(
            f"{name} {shown(_mean_of(results, name, metric), metric)}"
            for name in ("full", CASCADE, *names)
        )
        for metric in metrics
    ]
    return f"Dev was also used for selection; on sets that were not, {'; '.join(parts)}."


def _test_metrics(results: Sequence[ExperimentResult]) -> list[str]:
    """Scores on sets other than dev; character error rates only if there are no others."""
    metrics = [
        metric for metric in common_metrics(results) if metric and not _is_of_dev(results, metric)
    ]
    return [metric for metric in metrics if not metric.endswith(" CER")] or metrics


def _is_of_dev(results: Sequence[ExperimentResult], score: str) -> bool:
    """Whether a score is of the dev set, which may be scored like a test set."""
    return divide_name(score)[0] == results[0].dev_set


def _ratios(results: Sequence[ExperimentResult], name: str) -> tuple[list[float], list[float]]:
    """Measured updates and frames of a branch, divided by those of the cascade, by experiment."""
    ratios = []
    for what in ("updates", "frames"):
        pairs = [[getattr(row_of(each, one), what) for one in (name, CASCADE)] for each in results]
        ratios.append([other / own if own else math.inf for other, own in pairs])
    return ratios[0], ratios[1]


def _times(ratios: Sequence[float]) -> str:
    """``1.67 times``, or ``0.60 to 1.40 times`` if it is not the same for all seeds."""
    ends = dict.fromkeys(f"{each:.2f}" for each in (min(ratios), max(ratios)))
    return f"{' to '.join(ends)} times"


def _mean_of(results: Sequence[ExperimentResult], name: str, metric: str | None) -> float:
    return statistics.mean(values_of(results, name, metric))


def _beats(results: Sequence[ExperimentResult], name: str, metric: str | None) -> bool:
    """Whether the cascade is better than another branch."""
    own, other = (_mean_of(results, each, metric) for each in (CASCADE, name))
    return own < other if _is_less_better(results, metric) else own > other


def _is_less_better(results: Sequence[ExperimentResult], metric: str | None) -> bool | None:
    """Whether lower is better; None if that is unknown for a test metric."""
    selected, mode = results[0].metric, results[0].mode
    return mode == "min" if metric is None else is_less_better(metric, selected, mode)


def _listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
