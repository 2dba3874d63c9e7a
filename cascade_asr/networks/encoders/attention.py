"""Self-attention over a padded batch, through PyTorch's fused kernels."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from cascade_asr.networks.encoders.padding import PaddedBatch
from cascade_asr.networks.espnet import espnet_module
from cascade_asr.networks.fast.shift import relative_shift
from cascade_asr.networks.fast.switch import is_fast

_attention = espnet_module("espnet.nets.pytorch_backend.transformer.attention")
_fastformer = espnet_module("espnet2.asr.layers.fastformer")


def self_attention(
    module: nn.Module,
    sequence: torch.Tensor,
    positions: torch.Tensor | None,
    batch: PaddedBatch,
) -> torch.Tensor:
    """Run one of ESPnet's self-attention modules with its own weights.

    Args:
        module: absolute, relative (old or new) or Fastformer attention.
        sequence: (B, T, D).
        positions: encoded positions for relative attention, (1, T or 2T-1, D).
        batch: its padding is never attended to.

    Returns:
        (B, T, D); values in the padding are undefined.
    """
    if isinstance(module, _fastformer.FastSelfAttention):
        with torch.autocast(sequence.device.type, enabled=False):  # it cannot handle bfloat16
            dtype = module.query.weight.dtype
            return module(sequence.to(dtype), batch.valid.unsqueeze(1))

    query, key, value = module.forward_qkv(sequence, sequence, sequence)  # (B, heads, T, D')
    bias = batch.key_mask
    if positions is not None:
        # the smaller tensor is scaled, not the scores
        asking = (query + module.pos_bias_v.unsqueeze(1)) / math.sqrt(module.d_k)
        bias = _position_scores(module, asking, positions, batch)
        query = query + module.pos_bias_u.unsqueeze(1)
        if batch.is_padded:
            bias = bias.masked_fill(~batch.key_mask, torch.finfo(bias.dtype).min)
    return attend(module, query, key, value, bias)


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    is_causal: bool = False,
) -> torch.Tensor:
    """Scaled dot-product attention with the module's dropout and output projection.

    Args:
        module: ESPnet's ``MultiHeadedAttention``.
        query: (B, heads, T, D'); key and value (B, heads, T', D').
        key: see query.
        value: see query.
        mask: bool, True at positions that may be attended to, or float, added to the scores.
        is_causal: attend only to positions up to the query's; requires no mask.

    Returns:
        (B, T, D).
    """
    dropout = module.dropout.p if module.dropout.training else 0.0
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.to(query.dtype)
    key, value = key.to(query.dtype), value.to(query.dtype)
    context = functional.scaled_dot_product_attention(
        query, key, value, mask, dropout_p=dropout, is_causal=is_causal
    )
    return module.linear_out(context.transpose(1, 2).flatten(2))


def _position_scores(
    module: nn.Module, query: torch.Tensor, positions: torch.Tensor, batch: PaddedBatch
) -> torch.Tensor:
    """Score of each query for each distance, (B, heads, T, T)."""
    encoded = module.linear_pos(positions).view(1, -1, module.h, module.d_k).transpose(1, 2)
    scores = torch.matmul(query.to(encoded.dtype), encoded.transpose(-2, -1))
    is_legacy = isinstance(module, _attention.LegacyRelPositionMultiHeadedAttention)
    if not is_legacy and not module.zero_triu and is_fast():
        return relative_shift(scores)
    if not (is_legacy and batch.is_padded):
        return module.rel_shift(scores)
    index, is_zero = batch.legacy_shift
    shifted = scores.flatten(2).gather(2, index.expand(-1, scores.size(1), -1))
    return shifted.view_as(scores).masked_fill(is_zero, 0.0)
