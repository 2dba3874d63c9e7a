"""Branches of a plan: the cascade, and the controls that it is compared with.

A cascade also trains for longer and chooses among several models. Each control has one
of these advantages without the cascade, for the same planned number of updates:

``longer``             one full training as long as full training and all stages
                       together; with patience off, it uses all of it
``longer-early-stop``  the same with the patience of full training: it may end earlier
``continue``           the stages with all layers trainable, from their current weights
``best-of-n``          full trainings from other seeds, at least the cascade's updates
``bottom-up``          the mirror image: lower layers frozen, upper ones re-initialised
``random-top``         the frozen layers have random weights: a classifier that learnt
                       nothing
``keep``               the same layers frozen as in the cascade, but the others continue
                       from their current weights

In both longer trainings the learning-rate schedule is stretched to their length, by
the rules of `cascade_asr.training.schedules.stretched`. Branches planned with equal
updates may differ in the end (patience), so the tables compare what was measured.

Full training is shared; if it is not part of a control's compute (``longer``),
it is not a candidate in its selection either.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from cascade_asr.cascade.names import CASCADE, CONTROLS
from cascade_asr.cascade.options import CascadeConfig, override
from cascade_asr.cascade.plan import LayerPlan, StagePlan, freeze_some, train_all
from cascade_asr.networks.layer import Layer
from cascade_asr.options.training import TrainingOptions
from cascade_asr.training.schedules import stretched


@dataclass(frozen=True)
class Branch:
    """Trainings that are run and selected together.

    Attributes:
        name: ``cascade`` or a control.
        title: the branch in words.
        stages: full training first, then the branch's own, by number.
        with_full: full training is a candidate in the selection.
    """

    name: str
    title: str
    stages: tuple[StagePlan, ...]
    with_full: bool = True

    @property
    def own(self) -> tuple[StagePlan, ...]:
        """The trainings of this branch, without full training."""
        return self.stages[1:]


def available_controls(
    cascade: CascadeConfig, config: TrainingOptions | None = None
) -> list[str]:
    """Names of the controls that are not the cascade itself.

    Args:
        cascade: options of the cascade.
        config: options of full training; if it has no patience and does not stop when it
            has converged, ``longer-early-stop`` equals ``longer`` and is left out. None
            leaves nothing out for this reason.
    """
    without_patience = (
        config is not None and config.patience is None and not config.converged.stop
    )
    return [
        name
        for name in CONTROLS
        if not _is_the_cascade(name, cascade)
        and not (name == "longer-early-stop" and without_patience)
    ]


def plan_branches(
    stages: list[StagePlan],
    layers: list[Layer],
    cascade: CascadeConfig,
    updates_per_epoch: Callable[[TrainingOptions], int],
) -> dict[str, Branch]:
    """The cascade and every control that differs from it and from the others, by name.

    Args:
        stages: from `plan_cascade`, full training first.
        layers: layers of the stages' model, bottom to top.
        cascade: options that the stages were planned with.
        updates_per_epoch: gives the updates per epoch of a training with these options,
            and so defines equal compute.
    """
    makers = {
        "longer": _longer,
        "longer-early-stop": _longer_early_stop,
        "continue": _continue,
        "best-of-n": _best_of_n,
        "bottom-up": _bottom_up,
        "random-top": _random_top,
        "keep": _keep,
    }
    branches = {CASCADE: Branch(CASCADE, f"{cascade.direction} cascade", tuple(stages))}
    given = _Given(stages, layers, cascade, updates_per_epoch)
    for name in available_controls(cascade, stages[0].config):
        branches[name] = makers[name](given)
    return branches


def _is_the_cascade(control: str, cascade: CascadeConfig) -> bool:
    """Whether a control equals the cascade, or has no counterpart in it."""
    freezes = bool(cascade.cuts) and cascade.direction != "reset"
    return {
        "continue": not cascade.cuts,
        "bottom-up": not freezes or cascade.direction != "top-down",
        "random-top": not freezes or cascade.top == "random",
        "keep": not freezes or cascade.below == "keep",
    }.get(control, False)


@dataclass(frozen=True)
class _Given:
    """What controls are made from."""

    stages: list[StagePlan]
    layers: list[Layer]
    cascade: CascadeConfig
    updates_per_epoch: Callable[[TrainingOptions], int]

    @property
    def full(self) -> StagePlan:
        return self.stages[0]

    def updates(self, stages: Sequence[StagePlan]) -> int:
        """Planned updates, without early stopping."""
        return sum(each.config.max_epoch * self.updates_per_epoch(each.config) for each in stages)


def branch_seed(seed: int, branch: str, number: int) -> int:
    """The seed of a control's training, different for each branch and number."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(branch.encode()), number])
    return int(sequence.generate_state(1)[0] % 2**31)


def _seeded(stage: StagePlan, seed: int, **changes: object) -> StagePlan:
    return dataclasses.replace(
        stage, seed=seed, config=override(stage.config, {"seed": seed}, "seed"), **changes
    )


def _longer(given: _Given) -> Branch:
    """One full training with another seed, for the sum of all epochs, without patience."""
    off = {"patience": None, "converged": {"stop": False}}
    return _one_training(given, "longer", "one training of the cascade's length", **off)


def _longer_early_stop(given: _Given) -> Branch:
    """The same, but ended by patience as full training is."""
    title = "one training of at most the cascade's length, ended by patience"
    return _one_training(given, "longer-early-stop", title)


def _one_training(given: _Given, name: str, title: str, **changes: object) -> Branch:
    updates, full = given.updates(given.stages), given.full
    epochs = math.ceil(updates / given.updates_per_epoch(full.config))
    ratio = Fraction(epochs, full.config.max_epoch)
    schedule = stretched(full.config.scheduler, full.config.scheduler_conf, ratio)
    changes = {"max_epoch": epochs, "scheduler_conf": schedule, **changes}
    if full.config.schedule_epochs:
        changes["schedule_epochs"] = min(epochs, round(full.config.schedule_epochs * ratio))
    stage = _seeded(
        dataclasses.replace(full, config=override(full.config, changes, f"control {name}")),
        branch_seed(full.seed, name, 1),
        number=1,
        branch=name,
        words=f"full training of {epochs} epochs",
    )
    return Branch(name, title, (full, stage), with_full=False)


def _continue(given: _Given) -> Branch:
    """Each stage again, with every layer trainable and none re-initialised."""
    stages = [given.full]
    for stage in given.stages[1:]:
        stages.append(
            _seeded(
                stage,
                branch_seed(given.full.seed, "continue", stage.number),
                layers=train_all(given.layers, lambda layer: False),
                source="previous",
                branch="continue",
                words="all layers, warm restart",
            )
        )
    return Branch("continue", "all layers trainable, warm restarts", tuple(stages))


def _best_of_n(given: _Given) -> Branch:
    """Full trainings until at least the cascade's updates are spent."""
    full = given.full
    count = max(2, math.ceil(given.updates(given.stages) / given.updates([full])))
    stages = [full]
    for number in range(1, count):
        stages.append(
            _seeded(
                full,
                branch_seed(full.seed, "best-of-n", number),
                number=number,
                branch="best-of-n",
                words=f"full training {number + 1} of {count}",
            )
        )
    return Branch("best-of-n", f"best of {count} full trainings", tuple(stages))


def _variant(
    given: _Given, name: str, title: str, change: Callable[[LayerPlan], LayerPlan]
) -> Branch:
    """The cascade with a different treatment of its layers."""
    stages = [
        _seeded(
            stage,
            branch_seed(given.full.seed, name, stage.number),
            layers=tuple(change(each) for each in stage.layers),
            branch=name,
        )
        for stage in given.stages[1:]
    ]
    return Branch(name, title, (given.full, *stages))


def _random_top(given: _Given) -> Branch:
    def change(layer: LayerPlan) -> LayerPlan:
        return layer if layer.is_trained else dataclasses.replace(layer, starts_from="new")

    return _variant(given, "random-top", "frozen layers with random weights", change)


def _keep(given: _Given) -> Branch:
    def change(layer: LayerPlan) -> LayerPlan:
        return dataclasses.replace(layer, starts_from="source") if layer.is_trained else layer

    return _variant(given, "keep", "frozen as in the cascade, the others not re-initialised", change)


def _bottom_up(given: _Given) -> Branch:
    """The cascade's cuts from the other side: what a stage froze is re-initialised.

    At a cut between two layers the top-down stage trains the layers below it and
    the bottom-up stage those above it; the stages go upward.
    """
    own = [stage for stage in given.stages[1:] if stage.frozen]
    stages = [given.full]
    for number, mirrored in enumerate(reversed(own), start=1):
        like = own[number - 1]  # its length and options
        frozen = {each.name for each in mirrored.trained}
        layers = freeze_some(
            [each.layer for each in mirrored.layers],
            lambda each, frozen=frozen: each.name in frozen,
            is_reinitialised=like.is_reinitialised,
            is_random_frozen=like.is_random_frozen,
        )
        seed = branch_seed(given.full.seed, "bottom-up", number)
        stages.append(_seeded(like, seed, layers=layers, branch="bottom-up"))
    for stage in given.stages[1 + len(own) :]:  # fine-tuning
        seed = branch_seed(given.full.seed, "bottom-up", stage.number)
        stages.append(_seeded(stage, seed, branch="bottom-up"))
    return Branch("bottom-up", "the lower layers frozen instead", tuple(stages))
