"""What happened inside the networks: distance of weights from the source's, linear CKA.

The models of an experiment are loaded one after another and run over a few dev items.
After `SECONDS`, no more are loaded, and the rest is named. A model that was deleted to
make room is named, too, and the report is made without it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from cascade_asr.errors import CascadeError
from cascade_asr.networks.layer import Layer
from cascade_asr.results.similarity import centred_gram, evenly, linear_cka, relative_distance

logger = logging.getLogger(__name__)

SECONDS = 25.0  # after which no further model is loaded
MOST_TRAININGS = 24
Weights = dict[str, torch.Tensor]


class Inspector(Protocol):
    """How the models of a task are loaded and run over a few items of the dev set."""

    items: list[str]  # descriptions of what they are run over

    def load(self, training: str) -> nn.Module:
        """The model of a finished training, in evaluation mode, on the CPU."""

    def layers(self, model: nn.Module, names: Sequence[str]) -> list[Layer]:
        """Its layers, divided so that they bear these names."""

    def outputs(self, model: nn.Module, layers: Sequence[Layer]) -> dict[str, torch.Tensor]:
        """Outputs (N, …) by layer name, one row per frame, token or item."""

    def samples(self, model: nn.Module) -> list[dict[str, Any]]:
        """What to draw for single items; empty for most tasks."""


@dataclass
class _Seen:
    """What is kept of the models inspected so far."""

    trainings: list[str] = field(default_factory=list)
    grams: dict[str, list[torch.Tensor | None]] = field(default_factory=dict)
    drift: dict[str, list[dict[str, float | None]]] = field(default_factory=dict)
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    rows: int = 0
    notes: list[str] = field(default_factory=list)


def inspect(
    inspector: Inspector, trainings: Sequence[dict[str, Any]], seconds: float = SECONDS
) -> dict[str, Any] | None:
    """Compare weights and outputs of all layers over the trainings of an experiment.

    Args:
        inspector: the task's inspector.
        trainings: see `results.trainings.read_trainings`, full training first.
        seconds: time after which no further model is loaded.

    Returns:
        ``trainings``: names of those inspected; ``layers``: for each its ``name``, ``drift``
        (for each training ``source`` and ``full``, see `relative_distance`) and ``cka`` (a
        square matrix); ``rows``: number of rows of the outputs; ``items``; ``samples`` by
        training; ``notes``. None if no model could be inspected.
    """
    seen = _Seen()
    ends = time.monotonic() + seconds
    kept: dict[str, Weights] = {}
    chosen = [each for each in trainings if not each.get("imported")][:MOST_TRAININGS]
    for training in chosen:
        if time.monotonic() > ends:
            names = ", ".join(each["name"] for each in chosen[chosen.index(training) :])
            seen.notes.append(f"Not inspected, because {seconds:.0f} s had passed: {names}.")
            break
        try:
            _see(inspector, training, seen, kept)
        except (CascadeError, OSError) as error:
            logger.warning("%s: not inspected: %s", training["name"], error)
            seen.notes.append(f"{training['name']} is left out: {error}")
    if not seen.trainings:
        return None
    return {
        "trainings": seen.trainings,
        "layers": [
            {"name": name, "drift": seen.drift[name], "cka": _matrix(seen.grams[name])}
            for name in seen.drift
        ],
        "rows": seen.rows,
        "items": inspector.items,
        "samples": seen.samples,
        "notes": seen.notes,
    }


@torch.no_grad()
def _see(
    inspector: Inspector, training: dict[str, Any], seen: _Seen, kept: dict[str, Weights]
) -> None:
    """Add one training; ``kept`` holds the weights of full training and of the previous one."""
    name = training["name"]
    model = inspector.load(name)
    layers = inspector.layers(model, [each["name"] for each in training["layers"]])
    outputs = inspector.outputs(model, layers)
    samples = inspector.samples(model)
    weights = dict(model.state_dict())
    others = {
        kind: _weights_of(inspector, other, kept)
        for kind, other in (("source", training["source"]), ("full", "full"))
        if other and other != name
    }
    before = len(seen.trainings)
    seen.trainings.append(name)
    if samples:
        seen.samples[name] = samples
    for layer in layers:
        found = {
            kind: relative_distance(weights, other, layer.parameters)
            for kind, other in others.items()
            if other is not None
        }
        rows = outputs.get(layer.name)
        gram = None if rows is None else centred_gram(evenly(rows.flatten(1)))
        if rows is not None:
            seen.rows = max(seen.rows, min(len(rows), len(evenly(rows))))
        seen.drift.setdefault(layer.name, [{}] * before).append(found)
        seen.grams.setdefault(layer.name, [None] * before).append(gram)
    for name_of in seen.drift:
        for lists, empty in ((seen.drift, {}), (seen.grams, None)):
            if len(lists[name_of]) <= before:
                lists[name_of].append(empty)
    for old in [key for key in kept if key != "full"]:
        del kept[old]
    kept[name] = weights


def _weights_of(inspector: Inspector, name: str, kept: dict[str, Weights]) -> Weights | None:
    """The weights of another training; None if it is missing or belongs to another experiment."""
    if name in kept:
        return kept[name]
    if Path(name).name != name:
        return None
    try:
        return dict(inspector.load(name).state_dict())
    except (CascadeError, OSError):
        return None


def _matrix(grams: Sequence[torch.Tensor | None]) -> list[list[float | None]]:
    """The symmetric matrix of CKA values, rounded."""
    size = len(grams)
    matrix: list[list[float | None]] = [[None] * size for _ in grams]
    for row in range(size):
        for column in range(row, size):
            value = linear_cka(grams[row], grams[column])
            matrix[row][column] = matrix[column][row] = None if value is None else round(value, 4)
    return matrix
