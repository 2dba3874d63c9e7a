"""Are all layers created equal? Replace one layer of a trained model and score it again.

Zhang, Bengio and Singer, "Are All Layers Created Equal?", JMLR 2022: a layer that can
return to its initial weights without harm is "ambient"; one that cannot is
"critical". Nothing is trained here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from cascade_asr.networks.layer import Layer
from cascade_asr.training.evaluate import evaluate
from cascade_asr.training.freezing import take_over
from cascade_asr.training.protocols import Batches, CascadeModel

if TYPE_CHECKING:  # importing it takes 1.4 s, which commands without training should not spend
    from lightning_fabric import Fabric


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
