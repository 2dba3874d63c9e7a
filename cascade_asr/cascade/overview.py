"""A plan for people to read: the tree of trainings, what each one does, its cost and state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cascade_asr.cascade.plan import StagePlan
from cascade_asr.cascade.planning import Plan
from cascade_asr.networks.layer import Layer
from cascade_asr.training.state import duration


@dataclass(frozen=True)
class Cost:
    """What a training costs.

    Attributes:
        updates: planned updates, without early stopping.
        seconds: estimated from finished trainings; None if there are none.
    """

    updates: int
    seconds: float | None


def layer_table(layers: Sequence[Layer], counts: dict[str, int]) -> list[str]:
    """One line per layer, input first: name, parameters, share, other names for it."""
    total = sum(counts[name] for layer in layers for name in layer.parameters)
    width = max(len(layer.name) for layer in layers)
    lines = []
    for layer in layers:
        own = sum(counts[name] for name in layer.parameters)
        also = f"  also: {', '.join(layer.aliases)}" if layer.aliases else ""
        buffers = f"  {len(layer.buffers)} buffers" if layer.buffers else ""
        lines.append(
            f"  {layer.name:{width}}  {own:>11,}  {100 * own / max(total, 1):5.1f} %{buffers}{also}"
        )
    return lines


def tree(
    plan: Plan,
    branches: Sequence[str],
    cost: Callable[[StagePlan], Cost],
    state: Callable[[str, StagePlan], str],
    counts: Callable[[StagePlan], dict[str, int]],
) -> list[str]:
    """The trainings of some branches, each below the one that it starts from.

    Args:
        plan: the plan with the branches.
        branches: names of the branches to show.
        cost: gives the cost of a training.
        state: gives the state (``done``, ``in progress``, …) of a branch's training.
        counts: gives the parameters of a training's network, by name.
    """
    full = plan.stages[0]
    lines = _training(full, full, counts(full), cost(full), state("cascade", full), "")
    last = branches[-1] if branches else None
    for name in branches:
        branch = plan.branches[name]
        lines.append(f"{'└' if name == last else '├'}─ {name}: {branch.title}")
        for stage in branch.own:
            indent = "   " if name == last else "│  "
            lines += _training(stage, full, counts(stage), cost(stage), state(name, stage), indent)
    return lines


def _training(
    stage: StagePlan, full: StagePlan, counts: dict[str, int], cost: Cost, state: str, indent: str
) -> list[str]:
    total = sum(counts.values())
    trained = sum(counts.get(name, 0) for layer in stage.trained for name in layer.parameters)
    time = "" if cost.seconds is None else f", about {duration(cost.seconds)}"
    lines = [
        f"{indent}{stage.name} [{state}]: trains {trained:,} of {total:,} parameters "
        f"({100 * trained / max(total, 1):.1f} %), {cost.updates:,} updates{time}, seed {stage.seed}"
    ]
    detail = []
    if stage.frozen:
        weights = "random" if stage.is_random_frozen else "kept and"
        detail.append(f"{weights} frozen: {_names(stage.frozen)}")
    warm = [each for each in stage.trained if each in stage.kept]
    new = [each for each in stage.trained if each not in stage.kept]
    if new:
        detail.append(f"{'re-initialised' if stage.source else 'initialised'}: {_names(new)}")
    if warm:
        detail.append(f"trained further from their current weights: {_names(warm)}")
    if stage.source:
        detail.append(f"from: {stage.source}")
    detail += _other_kinds(stage, full)
    return lines + [f"{indent}    {each}" for each in detail]


def _other_kinds(stage: StagePlan, full: StagePlan) -> list[str]:
    """The optimizer and the schedule, where they are of another kind than full training's."""
    lines = []
    for name in ("optim", "scheduler"):
        own, usual = (getattr(each.config, name) for each in (stage, full))
        if (own or "").lower() == (usual or "").lower():
            continue
        conf = getattr(stage.config, f"{name}_conf")
        options = ", ".join(f"{key} {value}" for key, value in conf.items()) or "its defaults"
        with_options = f" with {options}" if own else ""
        unused = f", without {name}_conf of full training" if usual else ""
        lines.append(f"{name}: {own or 'none'}{with_options} instead of {usual or 'none'}{unused}")
    return lines


def _names(layers: Sequence[Layer]) -> str:
    return ", ".join(layer.name for layer in layers)
