"""The blocks of Transformer, Conformer and E-Branchformer, independent of padding.

Each function runs one of ESPnet's blocks with the block's own submodules, in
ESPnet's order; padded positions are zeroed before every convolution over time and
left out of batch statistics.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from cascade_asr.networks.encoders.attention import self_attention
from cascade_asr.networks.encoders.padding import PaddedBatch
from cascade_asr.networks.fast.dropout import activate, activation_and_dropout, dropout
from cascade_asr.networks.fast.inference import PackedConv1d
from cascade_asr.networks.fast.products import linear


def transformer_block(
    block: nn.Module,
    sequence: torch.Tensor,
    positions: torch.Tensor | None,
    batch: PaddedBatch,
    branch_scale: float = 1.0,
) -> torch.Tensor:
    """Self-attention, then feed-forward (Vaswani et al. 2017).

    Args:
        block: ESPnet's ``transformer.encoder_layer.EncoderLayer``.
        sequence: (B, T, D).
        positions: encoded positions for relative attention, else None.
        batch: lengths of the batch.
        branch_scale: factor of each residual branch (stochastic depth).
    """
    sequence = _attention_branch(block, block.norm1, sequence, positions, batch, branch_scale)

    def feed(inner: torch.Tensor) -> torch.Tensor:
        return feed_forward(block.feed_forward, inner, batch)

    return _residual(block, block.norm2, sequence, feed, branch_scale)


def conformer_block(
    block: nn.Module,
    sequence: torch.Tensor,
    positions: torch.Tensor | None,
    batch: PaddedBatch,
    branch_scale: float = 1.0,
) -> torch.Tensor:
    """Half feed-forward, self-attention, convolution, half feed-forward (Gulati et al. 2020).

    Args as in `transformer_block`; ``block`` is ESPnet's
    ``conformer.encoder_layer.EncoderLayer``, whose macaron feed-forward and
    convolution are optional.
    """
    feed_scale = branch_scale * block.ff_scale
    if block.feed_forward_macaron is not None:
        sequence = _residual(
            block,
            block.norm_ff_macaron,
            sequence,
            lambda inner: feed_forward(block.feed_forward_macaron, inner, batch),
            feed_scale,
        )
    sequence = _attention_branch(block, block.norm_mha, sequence, positions, batch, branch_scale)
    if block.conv_module is not None:
        sequence = _residual(
            block,
            block.norm_conv,
            sequence,
            lambda inner: convolution_module(block.conv_module, inner, batch),
            branch_scale,
        )
    sequence = _residual(
        block,
        block.norm_ff,
        sequence,
        lambda inner: feed_forward(block.feed_forward, inner, batch),
        feed_scale,
    )
    return sequence if block.conv_module is None else block.norm_final(sequence)


def e_branchformer_block(
    block: nn.Module,
    sequence: torch.Tensor,
    positions: torch.Tensor | None,
    batch: PaddedBatch,
    branch_scale: float = 1.0,
) -> torch.Tensor:
    """Self-attention parallel to a convolutional MLP, merged by a convolution (Kim et al. 2022).

    Args as in `transformer_block`; ``block`` is ESPnet's
    ``EBranchformerEncoderLayer``.
    """
    if block.feed_forward_macaron is not None:
        inner = feed_forward(block.feed_forward_macaron, block.norm_ff_macaron(sequence), batch)
        sequence = torch.add(
            sequence, dropout(block.dropout, inner), alpha=branch_scale * block.ff_scale
        )

    attended = self_attention(block.attn, block.norm_mha(sequence), positions, batch)
    convolved = _convolutional_mlp(block.cgmlp, block.norm_mlp(sequence), batch)
    branches = [dropout(block.dropout, attended), dropout(block.dropout, convolved)]
    both = torch.cat(branches, dim=2)  # (B, T, 2D)
    both = both + convolve_over_time(block.depthwise_conv_fusion, batch.zero(both))
    merged = dropout(block.dropout, block.merge_proj(both))
    sequence = torch.add(sequence, merged, alpha=branch_scale)

    if block.feed_forward is not None:
        inner = feed_forward(block.feed_forward, block.norm_ff(sequence), batch)
        sequence = torch.add(
            sequence, dropout(block.dropout, inner), alpha=branch_scale * block.ff_scale
        )
    return block.norm_final(sequence)


def _residual(block, norm, sequence, function, scale: float) -> torch.Tensor:
    """``sequence + scale x dropout(function(...))``, normalised before or after."""
    inner = function(norm(sequence) if block.normalize_before else sequence)
    sequence = torch.add(sequence, dropout(block.dropout, inner), alpha=scale)
    return sequence if block.normalize_before else norm(sequence)


def _attention_branch(block, norm, sequence, positions, batch, scale: float) -> torch.Tensor:
    if not block.concat_after:

        def attention(inner: torch.Tensor) -> torch.Tensor:
            return self_attention(block.self_attn, inner, positions, batch)

        return _residual(block, norm, sequence, attention, scale)
    inner = norm(sequence) if block.normalize_before else sequence
    attended = self_attention(block.self_attn, inner, positions, batch)
    both = torch.cat([inner, attended], dim=2)
    sequence = sequence + scale * block.concat_linear(both)
    return sequence if block.normalize_before else norm(sequence)


def feed_forward(module: nn.Module, sequence: torch.Tensor, batch: PaddedBatch) -> torch.Tensor:
    """Positionwise feed-forward; two of ESPnet's three kinds convolve over time."""
    if not isinstance(module.w_1, nn.Conv1d):
        hidden = activation_and_dropout(module.activation, module.dropout, module.w_1(sequence))
        return module.w_2(hidden)
    hidden = torch.relu(convolve_over_time(module.w_1, batch.zero(sequence)))
    hidden = dropout(module.dropout, hidden)
    if isinstance(module.w_2, nn.Conv1d):
        return convolve_over_time(module.w_2, batch.zero(hidden))
    return module.w_2(hidden)


def convolution_module(
    module: nn.Module, sequence: torch.Tensor, batch: PaddedBatch
) -> torch.Tensor:
    """Conformer's convolution module on (B, T, D)."""
    sequence = functional.glu(_pointwise(module.pointwise_conv1, sequence), dim=2)
    sequence = convolve_over_time(module.depthwise_conv, batch.zero(sequence))
    sequence = activate(module.activation, batch.batch_norm(module.norm, sequence))
    return _pointwise(module.pointwise_conv2, sequence)


def _convolutional_mlp(
    module: nn.Module, sequence: torch.Tensor, batch: PaddedBatch
) -> torch.Tensor:
    gating = module.csgu
    content, gate = module.channel_proj1(sequence).chunk(2, dim=2)
    gate = convolve_over_time(gating.conv, batch.zero(gating.norm(gate)))
    if gating.linear is not None:
        gate = gating.linear(gate)
    return module.channel_proj2(dropout(gating.dropout, content * gating.act(gate)))


def convolve_over_time(convolution: nn.Conv1d, sequence: torch.Tensor) -> torch.Tensor:
    """A Conv1d over (B, T, D)."""
    return convolution(sequence.transpose(1, 2)).transpose(1, 2)


def _pointwise(convolution: nn.Conv1d, sequence: torch.Tensor) -> torch.Tensor:
    """A Conv1d of width 1, computed as a matrix product."""
    if isinstance(convolution, PackedConv1d):
        return convolution.of_frames(sequence)
    return linear(sequence, convolution.weight.squeeze(2), convolution.bias)
