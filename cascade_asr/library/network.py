"""A user's module as the trainer and the cascade see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from cascade_asr.errors import ConfigError
from cascade_asr.library.data import ItemBatch
from cascade_asr.networks.layer import Layer, kept_buffers, layer_of, misplaced
from cascade_asr.training.protocols import Statistics, WithoutTrainingState

# from module, inputs and targets to a (B,) tensor for each metric, including "loss"
Measure = Callable[[nn.Module, Any, Any], Mapping[str, torch.Tensor]]


class MeasuredNetwork(nn.Module, WithoutTrainingState):
    """A module with its loss and metrics; a `cascade_asr.training.protocols.CascadeModel`.

    Args:
        network: the user's module.
        measure: called as ``measure(network, inputs, targets)``; returns a tensor (B,)
            for each metric. ``loss`` is what is minimised.
        metrics: names of what ``measure`` returns.
        layers: names of submodules (one layer each), or lists of such names, from
            input to output; None finds them with `find_layers`.

    Raises:
        ConfigError: if a name is not a submodule, or a parameter is in no layer or in two.
    """

    def __init__(
        self,
        network: nn.Module,
        measure: Measure,
        metrics: Sequence[str],
        layers: Sequence[str | Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self._measure = measure
        self._metrics = list(metrics)
        self._layers = find_layers(network) if layers is None else named_layers(network, layers)
        check_layers(network, self._layers)

    def forward(self, batch: ItemBatch) -> tuple[torch.Tensor, Statistics]:
        """The loss summed over the batch, and the sum of every metric."""
        values = self._measure(self.network, batch.inputs, batch.targets)
        if not isinstance(values, Mapping) or not all(
            isinstance(each, torch.Tensor) for each in values.values()
        ):
            raise ConfigError(
                "measure: expected a dict of tensors with one value per item, such as {'loss': …}; "
                f"found {_kinds(values)}"
            )
        for name, value in values.items():
            if value.shape != (len(batch),):
                raise ConfigError(
                    f"measure: '{name}' has shape {tuple(value.shape)}, expected one value for "
                    f"each of the {len(batch)} items (use reduction='none')"
                )
        if set(values) != set(self._metrics):
            raise ConfigError(
                f"measure gives {', '.join(sorted(values))}; expected {', '.join(self._metrics)} "
                "(loss and the names in metrics=)"
            )
        if self.training and torch.is_grad_enabled() and not values["loss"].requires_grad:
            raise ConfigError(
                "measure: 'loss' has no gradient: it does not depend on the network, or was computed "
                "from detached values"
            )
        sums = {name: (value.detach().sum(), float(len(batch))) for name, value in values.items()}
        return values["loss"].sum(), sums

    def layers(self) -> list[Layer]:
        """All layers, input to output; parameter names begin with ``network.``."""
        return [_inside(layer) for layer in self._layers]

    def metric_names(self, split: str) -> list[str]:
        """Names that are logged for ``train`` or ``valid``."""
        return list(self._metrics)


def _kinds(values: object) -> str:
    if isinstance(values, Mapping):
        return ", ".join(f"{name!r}: {type(each).__name__}" for name, each in values.items())
    return type(values).__name__


def _inside(layer: Layer) -> Layer:
    """The layer as the wrapper sees it; users see its original name."""
    prefixed = layer.prefixed("network")
    return Layer(
        layer.name, prefixed.parameters, prefixed.buffers, prefixed.dropouts, layer.aliases
    )


def find_layers(network: nn.Module) -> list[Layer]:
    """The layers of a module whose children are called in the order of their registration.

    A child with weights is a layer; ``nn.Sequential`` and ``nn.ModuleList`` are searched.
    Normalisation without matrices (BatchNorm, LayerNorm, …) and dropout belong to the
    layer before them.

    Raises:
        ConfigError: if the module has no child with weights.
    """
    groups: list[list[str]] = []
    dropouts: list[list[str]] = []
    for name, child in _children(network, ""):
        has_weights = any(True for _ in child.parameters())
        if has_weights and (not groups or _has_matrix(child)):
            groups.append([name])
            dropouts.append([])
        elif has_weights or any(True for _ in child.buffers()):
            if groups:
                groups[-1].append(name)
        elif isinstance(child, _DropoutNd) and groups:
            dropouts[-1].append(name)
    if not groups:
        raise ConfigError("the network has no submodule with weights; name its layers with layers=")
    check_nothing_tied(network, groups)
    return [
        layer_of(network, owners[0], owners, dropouts=extra)
        for owners, extra in zip(groups, dropouts, strict=True)
    ]


def _children(module: nn.Module, prefix: str) -> list[tuple[str, nn.Module]]:
    found = []
    for name, child in module.named_children():
        if isinstance(child, (nn.Sequential, nn.ModuleList)):
            found += _children(child, f"{prefix}{name}.")
        else:
            found.append((prefix + name, child))
    return found


def _has_matrix(module: nn.Module) -> bool:
    return any(parameter.dim() > 1 for parameter in module.parameters())


def named_layers(network: nn.Module, names: Sequence[str | Sequence[str]]) -> list[Layer]:
    """Layers of the submodules (or single parameters) that a user names.

    Raises:
        ConfigError: for a name that is neither; it lists the existing submodules.
    """
    modules = {name for name, _ in network.named_modules() if name}
    known = modules | {name for name, _ in network.named_parameters()}
    groups = [[entry] if isinstance(entry, str) else list(entry) for entry in names]
    for owner in (each for owners in groups for each in owners):
        if owner not in known:
            raise ConfigError(
                f"layers: no submodule '{owner}'; there are: {', '.join(sorted(modules))}"
            )
    check_nothing_tied(network, groups)
    return [layer_of(network, owners[0], owners) for owners in groups]


def check_nothing_tied(network: nn.Module, groups: Sequence[Sequence[str]]) -> None:
    """Require that no two layers share a tensor: one could not be frozen without the other.

    Args:
        network: the user's module.
        groups: for each layer, the submodules and parameters that it owns.

    Raises:
        ConfigError: naming the tensor and the layers.
    """
    names: dict[int, list[str]] = {}
    for kind in (network.named_parameters, network.named_buffers):
        for name, tensor in kind(remove_duplicate=False):
            names.setdefault(id(tensor), []).append(name)
    for same in names.values():
        layers = [
            owners[0]
            for owners in groups
            if any(f"{name}.".startswith(f"{owner}.") for owner in owners for name in same)
        ]
        if len(same) > 1 and len(layers) > 1:
            raise ConfigError(
                f"layers: {' and '.join(same)} are one tensor in the layers {' and '.join(layers)}, "
                "which can then not be frozen one by one; untie them in build, or put both into one "
                "layer with layers="
            )


def check_layers(network: nn.Module, layers: Sequence[Layer]) -> None:
    """Require each parameter and each buffer to be in exactly one layer.

    Raises:
        ConfigError: naming those that are in none or in several.
    """
    names = [name for name, _ in network.named_parameters()]
    names += kept_buffers(network)
    missing, twice = misplaced(names, layers)
    if missing:
        raise ConfigError(f"layers: {', '.join(missing)} in no layer; add what owns them")
    if twice:
        raise ConfigError(f"layers: {', '.join(twice)} in more than one layer")
