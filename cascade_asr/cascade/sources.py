"""Check before any training that each stage's model fits the one that it starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cascade_asr.cascade.names import INSIDE
from cascade_asr.cascade.plan import StagePlan
from cascade_asr.cascade.task import Task
from cascade_asr.errors import ConfigError
from cascade_asr.options.training import TrainingOptions
from cascade_asr.training import checkpoint
from cascade_asr.training.checks import check_criteria
from cascade_asr.training.finished import DoneStage, read_done
from cascade_asr.training.protocols import CascadeModel


@dataclasses.dataclass(frozen=True)
class Outline:
    """What is kept of a model that was built only to be inspected.

    Attributes:
        shapes: shapes of parameters and buffers, by name.
        metrics: names of the metrics that it logs, by split.
    """

    shapes: dict[str, tuple[int, ...]]
    metrics: dict[str, list[str]]

    def metric_names(self, split: str) -> list[str]:
        """Names of the metrics that it logs for ``train`` or ``valid``."""
        return self.metrics[split]


def outline(model: CascadeModel) -> Outline:
    """Shapes and metrics of a model."""
    shapes = checkpoint.shapes_of(model.state_dict())
    return Outline(shapes, {split: model.metric_names(split) for split in ("train", "valid")})


def check_stages(task: Task, stages: Sequence[StagePlan], full: CascadeModel) -> None:
    """Build the model of every stage, and require that it fits its sources.

    Models that differ only in training options are built once.

    Raises:
        ConfigError: with the problems of the first stage that has any.
    """
    known = {_architecture(stages[0].config): outline(full)}
    outlines = []
    for plan in stages:
        where = f"cascade stage {plan.number}" if plan.number else plan.title
        key = _architecture(plan.config)
        if plan.number:
            task.check_config(plan.config, where)
        if key not in known:
            known[key] = _built(task, plan, where)
        outlines.append(known[key])
        check_criteria(plan.config, outlines[-1], plan.title)
        for source in _inner_sources(plan):
            problems = task.differences(
                stages[source].config, plan.config, plan.keeps(stages[0].trained[0].name)
            )
            misfit = checkpoint.describe_misfit(outlines[-1].shapes, outlines[source].shapes)
            problems += [misfit] if misfit else []
            _refuse(where, f"the source, {stages[source].title},", problems)
        if plan.source and plan.source not in INSIDE:
            done = outer_source(task, plan, stages)
            weights = checkpoint.load(done.model_path)
            misfit = checkpoint.describe_misfit(
                outlines[-1].shapes, checkpoint.shapes_of(weights)
            )
            _refuse(where, f"source '{plan.source}'", [misfit] if misfit else [])


def outer_source(task: Task, plan: StagePlan, stages: Sequence[StagePlan]) -> DoneStage:
    """A model of another experiment as the source of a stage, checked to be compatible.

    Raises:
        ConfigError: if it is not finished, predicts other tokens, or its options differ
            so that its weights would compute something different here.
    """
    directory = Path(plan.source)
    done = read_done(directory, verify=True)
    if done is None:
        raise ConfigError(
            f"source '{plan.source}': no finished training there (done.json not found); "
            "expected previous, best, full, or a folder such as exp/TAG/full"
        )
    task.check_same_outputs(directory)
    config, _ = task.load_config(directory / "config.yaml")
    reads_input = plan.keeps(stages[0].trained[0].name)
    problems = task.differences(config, plan.config, reads_input)
    _refuse(f"cascade stage {plan.number}", f"source '{plan.source}'", problems)
    return done


def _architecture(config: TrainingOptions) -> str:
    """All options but those of the training loop."""
    training = {each.name for each in dataclasses.fields(TrainingOptions)}
    content: dict[str, Any] = dataclasses.asdict(config)
    return repr({name: value for name, value in content.items() if name not in training})


def _built(task: Task, plan: StagePlan, where: str) -> Outline:
    try:
        return outline(task.build_model(plan.config, plan.seed))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _inner_sources(plan: StagePlan) -> list[int]:
    """Numbers of the stages that a stage may start from."""
    return {
        "previous": [plan.number - 1],
        "full": [0],
        "best": list(range(plan.number)),
    }.get(plan.source, [])


def _refuse(where: str, source: str, problems: list[str]) -> None:
    """Raise ConfigError if there are problems."""
    if problems:
        raise ConfigError(
            f"{where}: the weights of {source} do not fit: {'; '.join(problems)}; a stage has the "
            "network of its source: change only training options in 'train' and 'stages'"
        )
