"""From options to stages: what each stage does with every layer of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from cascade_asr.cascade.names import CASCADE
from cascade_asr.cascade.options import CascadeConfig, override, stage_seed
from cascade_asr.errors import ConfigError
from cascade_asr.networks.layer import Layer
from cascade_asr.options.training import TrainingOptions
from cascade_asr.training.freezing import find_layer
from cascade_asr.training.identity import tensors_digest


@dataclass(frozen=True)
class LayerPlan:
    """What a stage does with one layer.

    Attributes:
        layer: its parameters and buffers.
        starts_from: whether it starts from the weights of the stage's source, or new ones.
        is_trained: False for a frozen layer.
    """

    layer: Layer
    starts_from: Literal["source", "new"]
    is_trained: bool


@dataclass(frozen=True)
class StagePlan:
    """One training; number 0 is the full training that all branches share.

    Attributes:
        number: 0 for full training, then 1, 2, … in its branch.
        layers: what happens to each layer, bottom to top.
        source: ``previous``, ``best``, ``full`` or a folder; empty for a training
            that starts only from new weights.
        frozen_dropout: whether there is dropout inside the frozen layers.
        seed: seed of new weights, batch order and dropout.
        config: how to train, with this stage's changes.
        branch: ``cascade``, or the control that it belongs to.
        words: the stage in words, if its layers do not describe it.
    """

    number: int
    layers: tuple[LayerPlan, ...]
    config: TrainingOptions
    seed: int
    source: str = ""
    frozen_dropout: bool = True
    branch: str = CASCADE
    words: str = ""

    @property
    def name(self) -> str:
        """Name of the stage's folder."""
        return "full" if self.number == 0 else f"{self._prefix}{self.number}"

    @property
    def title(self) -> str:
        """The stage in words."""
        if self.number == 0:
            return "full training"
        return f"{self._prefix} {self.number}: {self.words or self._what()}"

    @property
    def _prefix(self) -> str:
        return "stage" if self.branch == CASCADE else self.branch

    def _what(self) -> str:
        if not self.frozen:
            new = self._select(True, "new")
            return f"{_listed(new)} re-initialised, all trained" if new else "fine-tuning of all layers"
        how = "random and frozen" if self.is_random_frozen else "frozen"
        return f"{_listed(self.frozen)} {how}" + ("" if self.is_reinitialised else ", the others warm")

    @property
    def frozen(self) -> tuple[Layer, ...]:
        """Layers that are not trained, bottom to top."""
        return tuple(each.layer for each in self.layers if not each.is_trained)

    @property
    def trained(self) -> tuple[Layer, ...]:
        """Layers that are trained, bottom to top."""
        return tuple(each.layer for each in self.layers if each.is_trained)

    @property
    def kept(self) -> tuple[Layer, ...]:
        """Layers that start from the weights of the source, bottom to top."""
        return tuple(each.layer for each in self.layers if each.starts_from == "source")

    @property
    def reset(self) -> tuple[Layer, ...]:
        """Trained layers that start from new weights while others do not, bottom to top."""
        return () if self.is_reinitialised else self._select(True, "new")

    @property
    def is_reinitialised(self) -> bool:
        """Whether all trained layers start from new weights."""
        return not self._select(True, "source")

    @property
    def is_random_frozen(self) -> bool:
        """Whether the frozen layers have new weights, which stay random."""
        return bool(self._select(False, "new"))

    @property
    def tensors(self) -> str:
        """A digest of what the frozen and the reset layers consist of."""
        frozen, reset = (
            [name for layer in layers for name in (*layer.parameters, *layer.buffers)]
            for layers in (self.frozen, self.reset)
        )
        return tensors_digest(frozen, reset)

    def keeps(self, layer: str) -> bool:
        """Whether a layer starts from the weights of the source."""
        return any(each.name == layer for each in self.kept)

    def _select(self, is_trained: bool, starts_from: str) -> tuple[Layer, ...]:
        return tuple(
            each.layer
            for each in self.layers
            if (each.is_trained, each.starts_from) == (is_trained, starts_from)
        )


def _listed(layers: Sequence[Layer]) -> str:
    """Names, top layer first."""
    return ", ".join(layer.name for layer in reversed(layers))


def train_all(layers: Sequence[Layer], new: Callable[[Layer], bool]) -> tuple[LayerPlan, ...]:
    """Train every layer, some from new weights.

    Args:
        layers: bottom to top.
        new: whether a layer starts from new weights.
    """
    return tuple(LayerPlan(each, "new" if new(each) else "source", True) for each in layers)


def freeze_some(
    layers: Sequence[Layer],
    is_frozen: Callable[[Layer], bool],
    is_reinitialised: bool = True,
    is_random_frozen: bool = False,
) -> tuple[LayerPlan, ...]:
    """Freeze some layers and train the others.

    Args:
        layers: bottom to top.
        is_frozen: whether a layer is frozen.
        is_reinitialised: the trained layers start from new weights.
        is_random_frozen: the frozen ones do so too.
    """
    return tuple(
        LayerPlan(each, "new" if is_random_frozen else "source", False)
        if is_frozen(each)
        else LayerPlan(each, "new" if is_reinitialised else "source", True)
        for each in layers
    )


def plan_cascade(
    layers: list[Layer],
    cascade: CascadeConfig,
    config: TrainingOptions,
    stage_config: TrainingOptions | None = None,
) -> list[StagePlan]:
    """Plan a cascade over the layers of a model.

    Args:
        layers: bottom to top.
        cascade: the options.
        config: options of full training; its seed is the experiment's.
        stage_config: options of the stages, before their changes; None for those of full
            training.

    Returns:
        Full training and the cascade stages, in order.

    Raises:
        ConfigError: for a cut that names no layer, cuts that overlap or are
            out of order, or a stage that would train nothing.
    """
    indices = _cut_indices(layers, cascade)
    stages = [StagePlan(0, train_all(layers, lambda each: True), config, config.seed)]
    config = stage_config or config
    for number, index in enumerate(indices * cascade.repeats, start=1):
        stages.append(_stage(number, _at_cut(layers, index, cascade), cascade, config))
    if cascade.finetune:
        stages.append(_stage(len(stages), train_all(layers, lambda each: False), cascade, config))
    unknown = set(cascade.stages) - {str(stage.number) for stage in stages[1:]}
    if unknown:
        raise ConfigError(
            f"stages: no stage {', '.join(sorted(unknown))}; this plan has stages "
            f"1 to {len(stages) - 1}"
        )
    return stages


def _at_cut(
    layers: list[Layer], index: int, cascade: CascadeConfig
) -> tuple[LayerPlan, ...]:
    """What a stage does with each layer.

    Args:
        layers: bottom to top.
        index: index of the layer that the cut names.
        cascade: the options.
    """
    above = {each.name for each in layers[index:]}
    if cascade.direction == "reset":
        return train_all(layers, lambda each: each.name in above)
    up_to = {each.name for each in layers[: index + 1]}
    frozen = above if cascade.direction == "top-down" else up_to
    return freeze_some(
        layers,
        lambda each: each.name in frozen,
        is_reinitialised=cascade.below == "reinitialise",
        is_random_frozen=cascade.top == "random",
    )


def _stage(
    number: int, layers: tuple[LayerPlan, ...], cascade: CascadeConfig, config: TrainingOptions
) -> StagePlan:
    changed = override(config, cascade.train, "cascade option 'train'")
    changed = override(
        changed, cascade.stages.get(str(number), {}), f"cascade option 'stages.{number}'"
    )
    if "seed" in cascade.stages.get(str(number), {}):
        seed = changed.seed
    else:  # from the cascade's seed, if 'train' has one
        seed = stage_seed(changed.seed, number)
    changed = override(changed, {"seed": seed}, "seed")
    return StagePlan(
        number,
        layers,
        changed,
        seed,
        source=(cascade.first_source or cascade.source) if number == 1 else cascade.source,
        frozen_dropout=cascade.frozen_dropout,
    )


def _cut_indices(layers: list[Layer], cascade: CascadeConfig) -> list[int]:
    """Index of each cut's layer, upward for bottom-up and downward for all others."""
    upward = cascade.direction == "bottom-up"
    freezes_below = cascade.direction in ("bottom-up", "unfreeze")
    if cascade.cuts == "auto":
        last = len(layers) - 1
        indices = list(range(last) if freezes_below else range(1, last + 1))
        return indices if upward else indices[::-1]
    indices = [find_layer(layers, name) for name in cascade.cuts]
    if not indices and not cascade.finetune:
        raise ConfigError("cuts: empty; write auto or at least one layer")
    for first, second in zip(indices, indices[1:], strict=False):
        if (second <= first) if upward else (second >= first):
            order = "upward, bottom layer first" if upward else "downward, top layer first"
            raise ConfigError(
                f"cuts: '{layers[second].name}' after '{layers[first].name}': cuts go {order}, "
                "each layer once"
            )
    nothing_left = len(layers) - 1 if freezes_below else 0
    if nothing_left in indices:
        name = layers[nothing_left].name
        if cascade.direction == "reset":
            raise ConfigError(f"cuts: a cut at '{name}' re-initialises every layer: a new full training")
        raise ConfigError(f"cuts: a cut at '{name}' freezes every layer and trains nothing")
    return indices
