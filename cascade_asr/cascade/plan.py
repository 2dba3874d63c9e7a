"""From options to stages: which layers each one freezes, starts anew and trains."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cascade_asr.cascade.names import CASCADE
from cascade_asr.cascade.options import CascadeConfig, override, stage_seed
from cascade_asr.errors import ConfigError
from cascade_asr.networks.layer import Layer
from cascade_asr.options.training import TrainingOptions
from cascade_asr.training.freezing import find_layer


@dataclass(frozen=True)
class StagePlan:
    """One training; number 0 is the full training that all branches share.

    Attributes:
        number: 0 for full training, then 1, 2, … in its branch.
        frozen: layers that keep the weights of the source model.
        trained: layers that are trained, bottom to top.
        reinitialise: start the trained layers from new weights.
        random_top: the frozen layers too (a control).
        reset: trained layers that start anew although the others do not.
        source: ``previous``, ``best``, ``full`` or a folder; empty for a training
            that starts from new weights alone.
        frozen_dropout: dropout inside the frozen layers.
        seed: of new weights, batch order and dropout.
        config: how to train, with this stage's changes.
        branch: ``cascade``, or the control that it belongs to.
        words: the stage in words, where the frozen layers do not say it.
    """

    number: int
    frozen: tuple[Layer, ...]
    trained: tuple[Layer, ...]
    config: TrainingOptions
    seed: int
    source: str = ""
    reinitialise: bool = True
    random_top: bool = False
    reset: tuple[Layer, ...] = ()
    frozen_dropout: bool = True
    branch: str = CASCADE
    words: str = ""

    @property
    def name(self) -> str:
        """Folder of the stage."""
        if self.number == 0:
            return "full"
        return f"{'stage' if self.branch == CASCADE else self.branch}{self.number}"

    @property
    def title(self) -> str:
        """The stage in words."""
        if self.number == 0:
            return "full training"
        if self.words:
            return self.words
        if self.reset:
            return f"stage {self.number}: {_listed(self.reset)} started anew, all trained"
        if not self.frozen:
            return f"stage {self.number}: fine-tuning of all layers"
        return f"stage {self.number}: {_listed(self.frozen)} frozen"

    def keeps(self, layer: str) -> bool:
        """Whether a layer starts with the weights of the source model."""
        if any(each.name == layer for each in self.frozen):
            return not self.random_top
        return not self.reinitialise and all(each.name != layer for each in self.reset)


def _listed(layers: tuple[Layer, ...]) -> str:
    """Names, top layer first."""
    return ", ".join(layer.name for layer in reversed(layers))


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
        config: of the full training; its seed is the experiment's.
        stage_config: of the stages, before their changes; None for that of full
            training.

    Returns:
        Full training and the cascade stages, in order.

    Raises:
        ConfigError: for a cut that names no layer, cuts that overlap or are
            not in order, or a stage that would train nothing.
    """
    indices = _cut_indices(layers, cascade)
    stages = [StagePlan(0, (), tuple(layers), config, config.seed)]
    config = stage_config or config
    for number, index in enumerate(indices * cascade.repeats, start=1):
        below, above = layers[:index], layers[index:]
        if cascade.direction == "top-down":
            stage = _stage(number, above, below, cascade, config)
        elif cascade.direction == "reset":
            stage = _stage(number, [], layers, cascade, config, reinitialise=False)
            stage = replace(stage, reset=tuple(above))
        else:
            frozen, trained = layers[: index + 1], layers[index + 1 :]
            stage = _stage(number, frozen, trained, cascade, config)
        stages.append(stage)
    if cascade.finetune:
        last = _stage(len(stages), [], layers, cascade, config, reinitialise=False)
        stages.append(last)
    unknown = set(cascade.stages) - {str(stage.number) for stage in stages[1:]}
    if unknown:
        raise ConfigError(
            f"stages: no stage {', '.join(sorted(unknown))}; this plan has stages "
            f"1 to {len(stages) - 1}"
        )
    return stages


def _stage(
    number: int,
    frozen: list[Layer],
    trained: list[Layer],
    cascade: CascadeConfig,
    config: TrainingOptions,
    reinitialise: bool | None = None,
) -> StagePlan:
    changed = override(config, cascade.train, "cascade option 'train'")
    changed = override(
        changed, cascade.stages.get(str(number), {}), f"cascade option 'stages.{number}'"
    )
    if "seed" in cascade.stages.get(str(number), {}):
        seed = changed.seed
    else:  # of the cascade's seed, where 'train' has one
        seed = stage_seed(changed.seed, number)
    changed = override(changed, {"seed": seed}, "seed")
    if reinitialise is None:
        reinitialise = cascade.below == "reinitialise"
    return StagePlan(
        number,
        tuple(frozen),
        tuple(trained),
        changed,
        seed,
        source=(cascade.first_source or cascade.source) if number == 1 else cascade.source,
        reinitialise=reinitialise,
        random_top=cascade.top == "random" and bool(frozen),
        frozen_dropout=cascade.frozen_dropout,
    )


def _cut_indices(layers: list[Layer], cascade: CascadeConfig) -> list[int]:
    """Index of each cut's layer; upward for bottom-up, downward for all others."""
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
            raise ConfigError(f"cuts: a cut at '{name}' starts every layer anew: a new full training")
        raise ConfigError(f"cuts: a cut at '{name}' freezes every layer and trains nothing")
    return indices
