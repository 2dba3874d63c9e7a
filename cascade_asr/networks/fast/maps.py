"""Convolutions over time and frequency on maps that end where their utterances end."""

from __future__ import annotations

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from cascade_asr.networks.fast.inference import PackedConv2d
from cascade_asr.networks.fast.packed import acts
from cascade_asr.networks.fast.products import multiply, weight_gradient
from cascade_asr.networks.fast.switch import is_fast
from cascade_asr.networks.masking import valid_positions


def convolve(convolution: nn.Conv2d, maps: torch.Tensor) -> torch.Tensor:
    """The convolution, computed in the fastest way (docs/performance.md).

    On a CPU that is a matrix product if there is one channel, as for features, or no
    padding, as in the input layers of self-attention encoders; the maps are then in
    channels-last memory layout.
    """
    if isinstance(convolution, PackedConv2d) and acts(convolution.weight, maps):
        return convolution.packed(maps)
    if not is_fast() or _keeps_layout(convolution, maps):
        return convolution(maps)
    if _is_product(convolution, maps):
        rows, columns = convolution.padding
        maps = functional.pad(maps, (columns, columns, rows, rows))
        return _Convolution.apply(
            maps, convolution.weight, convolution.bias, convolution.stride
        )
    weight = convolution.weight.contiguous(memory_format=torch.channels_last)
    return functional.conv2d(
        maps, weight, convolution.bias, convolution.stride, convolution.padding
    )


def _keeps_layout(convolution: nn.Conv2d, maps: torch.Tensor) -> bool:
    """Whether channels-last is slower: without AVX-512 its backward pass takes twice as long."""
    is_avx2 = torch.backends.cpu.get_cpu_capability() == "AVX2"
    return maps.device.type == "cpu" and is_avx2 and any(convolution.padding)


def _is_product(convolution: nn.Conv2d, maps: torch.Tensor) -> bool:
    return (
        maps.device.type == "cpu"
        and maps.dtype == convolution.weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and convolution.groups == 1
        and (convolution.in_channels == 1 or not any(convolution.padding))
        and convolution.padding_mode == "zeros"
        and set(convolution.dilation) == {1}
        and convolution.bias is not None
    )


class _Convolution(torch.autograd.Function):
    """A convolution over padded maps as one matrix product for each utterance.

    Only one utterance's patches are in memory at a time, forward and backward. Maps are
    in channels-last layout; the result is not a view, so that ReLU may overwrite it.
    """

    @staticmethod
    def forward(context, maps, weight, bias, stride) -> torch.Tensor:
        """(B, C, T, D), (O, C, K, L), (O,) and two steps to (B, O, T', D')."""
        maps = maps.permute(0, 2, 3, 1).contiguous()
        flat = _flat(weight)
        frames, width = _sizes(maps, weight, stride)
        output = torch.empty(
            (len(maps), len(weight), frames, width),
            dtype=maps.dtype,
            memory_format=torch.channels_last,
        )
        for utterance, result in zip(maps, output.permute(0, 2, 3, 1), strict=True):
            patches = _patches(utterance, weight, stride)
            result.copy_(multiply(patches, flat, bias).view_as(result))
        context.save_for_backward(maps, weight)
        context.stride = stride
        return output

    @staticmethod
    @once_differentiable
    def backward(context, gradient: torch.Tensor):
        """Sums over utterances in order, so that two runs give the same bits."""
        maps, weight = context.saved_tensors
        of_maps, of_weight, of_bias = context.needs_input_grad[:3]
        flat = _flat(weight)
        gradient = gradient.permute(0, 2, 3, 1).contiguous()
        maps_gradient = torch.zeros_like(maps) if of_maps else None
        flat_gradient = torch.zeros_like(flat) if of_weight else None
        for index, utterance in enumerate(gradient.flatten(1, 2)):  # (T' x D', O)
            if of_weight:
                patches = _patches(maps[index], weight, context.stride)
                flat_gradient += weight_gradient(utterance, patches)
            if of_maps:
                patches = multiply(utterance, flat.t())
                _add_patches(maps_gradient[index], patches, weight, context.stride)
        if of_weight:
            outputs, channels, *kernel = weight.shape
            flat_gradient = flat_gradient.view(outputs, *kernel, channels).permute(0, 3, 1, 2)
        bias_gradient = gradient.sum(dim=(0, 1, 2)) if of_bias else None
        if of_maps:
            maps_gradient = maps_gradient.permute(0, 3, 1, 2)
        return maps_gradient, flat_gradient, bias_gradient, None


def _flat(weight: torch.Tensor) -> torch.Tensor:
    """(O, C, K, L) to (O, K x L x C)."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _sizes(maps: torch.Tensor, weight: torch.Tensor, stride: tuple[int, int]) -> tuple[int, int]:
    """T' and D'."""
    frames = (maps.size(-3) - weight.size(2)) // stride[0] + 1
    return frames, (maps.size(-2) - weight.size(3)) // stride[1] + 1


def _patches(
    utterance: torch.Tensor, weight: torch.Tensor, stride: tuple[int, int]
) -> torch.Tensor:
    """What each output sees: (T, D, C) to (T' x D', K x L x C)."""
    frames, width = _sizes(utterance, weight, stride)
    channels, rows, columns = weight.shape[1:]
    by_frame, by_band, by_channel = utterance.stride()
    seen = utterance.as_strided(
        (frames, width, rows, columns, channels),
        (by_frame * stride[0], by_band * stride[1], by_frame, by_band, by_channel),
        utterance.storage_offset(),
    )
    return seen.reshape(frames * width, -1)


def _add_patches(
    utterance: torch.Tensor,
    patches: torch.Tensor,
    weight: torch.Tensor,
    stride: tuple[int, int],
) -> None:
    """Add to each position of (T, D, C) the values that belong to it in (T' x D', K x L x C)."""
    frames, width = _sizes(utterance, weight, stride)
    channels, rows, columns = weight.shape[1:]
    patches = patches.view(frames, width, rows, columns, channels)
    for row in range(rows):
        for column in range(columns):
            places = utterance[row :: stride[0], column :: stride[1]][:frames, :width]
            places += patches[:, :, row, column]


def valid_convolution(
    convolution: nn.Conv2d, maps: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """Convolution and `valid_relu`, (B, C, T, D) to (B, O, T, D)."""
    if isinstance(convolution, PackedConv2d) and acts(convolution.weight, maps):
        return _zero_beyond(convolution.packed(maps, "relu"), lengths)
    return valid_relu(convolve(convolution, maps), lengths)


def goes_alone(convolution: nn.Conv2d, features: torch.Tensor) -> bool:
    """Whether utterances pass through the convolutions one by one: no padding, smaller maps."""
    return isinstance(convolution, PackedConv2d) and acts(convolution.weight, features)


def _zero_beyond(maps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Zero (B, C, T, D) beyond lengths on the CPU, in place."""
    for utterance, length in zip(maps, lengths.tolist(), strict=True):
        if length < maps.size(2):
            utterance[:, length:].zero_()
    return maps


def valid_relu(maps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """ReLU, and zero beyond the lengths, so that no convolution sees the padding.

    Args:
        maps: (B, C, T, D), which may be overwritten.
        lengths: (B,) int64 on the CPU.
    """
    if is_fast():
        return _ValidReLU.apply(maps, lengths)
    valid = valid_positions(lengths, maps.size(2)).to(maps.device)
    return functional.relu(maps).masked_fill(~valid[:, None, :, None], 0.0)


class _ValidReLU(torch.autograd.Function):
    """`valid_relu` in place.

    One pass forward and one backward: the maps are the largest tensors of the
    whole model, and each pass over them costs.
    """

    @staticmethod
    def forward(context, maps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, C, T, D) and (B,) on the CPU to (B, C, T, D)."""
        _zero_beyond(maps.relu_(), lengths)
        context.mark_dirty(maps)
        context.save_for_backward(maps)
        return maps

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Zero where the output is zero."""
        (maps,) = context.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, maps, 0), None
