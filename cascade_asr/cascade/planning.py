"""Everything that is decided before training starts, checked against the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_asr.cascade.controls import Branch, plan_branches
from cascade_asr.cascade.names import CASCADE
from cascade_asr.cascade.options import CascadeConfig
from cascade_asr.cascade.plan import StagePlan, plan_cascade
from cascade_asr.cascade.sources import check_stages
from cascade_asr.cascade.task import Task
from cascade_asr.errors import ConfigError, nearest
from cascade_asr.files import write_json
from cascade_asr.networks.layer import Layer, misplaced
from cascade_asr.options.training import TrainingOptions
from cascade_asr.training.protocols import CascadeModel


@dataclass(frozen=True)
class Plan:
    """A cascade over one model.

    Attributes:
        model: model of full training, with new weights.
        layers: layers of the stages, bottom to top.
        cascade: options of the cascade.
        branches: the cascade and its controls, by name.
        select: the dev metric used for model selection, and ``min`` or ``max``.
    """

    model: CascadeModel
    layers: list[Layer]
    cascade: CascadeConfig
    branches: dict[str, Branch]
    select: list[str]

    @property
    def stages(self) -> tuple[StagePlan, ...]:
        """Full training and the cascade's stages."""
        return self.branches[CASCADE].stages

    def stage(self, name: str) -> StagePlan:
        """The training with that folder name.

        Raises:
            ConfigError: if the plan has none; it lists those that exist.
        """
        known = {each.name: each for branch in self.branches.values() for each in branch.stages}
        if name not in known:
            raise ConfigError(
                f"no training '{name}'{nearest(name, known)}; this plan has: {', '.join(known)}"
            )
        return known[name]


def make_plan(task: Task, config: TrainingOptions, cascade: CascadeConfig) -> Plan:
    """Plan full training, the cascade's stages and all controls; build every model once.

    Raises:
        ConfigError: for anything that would stop a stage later: unknown layers,
            cuts out of order, wrong training options, a metric that is not logged,
            a network that cannot be built or does not fit its source.
    """
    model = task.build_model(config, config.seed)
    stage_config, layers = task.stage_layers(model, config, cascade.layering)
    if stage_config is config:  # else they are those of another network
        require_layers(model, layers)
    stages = plan_cascade(layers, cascade, config, stage_config)
    _check_precision(stages)
    check_stages(task, stages, model)
    select = cascade.select or task.default_select(model)
    if select[0] not in model.metric_names("valid"):
        raise ConfigError(
            f"select: metric '{select[0]}' is not logged; there are: "
            f"{', '.join(model.metric_names('valid'))}"
        )

    branches = plan_branches(stages, layers, cascade, _updates_per_epoch(task, model))
    return Plan(model, layers, cascade, branches, select)


def require_layers(model: CascadeModel, layers: Sequence[Layer]) -> None:
    """Require that each parameter is in exactly one layer, as an encoder of one's own may forget.

    One that is in none would be new in every stage, and be trained above frozen layers.

    Raises:
        ConfigError: naming the parameters.
    """
    missing, twice = misplaced([name for name, _ in model.named_parameters()], layers)
    if missing:
        raise ConfigError(
            f"{', '.join(missing)}: in no layer, so that no stage could freeze them; name what owns them in "
            "the method layers() of the network"
        )
    if twice:
        raise ConfigError(f"{', '.join(twice)}: in more than one layer; see the method layers() of the network")


def _check_precision(stages: list[StagePlan]) -> None:
    """Require one precision, because a process trains all its stages in that of its device.

    Raises:
        ConfigError: naming the stage and the option.
    """
    for stage in stages[1:]:
        for name in ("precision", "use_amp"):
            full, own = (getattr(each.config, name, None) for each in (stages[0], stage))
            if own != full:
                raise ConfigError(
                    f"cascade stage {stage.number}: {name} is {own}, that of full training is "
                    f"{full}; all stages train in the same precision: set it in the training "
                    "configuration, not in the cascade's 'train' or 'stages'"
                )


def _updates_per_epoch(task: Task, model: CascadeModel) -> Callable[[TrainingOptions], int]:
    """Like the task's, but batches with the same options are planned only once."""
    known: dict[str, int] = {}

    def count(config: TrainingOptions) -> int:
        options = {
            name: value
            for name, value in vars(config).items()
            if name.startswith("batch_") or name in ("accum_grad", "fold_length", "bptt")
        }
        if repr(options) not in known:
            known[repr(options)] = task.data(model, config).updates_per_epoch
        return known[repr(options)]

    return count


def write_plan(path: Path, plan: Plan) -> None:
    """Write what jobs and other commands need to know: ``plan.json``."""
    write_json(
        path,
        {
            "title": plan.branches[CASCADE].title,
            "stop": plan.cascade.stop,
            "stages": _entries(plan.branches[CASCADE]),
            "controls": {
                name: _entries(branch)
                for name, branch in plan.branches.items()
                if name != CASCADE
            },
        },
    )


def _entries(branch: Branch) -> list[dict[str, Any]]:
    return [
        {key: getattr(stage, key) for key in ("number", "name", "title", "source")}
        for stage in branch.stages
    ]
