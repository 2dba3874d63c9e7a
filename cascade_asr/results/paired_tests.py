"""The cascade against other branches over seeds: paired t-tests."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from cascade_asr.cascade.names import CASCADE
from cascade_asr.results.branches import (
    ExperimentResult,
    common_branches,
    common_metrics,
    values_of,
)
from cascade_asr.results.measures import shown
from cascade_asr.scoring.significance import shown_probability

ROUNDING = 1e-12  # relative to the largest value; twenty seeds add up to less


@dataclass(frozen=True)
class PairedTest:
    """The cascade against another branch over seeds.

    Attributes:
        branch, metric: what is compared; metric None is the dev metric.
        difference: mean of cascade minus branch.
        low, high: its 95 % interval, by Student's t.
        p: two-sided p-value of the paired t-test; NaN with fewer than two seeds, no
            variance but that of rounding, or a value that is not finite.
    """

    branch: str
    metric: str | None
    difference: float
    low: float
    high: float
    p: float


def paired_tests(results: Sequence[ExperimentResult]) -> list[PairedTest]:
    """Paired t-tests of the cascade against every other branch (pairs are seeds)."""
    tests = []
    for name in common_branches(results):
        if name == CASCADE:
            continue
        for metric in common_metrics(results):
            own, other = (values_of(results, each, metric) for each in (CASCADE, name))
            tests.append(_paired(name, metric, own, other))
    return tests


def _paired(name: str, metric: str | None, own: list[float], other: list[float]) -> PairedTest:
    differences = [a - b for a, b in zip(own, other, strict=True)]
    mean = statistics.mean(differences)
    if len(differences) < 2 or not math.isfinite(mean) or _are_equal(differences, own + other):
        return PairedTest(name, metric, mean, math.nan, math.nan, math.nan)
    from scipy import stats  # takes half a second to import

    with warnings.catch_warnings():  # SciPy warns if all differences are nearly equal
        warnings.simplefilter("ignore", RuntimeWarning)
        test = stats.ttest_rel(own, other)
        interval = test.confidence_interval(0.95)
    return PairedTest(name, metric, mean, float(interval.low), float(interval.high), float(test.pvalue))


def _are_equal(differences: Sequence[float], values: Sequence[float]) -> bool:
    """Whether differences of these values vary by no more than their rounding."""
    return statistics.stdev(differences) <= ROUNDING * max(map(abs, values))


def paired_lines(results: Sequence[ExperimentResult]) -> list[str]:
    """The tests as sentences."""
    lines = []
    for test in paired_tests(results):
        what = f"dev {results[0].metric}" if test.metric is None else test.metric
        difference, low, high = (
            shown(each, what, signed=True) for each in (test.difference, test.low, test.high)
        )
        if math.isnan(test.p):
            if not math.isfinite(test.difference):
                reason = "not a number over seeds"
            else:
                reason = "one seed" if len(results) == 1 else "no variance over seeds"
            spread = f"{reason}: no test"
        else:
            spread = f"95 % interval {low} to {high}, {shown_probability('p', test.p)}"
        lines.append(f"- cascade against {test.branch}, {what}: {difference} ({spread})")
    return lines
