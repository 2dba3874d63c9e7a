"""Test the paper's claims on the JSON lines in results/.

    python experiments/claims.py        # a line for each claim and task

A claim is *supported* or *contradicted* if a two-sided paired t-test over seeds gives
p < 0.05, and otherwise *undecided*, as it always is with one seed. A negative difference means
that the first of the two is better.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from comparison import DEV, Difference, Line, Seeds, compare, measures, paired, value
from lines import read_lines

RESULTS = Path(__file__).resolve().parent.parent / "results"
ALPHA = 0.05
# How much worse a stage may be and still count as not hurt (claim b): the convergence margins.
MARGINS = {"sklearn_digits": 1.0, "wikitext2": 0.5, "an4": 0.5, "digits": 1.0}
CLAIMS = {
    "a": "freezing the lower layers and retraining the upper hurts",
    "b": "freezing the upper layers and retraining the lower does not hurt, or helps",
    "c": "the cascade beats full training",
    "d": "the cascade beats equal compute",
    "e": "a classifier trained on more data, frozen, generalises better on another set",
    "f": "pure CTC gains more than CTC/attention",
    "g": "the gain grows with depth",
}
# Of these, the one that comes closest to the cascade, or beats it by most, is compared with it.
RIVALS = ("longer", "continue", "best-of-n")
SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"


@dataclass(frozen=True)
class Finding:
    """What one task says about one claim.

    Attributes:
        claim: its letter.
        task, condition: what was trained.
        compared: which trainings, as text.
        measure: ``dev`` or a test metric.
        difference: between the two.
        verdict: on the claim.
    """

    claim: str
    task: str
    condition: str
    compared: str
    measure: str
    difference: Difference
    verdict: str


def is_less(difference: Difference) -> bool:
    """Whether the first is lower, with p < `ALPHA`."""
    return difference.p is not None and difference.p < ALPHA and difference.mean < 0


def is_more(difference: Difference) -> bool:
    """Whether the first is higher, with p < `ALPHA`."""
    return difference.p is not None and difference.p < ALPHA and difference.mean > 0


def verdict(supports: bool, contradicts: bool) -> str:
    """Return the verdict as one word."""
    return SUPPORTED if supports else CONTRADICTED if contradicts else UNDECIDED


def findings(lines: Iterable[Line]) -> Iterator[Finding]:
    """Judge every claim on every task and condition, in the order of the lines."""
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line["task"], line["condition"]), []).append(line)
    for (task, condition), found in groups.items():
        seeds, measure = Seeds(found), measures(found)[-1]
        if "transfer" in seeds.branches:
            yield from _transfer(task, condition, seeds)
        else:
            yield from _claims_of(task, condition, seeds, measure)
    yield from _ctc_alone(groups)
    yield from _depth(groups)


def _claims_of(task: str, condition: str, seeds: Seeds, measure: str) -> Iterator[Finding]:
    full = seeds.last("full")

    def found(claim: str, compared: str, first: dict, second: dict) -> tuple:
        # not all trainings are scored on test sets, but these two might be
        common = measures([*first.values(), *second.values()])[-1]
        return claim, task, condition, compared, common, compare(first, second, common)

    if "bottom-up" in seeds.branches:
        each = found("a", "last bottom-up stage - full", seeds.last("bottom-up"), full)
        yield Finding(*each, verdict(is_more(each[-1]), is_less(each[-1])))
    if "cascade" not in seeds.branches:
        return
    each = found("b", "last top-down stage - full", seeds.last("cascade"), full)
    yield Finding(*each, verdict(_does_not_hurt(task, each[-1]), is_more(each[-1])))
    cascade = seeds.selected("cascade")
    each = found("c", "selected of top-down - full", cascade, full)
    yield Finding(*each, verdict(is_less(each[-1]), is_more(each[-1])))
    rivals = [name for name in RIVALS if name in seeds.branches]
    if rivals:
        name = min(rivals, key=lambda name: -compare(cascade, seeds.selected(name), measure).mean)
        each = found("d", f"selected of top-down - {name}", cascade, seeds.selected(name))
        yield Finding(*each, verdict(is_less(each[-1]), is_more(each[-1])))


def _does_not_hurt(task: str, difference: Difference) -> bool:
    """Whether even the upper end of the interval is within the margin."""
    return difference.high is not None and difference.high <= MARGINS.get(task, 0.0)


def _transfer(task: str, condition: str, seeds: Seeds) -> Iterator[Finding]:
    moved = seeds.last("transfer")
    rivals = {"full": seeds.last("full"), "longer": seeds.last("longer"),
              "random frozen layers": seeds.last("random-top")}  # fmt: skip
    for name, rival in rivals.items():
        if rival:
            common = measures([*moved.values(), *rival.values()])
            for measure in [each for each in common if each.endswith(" WER")] or common[-1:]:
                difference = compare(moved, rival, measure)
                yield Finding(
                    "e", task, condition, f"frozen layers of part A - {name}", measure, difference,
                    verdict(is_less(difference), is_more(difference)),
                )  # fmt: skip


def _ctc_alone(groups: dict[tuple[str, str], list[Line]]) -> Iterator[Finding]:
    """Compare the gain of the selected model over full training: ``ctc-X`` minus ``attention-X``."""
    for (task, condition), lines in groups.items():
        other = groups.get((task, condition.replace("ctc-", "attention-", 1)))
        if not condition.startswith("ctc-") or other is None:
            continue
        both = [
            line for line in [*lines, *other] if line["branch"] in ("full", "cascade")
        ]
        measure = measures(both)[-1]
        changes = []
        for each in (Seeds(lines), Seeds(other)):
            selected, full = each.selected("cascade"), each.last("full")
            changes.append(
                {
                    seed: value(selected[seed], measure) - value(full[seed], measure)
                    for seed in selected
                }
            )
        common = sorted(changes[0].keys() & changes[1].keys())
        difference = paired([changes[0][seed] - changes[1][seed] for seed in common])
        yield Finding(
            "f", task, condition.removeprefix("ctc-"),
            "(selected of top-down - full) with CTC alone - with attention too", measure, difference,
            verdict(is_less(difference), is_more(difference)),
        )  # fmt: skip


def _depth(groups: dict[tuple[str, str], list[Line]]) -> Iterator[Finding]:
    """Compare the gain of the last stage over full training: deepest minus shallowest network."""
    by_kind: dict[tuple[str, str], dict[int, Seeds]] = {}
    for (task, condition), lines in groups.items():
        kind, _, depth = condition.rpartition("-")
        if depth.isdecimal():
            by_kind.setdefault((task, kind), {})[int(depth)] = Seeds(lines)
    for (task, kind), depths in by_kind.items():
        if len(depths) < 2:
            continue
        low, high = min(depths), max(depths)
        measure = measures([line for each in depths.values() for found in each.by_seed.values()
                            for line in found])[-1]  # fmt: skip
        losses = {depth: _changes(depths[depth], measure) for depth in (low, high)}
        common = sorted(losses[low].keys() & losses[high].keys())
        difference = paired([losses[high][seed] - losses[low][seed] for seed in common])
        yield Finding(
            "g", task, kind, f"(last top-down stage - full) at depth {high} - at depth {low}", measure,
            difference, verdict(is_less(difference), is_more(difference)),
        )  # fmt: skip


def _changes(seeds: Seeds, measure: str) -> dict[int, float]:
    """Return last stage minus full training for each seed."""
    last, full = seeds.last("cascade"), seeds.last("full")
    return {seed: value(last[seed], measure) - value(full[seed], measure) for seed in last}


def all_lines() -> list[Line]:
    """Return the lines of every file in results/."""
    return [line for path in sorted(RESULTS.glob("*.jsonl")) for line in read_lines(path)]


def in_words(difference: Difference) -> str:
    """Format a difference and its interval, such as ``-1.20 (-1.90 to -0.50)``."""
    if difference.low is None or difference.high is None:
        return f"{difference.mean:+.2f} (one seed)"
    return f"{difference.mean:+.2f} ({difference.low:+.2f} to {difference.high:+.2f})"


def shown_p(p: float | None) -> str:
    """Format a p-value as ``0.012`` or ``< 0.001``, and None as ``-``."""
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def main() -> None:
    """Print every finding."""
    for each in sorted(findings(all_lines()), key=lambda each: each.claim):
        where = "dev" if each.measure == DEV else f"test {each.measure}".replace("test test", "test")
        print(
            f"({each.claim}) {each.task} {each.condition}: {each.compared} on {where}: "
            f"{in_words(each.difference)}, {each.difference.seeds} seeds, "
            f"p {shown_p(each.difference.p)}, p over items {shown_p(each.difference.p_items)}: "
            f"{each.verdict}"
        )


if __name__ == "__main__":
    main()
