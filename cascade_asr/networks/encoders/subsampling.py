"""ESPnet's input layers: convolutions that shorten the sequence, or a projection."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from cascade_asr.networks.fast.inference import PackedLinear
from cascade_asr.networks.fast.maps import convolve
from cascade_asr.networks.fast.products import linear
from cascade_asr.networks.masking import zero_padding


def embedded_lengths(embed: nn.Module | None, feature_lengths: torch.Tensor) -> torch.Tensor:
    """Number of frames that an input layer leaves of each utterance; 0 if it is too short.

    This is the number for an unpadded utterance. ESPnet's own masks also keep
    frames that have seen the padding.
    """
    lengths = feature_lengths
    for convolution in _convolutions(embed):
        lengths = (lengths - convolution.kernel_size[0]) // convolution.stride[0] + 1
        lengths = lengths.clamp(min=0)
    return lengths


def run_embed(
    embed: nn.Module | None, features: torch.Tensor, feature_lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Run an input layer over a padded batch.

    Args:
        embed: ESPnet's input layer, or None.
        features: (B, T, D).
        feature_lengths: (B,) int64 on the CPU.

    Returns:
        Sequence (B, T', H), positions (1, T' or 2T'-1, H) for relative attention
        or None, and lengths (B,) on the CPU.
    """
    lengths = embedded_lengths(embed, feature_lengths)
    size = max(1, int(lengths.max()))
    body, positional_encoding = _split(embed)
    if _convolutions(embed):
        sequence = _convolve(embed, body, features, size)[:, :size]
    else:
        # a convolution over positions, which may come first, must not see the padding
        sequence = body(zero_padding(features, lengths))[:, :size]
    if positional_encoding is None:
        return sequence, None, lengths
    # a convolutional encoding must not see the padding
    sequence = positional_encoding(zero_padding(sequence, lengths))
    positions = None
    if isinstance(sequence, tuple):
        sequence, positions = sequence
    return sequence, positions, lengths


def _convolutions(embed: nn.Module | None) -> list[nn.Module]:
    stages = getattr(embed, "conv", ())
    return [stage for stage in stages if isinstance(stage, (nn.Conv1d, nn.Conv2d))]


def _split(embed: nn.Module | None) -> tuple[nn.Module, nn.Module | None]:
    """What follows the convolutions, without and with the positional encoding."""
    if embed is None:
        return nn.Identity(), None
    if isinstance(embed, nn.Linear):
        return embed, None
    if not _convolutions(embed):
        return embed[:-1], embed[-1]
    if isinstance(embed.out, nn.Sequential):
        return embed.out[0], embed.out[1]
    return embed.out, embed.pos_enc


def _convolve(
    embed: nn.Module, projection: nn.Linear, features: torch.Tensor, size: int
) -> torch.Tensor:
    """(B, T, D) to (B, T', H), T' at least ``size``."""
    missing = _frames_needed(embed, size) - features.size(1)
    if missing > 0:  # every utterance is too short for the layer
        features = functional.pad(features, (0, 0, 0, missing))
    if isinstance(_convolutions(embed)[0], nn.Conv1d):
        return projection(embed.conv(features.transpose(1, 2)).transpose(1, 2))
    maps = features.unsqueeze(1)  # (B, 1, T, D)
    for stage in embed.conv:
        if isinstance(stage, nn.Conv2d):
            maps = convolve(stage, maps)
        else:
            maps = functional.relu_(maps)
    if isinstance(projection, PackedLinear):
        return projection.of_maps(maps)
    # the projection's weight is reordered for that layout, as it is smaller than the maps
    _, channels, _, width = maps.shape
    weight = projection.weight.view(-1, channels, width).transpose(1, 2).flatten(1)
    return linear(maps.permute(0, 2, 3, 1).flatten(2), weight, projection.bias)


def _frames_needed(embed: nn.Module, size: int) -> int:
    for convolution in reversed(_convolutions(embed)):
        size = (size - 1) * convolution.stride[0] + convolution.kernel_size[0]
    return size
