"""Trained modules run over some dev items, for inspection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from cascade_asr.library.data import ItemLoader
from cascade_asr.library.network import MeasuredNetwork
from cascade_asr.library.task import ModuleTask
from cascade_asr.networks.layer import Layer
from cascade_asr.networks.observation import observe

ITEMS = 500


class ModuleModels:
    """The trained modules of an experiment; a `results.inspection.Inspector`.

    Args:
        task: the task whose dev items they are run over.
        load: gives the network of a training, by its name.
    """

    def __init__(self, task: ModuleTask, load: Callable[[str], MeasuredNetwork]) -> None:
        number = min(len(task.dev), ITEMS)
        self._batch = next(ItemLoader(task.dev, number).epoch(1))
        self._load = load
        self.items = [f"the first {number} dev items"]

    def load(self, training: str) -> MeasuredNetwork:
        """The network of a finished training, in evaluation mode, on the CPU."""
        return self._load(training).eval()

    def layers(self, model: MeasuredNetwork, names: Sequence[str]) -> list[Layer]:
        """Its layers."""
        return model.layers()

    def outputs(self, model: MeasuredNetwork, layers: Sequence[Layer]) -> dict[str, torch.Tensor]:
        """Outputs by layer name; layers without exactly one output per dev item are left out."""
        with observe(model, layers) as kept:
            model(self._batch)
        return {
            name: rows
            for name, rows in kept.items()
            if rows.dim() and len(rows) == len(self._batch) and rows.is_floating_point()
        }

    def samples(self, model: MeasuredNetwork) -> list[dict[str, Any]]:
        """No samples, because nothing is aligned."""
        return []
