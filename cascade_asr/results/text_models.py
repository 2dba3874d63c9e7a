"""Language models run over the beginning of the dev text, to inspect them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cascade_asr.lm.evaluate import load_language_model, token_path
from cascade_asr.lm.objective import LanguageModel
from cascade_asr.networks.layer import Layer, merged
from cascade_asr.networks.observation import observe

TOKENS = 500  # tokens that the models read


class TextModels:
    """The models of a language-model experiment; an `inspection.Inspector`.

    Args:
        directory: ``exp/TAG``.
        dump, dev: folder of stage 2, and name of the dev text in it.

    Raises:
        DataError: if the dev text does not exist.
    """

    def __init__(self, directory: Path, dump: Path, dev: str) -> None:
        self.directory = directory
        tokens = np.load(token_path(dump, dev), mmap_mode="r")[:TOKENS]
        self._tokens = torch.from_numpy(np.array(tokens, dtype=np.int64))[:, None]  # (T, 1)
        self.items = [f"the first {len(tokens)} tokens of {dev}"]

    def load(self, training: str) -> LanguageModel:
        """The model of a finished training, in evaluation mode, on the CPU."""
        return load_language_model(self.directory / training)[0]

    def layers(self, model: LanguageModel, names: Sequence[str]) -> list[Layer]:
        """Its layers, with the tied matrix in the layer where ``names`` has it."""
        for tying in (None, "freeze"):
            layers = model.layers(tying)
            if {layer.name for layer in layers} == set(names):
                return layers
        by_module = model.layers()
        return [
            merged(name, [each for each in by_module if each.name.partition(".")[0] == name])
            for name in names
        ]

    def outputs(self, model: LanguageModel, layers: Sequence[Layer]) -> dict[str, torch.Tensor]:
        """Outputs (T, D) by layer name, one row per token."""
        with observe(model, layers) as kept:
            _, dropped, _ = model.outputs(self._tokens, model.initial_state(1))
            logits = model.softmax(dropped)
        return kept | {"softmax": logits}  # its matrix may belong to the embedding

    def samples(self, model: LanguageModel) -> list[dict[str, Any]]:
        """Return nothing: there are no alignments to draw."""
        return []
