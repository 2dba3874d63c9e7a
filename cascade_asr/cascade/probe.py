"""Are all layers created equal? Replace one layer of a trained model and score it again.

Zhang, Bengio and Singer, "Are All Layers Created Equal?", JMLR 2022: a layer that can
return to its initial weights without harm is "ambient"; one that cannot is
"critical". Nothing is trained here.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from cascade_asr.cascade.planning import Plan
from cascade_asr.cascade.task import Task
from cascade_asr.errors import ConfigError
from cascade_asr.files import read_json
from cascade_asr.networks.layer import Layer
from cascade_asr.training import checkpoint
from cascade_asr.training.evaluate import evaluate
from cascade_asr.training.finished import require_done
from cascade_asr.training.freezing import take_over
from cascade_asr.training.protocols import Batches, CascadeModel

if TYPE_CHECKING:  # importing it takes 1.4 s, which commands without training should not spend
    from lightning_fabric import Fabric

INITIAL, RANDOM = "initial", "random"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Probe:
    """One layer replaced.

    Attributes:
        layer: its name; empty for the model as it is.
        weights: what it was replaced with, such as ``initial``.
        metrics: metrics on the dev set.
    """

    layer: str
    weights: str
    metrics: dict[str, float]


def replacement_weights(
    task: Task, plan: Plan, training: str, names: Sequence[str] | None
) -> dict[str, dict[str, torch.Tensor]]:
    """State dicts to take layers from, by name.

    Args:
        task: the experiment.
        plan: its plan.
        training: the training that is probed.
        names: ``initial``, ``random`` or other trainings; None for the first two, without
            ``initial`` if those weights are not known.

    Raises:
        ConfigError: for a training that is not finished, or has another architecture; for
            ``initial`` if those weights are not known.
    """
    stage = plan.stage(training)
    found = {}
    for name in names or (INITIAL, RANDOM):
        if name == INITIAL:
            try:
                found[name] = initial_weights(task, plan, training)
            except ConfigError as error:
                if names:
                    raise
                logger.warning("%s", error)
        elif name == RANDOM:
            found[name] = task.build_model(stage.config, stage.config.seed + 1).state_dict()
        else:
            done = require_done(task.directory / name, f"--with {name}")
            found[name] = checkpoint.load(done.model_path)
    return found


def initial_weights(task: Task, plan: Plan, training: str) -> dict[str, torch.Tensor]:
    """The weights with which each layer of a training began.

    A layer that a stage took over from another training began there.

    Raises:
        ConfigError: if a layer comes from a training that is not in this experiment.
    """
    stage = plan.stage(training)
    lineage = read_json(task.directory / training / "lineage.json")
    if "imported_weights" in lineage:
        raise ConfigError(_unknown(f"{training} was imported", lineage["imported_weights"]))
    model = task.build_model(stage.config, stage.seed)
    if stage.kept:
        # its name alone, because an experiment may be moved or copied
        source = Path(lineage["source"])
        own = task.directory / source.name / "lineage.json"
        if not own.is_file() or read_json(own)["model_sha256"] != lineage["source_model_sha256"]:
            layers = ", ".join(layer.name for layer in stage.kept)
            raise ConfigError(_unknown(f"{layers} of {training} are from no training of this experiment", source))
        take_over(model, initial_weights(task, plan, source.name), stage.kept)
    return model.state_dict()


def _unknown(why: str, source: Path | str) -> str:
    return (
        f"--with {INITIAL}: the weights with which it began are not known: {why}, {source}; use "
        f"--with {RANDOM}, or name trainings"
    )


def layers_in(model: CascadeModel, layers: Sequence[Layer]) -> list[Layer]:
    """What a model has of layers that may be those of another network.

    With ``tying: untie``, full training has one matrix where the stages have two: it counts
    with the embedding there, and the softmax has only its bias.
    """
    parameters = {name for name, _ in model.named_parameters()}
    buffers = {name for name, _ in model.named_buffers()}
    found = [
        replace(
            layer,
            parameters=tuple(name for name in layer.parameters if name in parameters),
            buffers=tuple(name for name in layer.buffers if name in buffers),
        )
        for layer in layers
    ]
    return [layer for layer in found if layer.parameters or layer.buffers]


def probe_layers(
    model: CascadeModel,
    layers: Sequence[Layer],
    replacements: Mapping[str, Mapping[str, torch.Tensor]],
    fabric: Fabric,
    dev: Batches,
) -> Iterator[Probe]:
    """Score the model as it is, then with each layer replaced by each of the replacements.

    Args:
        model: model with its trained weights; left as it was.
        layers: layers of the model or of the stages, bottom to top; see `layers_in`.
        replacements: state dicts of the same architecture, by name.
        fabric: launched; says where to evaluate.
        dev: batches of the dev set.
    """
    model = fabric.to_device(model)
    trained = copy.deepcopy(model.state_dict())
    yield Probe("", "", evaluate(fabric, model, dev))
    for layer in layers_in(model, layers):
        for name, weights in replacements.items():
            take_over(model, weights, [layer])
            yield Probe(layer.name, name, evaluate(fabric, model, dev))
            take_over(model, trained, [layer])
