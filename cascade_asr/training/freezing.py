"""Take layers over from a trained model, freeze them, and prove that they did not change.

``requires_grad = False`` alone does not freeze a layer: BatchNorm statistics and
dropout stay active, and an optimizer that still holds a weight decays it. So three
things belong together: `freeze` before the optimizer is built (give it only what
`trainable_parameters` returns), `set_training_mode` whenever the model returns to
training, and `fingerprint` before and after.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from cascade_asr.errors import ConfigError, TrainingError, nearest
from cascade_asr.networks.layer import Layer


def find_layer(layers: list[Layer], name: str) -> int:
    """Index of the layer that a user calls ``name``.

    Raises:
        ConfigError: if there is none; it lists the layers that exist, top first.
    """
    for index, layer in enumerate(layers):
        if name == layer.name or name in layer.aliases:
            return index
    known = [known for layer in layers for known in (layer.name, *layer.aliases)]
    listing = ", ".join(
        layer.name + (f" (= {' + '.join(layer.aliases)})" if layer.aliases else "")
        for layer in reversed(layers)
    )
    raise ConfigError(f"no layer '{name}'{nearest(name, known)}; this model has: {listing}")


def freeze(model: nn.Module, layers: Iterable[Layer]) -> list[str]:
    """Exclude layers from training.

    Call this before building the optimizer: a gradient left over from an
    earlier step, or weight decay, would still move a frozen weight.

    Args:
        model: changed in place.
        layers: layers of this model.

    Returns:
        Names of the parameters now frozen, in model order.
    """
    names = {name for layer in layers for name in layer.parameters}
    frozen = []
    for name, parameter in model.named_parameters():
        if name in names:
            parameter.requires_grad_(False)
            parameter.grad = None
            frozen.append(name)
    assert len(frozen) == len(names), f"layers name unknown parameters: {names - set(frozen)}"
    return frozen


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that an optimizer may see."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def set_training_mode(model: nn.Module, frozen: Iterable[Layer], frozen_dropout: bool) -> None:
    """Put a partly frozen model into training mode.

    Modules without submodules that own a frozen buffer, such as normalisation with running
    statistics or a spectral norm, are put into evaluation mode, so that it stays; recurrent
    layers stay in training mode, because cuDNN cannot run their backward pass otherwise.

    Args:
        model: changed in place.
        frozen: its frozen layers.
        frozen_dropout: keep dropout inside frozen layers, which PyTorch's recurrent layers and
            multi-head attention have without a submodule for it.
    """
    model.train()
    modules = dict(model.named_modules())
    for layer in frozen:
        for buffer in layer.buffers:
            owner = modules[buffer.rpartition(".")[0]]
            if not isinstance(owner, nn.RNNBase) and not any(True for _ in owner.children()):
                owner.eval()
        if not frozen_dropout:
            for name in layer.dropouts:
                modules[name].eval()
            for name in layer.parameters:
                _turn_off_own_dropout(modules[name.rpartition(".")[0]])


def _turn_off_own_dropout(module: nn.Module) -> None:
    """Turn off dropout that is a number, not a submodule; see `set_training_mode` for modes."""
    if isinstance(module, nn.RNNBase):
        module.dropout = 0.0
    elif isinstance(module, nn.MultiheadAttention):
        module.eval()


def take_over(
    model: nn.Module, weights: Mapping[str, torch.Tensor], layers: Iterable[Layer]
) -> list[str]:
    """Give layers of a newly built model the weights and buffers of a trained one.

    Everything not in ``layers`` keeps its new weights: re-initialisation simply means
    that nothing is taken over.

    Args:
        model: changed in place.
        weights: state dict of the same architecture.
        layers: layers of this model.

    Returns:
        Names of the parameters and buffers that were taken over.
    """
    names = [name for layer in layers for name in (*layer.parameters, *layer.buffers)]
    target = _tensors(model)
    with torch.no_grad():
        for name in names:
            target[name].copy_(weights[name])
    return names


def fingerprint(model: nn.Module, layers: Iterable[Layer]) -> dict[str, str]:
    """SHA-256 of the bytes of every parameter and buffer of ``layers``, by name."""
    tensors = _tensors(model)
    names = [name for layer in layers for name in (*layer.parameters, *layer.buffers)]
    return {name: tensor_digest(tensors[name]) for name in names}


def tensor_digest(tensor: torch.Tensor) -> str:
    """SHA-256 of dtype, shape and bytes of a tensor, wherever it lives."""
    tensor = tensor.detach().cpu().contiguous()
    content = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    content.update(tensor.view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return content.hexdigest()


def check_buffers(model: nn.Module, before: Mapping[str, str]) -> None:
    """Fail after an update that has changed a frozen buffer, not only at the end of the stage.

    Args:
        model: the model after the update.
        before: fingerprints of its frozen buffers before.

    Raises:
        TrainingError: naming every buffer that differs.
    """
    buffers = dict(model.named_buffers())
    moved = [name for name, digest in before.items() if tensor_digest(buffers[name]) != digest]
    if moved:
        raise TrainingError(
            f"the first update changed buffers of frozen layers: {', '.join(moved)}; their module "
            "updates them in training mode although it has submodules: let it update them in a "
            "module of their own, which is then in evaluation mode"
        )


def check_unchanged(before: dict[str, str], after: dict[str, str]) -> None:
    """Fail if a frozen parameter or buffer has changed.

    Raises:
        TrainingError: naming every tensor that differs.
    """
    moved = [name for name in before if before[name] != after.get(name)]
    if moved:
        raise TrainingError(
            f"frozen tensors changed during training: {', '.join(moved)}; this is a bug, and the "
            "stage is not used"
        )


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
