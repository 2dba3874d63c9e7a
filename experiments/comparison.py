"""Paired comparisons of branches over seeds and over items, from JSON lines."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

Line = dict[str, Any]
FRESH = ("longer", "best-of-n")  # full trainings of their own
DEV = "dev"


@dataclass(frozen=True)
class Difference:
    """A paired difference of two trainings over seeds; lower is better, so below 0 is a gain.

    Attributes:
        mean: over seeds.
        low, high: 95 % interval (t distribution); None with one seed.
        p: from the two-sided paired t-test over seeds; None with one seed.
        p_items: from the paired t-test over test items (images, utterances), each averaged over
            the seeds; None if single items are not recorded.
        seeds: number of seeds.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    p_items: float | None
    seeds: int


def paired(differences: Sequence[float], p_items: float | None = None) -> Difference:
    """Compute the mean of paired differences, its 95 % interval and p.

    Raises:
        ValueError: if there are no differences.
    """
    if not differences:
        raise ValueError("no pairs to compare")
    mean, count = statistics.mean(differences), len(differences)
    if count == 1:
        return Difference(mean, None, None, None, p_items, 1)
    error = statistics.stdev(differences) / math.sqrt(count)
    if error == 0:
        return Difference(mean, mean, mean, 0.0 if mean else 1.0, p_items, count)
    reach = float(stats.t.ppf(0.975, count - 1)) * error
    p = 2 * float(stats.t.sf(abs(mean / error), count - 1))
    return Difference(mean, mean - reach, mean + reach, p, p_items, count)


class Seeds:
    """The trainings of one condition by seed.

    Args:
        lines: the lines of one task and condition.
    """

    def __init__(self, lines: Iterable[Line]) -> None:
        self.by_seed: dict[int, list[Line]] = {}
        for line in lines:
            self.by_seed.setdefault(line["seed"], []).append(line)

    @property
    def branches(self) -> list[str]:
        """Names of the branches, in the order of the lines."""
        return list(dict.fromkeys(line["branch"] for each in self.by_seed.values() for line in each))

    def last(self, branch: str) -> dict[int, Line]:
        """For each seed, the last training of a branch, whatever its dev metric."""
        return self._chosen(branch, lambda found, full: max(found, key=_number))

    def selected(self, branch: str) -> dict[int, Line]:
        """For each seed, what dev selects in a branch, with full training as a candidate.

        For ``longer`` it is not a candidate: ``longer`` has used the compute of both.
        """

        def choose(found: list[Line], full: list[Line]) -> Line:
            candidates = found if branch == "longer" else [*full, *found]
            return min(candidates, key=lambda line: line["dev"])

        return self._chosen(branch, choose)

    def _chosen(
        self, branch: str, choose: Callable[[list[Line], list[Line]], Line]
    ) -> dict[int, Line]:
        found = {}
        for seed, lines in self.by_seed.items():
            own = [line for line in lines if line["branch"] == branch]
            if own:
                found[seed] = choose(own, [line for line in lines if line["branch"] == "full"])
        return found


def _number(line: Line) -> int:
    return int(re.search(r"\d*$", line["training"])[0] or 0)


def measures(lines: Iterable[Line]) -> list[str]:
    """Return ``dev`` and every test metric that all lines have."""
    names = [set(line["test"]) for line in lines]
    return [DEV, *sorted(set.intersection(*names))] if names else [DEV]


def value(line: Line, measure: str) -> float:
    """Return a line's dev metric, or one of its test metrics."""
    return line["dev"] if measure == DEV else line["test"][measure]


def compare(first: dict[int, Line], second: dict[int, Line], measure: str) -> Difference:
    """Compare first minus second over the seeds that both have.

    Raises:
        ValueError: if they have no seed in common.
    """
    seeds = sorted(first.keys() & second.keys())
    differences = [value(first[seed], measure) - value(second[seed], measure) for seed in seeds]
    items = [(item_errors(first[seed], measure), item_errors(second[seed], measure)) for seed in seeds]
    p_items = None
    if seeds and all(each is not None for pair in items for each in pair):
        changes = [[one - other for one, other in zip(*pair, strict=True)] for pair in items]
        p_items = paired([statistics.mean(each) for each in zip(*changes, strict=True)]).p
    return paired(differences, p_items)


def item_errors(line: Line, measure: str) -> list[int] | None:
    """Return the errors of each item of a test set, in its order; None if they are not recorded."""
    if measure in line.get("errors", {}):
        return line["errors"][measure]
    if measure != "error" or "wrong" not in line:
        return None
    wrong = set(line["wrong"]["test"])
    return [int(item in wrong) for item in range(line["items"]["test"])]
