"""Are all layers created equal? Replace one layer of a trained model and score it again.

Zhang, Bengio and Singer, "Are All Layers Created Equal?", JMLR 2022: a layer that can
return to its initial weights without harm is "ambient"; one that cannot is
"critical". Nothing is trained here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
        layers: layers of the model, bottom to top.
        replacements: state dicts of the same architecture, by name.
        fabric: launched; says where to evaluate.
        dev: batches of the dev set.
    """
    model = fabric.to_device(model)
    trained = copy.deepcopy(model.state_dict())
    yield Probe("", "", evaluate(fabric, model, dev))
    for layer in layers:
        for name, weights in replacements.items():
            take_over(model, weights, [layer])
            yield Probe(layer.name, name, evaluate(fabric, model, dev))
            take_over(model, trained, [layer])
