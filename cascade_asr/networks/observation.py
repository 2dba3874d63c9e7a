"""Outputs of a network's layers, for inspection.

Most layers are submodules, whose outputs hooks can see. Where a network applies a layer's
weights without calling a submodule, it names the output itself with `observed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from cascade_asr.networks.layer import Layer

_open: list[dict[str, torch.Tensor]] = []


def observed(name: str, output: torch.Tensor) -> torch.Tensor:
    """Return the output unchanged; during observation, keep it under the layer's name."""
    for kept in _open:
        kept[name] = output.detach().clone()
    return output


@contextmanager
def observe(model: nn.Module, layers: Iterable[Layer]) -> Iterator[dict[str, torch.Tensor]]:
    """Collect the output of each layer during calls inside.

    Args:
        model: the model that the layers' names are relative to.
        layers: for each of them, the output of its submodule that ran last is kept.

    Yields:
        Outputs of the last call by layer name, without layers that hooks did not see.
        Outputs named by `observed` have the name that the network gave.
    """
    kept: dict[str, torch.Tensor] = {}
    modules = dict(model.named_modules())
    hooks = [
        modules[owner].register_forward_hook(_keeper(kept, layer.name))
        for layer in layers
        for owner in dict.fromkeys((*_owners(layer, modules), *layer.dropouts))
    ]
    _open.append(kept)
    try:
        yield kept
    finally:
        _open.remove(kept)
        for hook in hooks:
            hook.remove()


@contextmanager
def order_of_calls(model: nn.Module, layers: Iterable[Layer]) -> Iterator[list[str]]:
    """Collect the names of layers in the order in which they are first called inside.

    Args:
        model: the model that the layers' names are relative to.
        layers: those without a submodule of their own are left out.
    """
    called: list[str] = []
    modules = dict(model.named_modules())

    def note(name: str):
        return lambda module, inputs: None if name in called else called.append(name)

    hooks = [
        modules[owner].register_forward_pre_hook(note(layer.name))
        for layer in layers
        for owner in _owners(layer, modules)
    ]
    try:
        yield called
    finally:
        for hook in hooks:
            hook.remove()


def _owners(layer: Layer, modules: dict[str, nn.Module]) -> list[str]:
    """Submodules that own parameters of the layer and no others, including outer ones."""
    own = set(layer.parameters)
    found = []
    for name, module in modules.items():
        inside = {f"{name}.{key}" for key, _ in module.named_parameters()} if name else set()
        if inside and inside <= own:
            found.append(name)
    return found


def _keeper(kept: dict[str, torch.Tensor], name: str):
    def keep(module: nn.Module, inputs: tuple, output: object) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, torch.Tensor):
            kept[name] = first.detach()

    return keep
