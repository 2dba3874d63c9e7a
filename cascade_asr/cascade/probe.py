"""Are all layers created equal? Replace one layer of a trained model and score it again.

Zhang, Bengio and Singer, "Are All Layers Created Equal?", JMLR 2022: a layer that can
go back to its initial weights without harm is "ambient"; one that cannot is
"critical". Nothing is trained here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from cascade_asr.cascade.stage import StageRunner
from cascade_asr.networks.layer import Layer
from cascade_asr.training.freezing import take_over
from cascade_asr.training.protocols import CascadeModel
from cascade_asr.training.trainer import Trainer


@dataclass(frozen=True)
class Probe:
    """One layer replaced.

    Attributes:
        layer: its name; empty for the model as it is.
        weights: what it was replaced with, such as ``initial``.
        metrics: of the dev set.
    """

    layer: str
    weights: str
    metrics: dict[str, float]


def probe_layers(
    model: CascadeModel,
    layers: Sequence[Layer],
    replacements: Mapping[str, Mapping[str, torch.Tensor]],
    trainer: Trainer,
    dev: object,
) -> Iterator[Probe]:
    """Score the model as it is, then with each layer replaced by each of some weights.

    Args:
        model: with its trained weights; left as it was.
        layers: of the model, bottom to top.
        replacements: state dicts of the same architecture by what they are called.
        trainer: evaluates.
        dev: batches of the dev set.
    """
    trainer.model = trainer.fabric.to_device(model)
    trained = copy.deepcopy(model.state_dict())
    yield Probe("", "", trainer.evaluate(dev))
    for layer in layers:
        for name, weights in replacements.items():
            take_over(model, weights, [layer])
            yield Probe(layer.name, name, trainer.evaluate(dev))
            take_over(model, trained, [layer])


def evaluator(runner: StageRunner, config: object) -> Trainer:
    """A trainer that only evaluates and writes nothing."""
    return Trainer(runner.fabric, config, runner.task.directory)
