"""Outputs of a network's layers, for whoever looks into it.

Most layers are submodules, whose outputs hooks see. Where a network applies a layer's
weights without calling a submodule, it names the output itself, with `observed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from cascade_asr.networks.layer import Layer

_open: list[dict[str, torch.Tensor]] = []


def observed(name: str, output: torch.Tensor) -> torch.Tensor:
    """The output as it is; kept under the layer's name where somebody observes."""
    for kept in _open:
        kept[name] = output.detach().clone()
    return output


@contextmanager
def observe(model: nn.Module, layers: Iterable[Layer]) -> Iterator[dict[str, torch.Tensor]]:
    """Collect the output of each layer of the calls inside.

    Args:
        model: that the layers' names are relative to.
        layers: the output of the submodule of each that ran last is kept.

    Yields:
        Outputs by layer name, of the last call; layers that ran unseen are not in it.
        What `observed` names is there by the name that the network gave.
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


def _owners(layer: Layer, modules: dict[str, nn.Module]) -> list[str]:
    """Submodules that own the layer's parameters and nothing else, the outer ones too."""
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
