"""Collects the parameters, buffers and dropouts of one layer."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from cascade_asr.interfaces import Layer


def layer_of(
    network: nn.Module,
    name: str,
    owners: Iterable[str],
    *,
    dropouts: Iterable[str] = (),
    aliases: Iterable[str] = (),
) -> Layer:
    """Describe a layer by the submodules and parameters that it owns.

    Args:
        network: the encoder, decoder or model that the names are relative to.
        name: the layer's name.
        owners: dotted names of submodules or of single parameters. Dropout
            submodules of these are found by themselves.
        dropouts: dotted names of further dropout submodules, kept elsewhere.
        aliases: other names for the layer.

    Returns:
        The layer, its names in the order of ``network.named_parameters()``.
    """
    owners = tuple(owners)

    def owned(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(
            candidate
            for candidate in names
            if any(candidate == owner or candidate.startswith(owner + ".") for owner in owners)
        )

    inside = owned(
        module_name
        for module_name, module in network.named_modules()
        if isinstance(module, _DropoutNd)
    )
    return Layer(
        name=name,
        parameters=owned(parameter_name for parameter_name, _ in network.named_parameters()),
        buffers=owned(buffer_name for buffer_name, _ in network.named_buffers()),
        dropouts=inside + tuple(extra for extra in dropouts if extra not in inside),
        aliases=tuple(aliases),
    )


def merged(name: str, layers: Iterable[Layer]) -> Layer:
    """Several layers as one."""
    layers = list(layers)
    return Layer(
        name=name,
        parameters=tuple(each for layer in layers for each in layer.parameters),
        buffers=tuple(each for layer in layers for each in layer.buffers),
        dropouts=tuple(each for layer in layers for each in layer.dropouts),
    )
