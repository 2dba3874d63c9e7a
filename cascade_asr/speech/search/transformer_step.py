"""The Transformer decoder, one token at a time for a grid of hypotheses."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from cascade_asr.networks import masking
from cascade_asr.networks.fast.packed import Product

FIRST_STEPS = 32  # initial room in the cache of keys and values; doubled when it is full


class TransformerSteps:
    """Weights of a decoder, prepared for all batches that are searched with it.

    Args:
        decoder: a `TransformerDecoder`, whose weights must not change.
    """

    def __init__(self, decoder: nn.Module) -> None:
        self.decoder = decoder
        self.blocks = [_Block(block) for block in decoder.decoders]

    def __call__(
        self, encoder_output: torch.Tensor, lengths: torch.Tensor, width: int
    ) -> TransformerStep:
        """Start searching a batch (see `TransformerStep`)."""
        return TransformerStep(self, encoder_output, lengths, width)


class TransformerStep:
    """Scores the next tokens from cached keys and values.

    Those of the encoder output are projected once and shared by all hypotheses for an
    utterance. So are those of the tokens: each step appends those of its K tokens, which
    are never moved, and a mask records which tokens belong to which hypothesis.

    Args:
        weights: weights of the decoder.
        encoder_output: (B, T', H).
        lengths: (B,) int64, at least 1.
        width: K, hypotheses per utterance.
    """

    def __init__(
        self,
        weights: TransformerSteps,
        encoder_output: torch.Tensor,
        lengths: torch.Tensor,
        width: int,
    ) -> None:
        self._of = weights
        self._width = width
        valid = masking.valid_positions(lengths.to(encoder_output.device), encoder_output.size(1))
        is_padded = bool((lengths < encoder_output.size(1)).any())
        self._memory_mask = valid[:, None, None, :] if is_padded else None
        self._memory = [block.memory(encoder_output) for block in weights.blocks]
        batch, device = len(lengths), encoder_output.device
        room = FIRST_STEPS * width
        # (keys, values) for each block, (B, heads, room, D') each
        self._cache = [
            tuple(each.new_empty(batch, each.size(1), room, each.size(3)) for each in pair)
            for pair in self._memory
        ]
        self._is_own = torch.zeros(batch, width, room, dtype=torch.bool, device=device)
        self._slots = torch.arange(width, device=device)
        self._position = 0

    def scores(self, tokens: torch.Tensor) -> torch.Tensor:
        """Last tokens (B x K,) to log-probabilities of the next ones (B x K, V)."""
        decoder, width = self._of.decoder, self._width
        end = (self._position + 1) * width
        if end > self._is_own.size(2):
            self._make_room()
        new = slice(end - width, end)
        self._is_own[:, self._slots, end - width + self._slots] = True
        mask = self._is_own[:, None, :, :end]
        hidden = self._embedded(tokens).unflatten(0, (-1, width))  # (B, K, H)
        for block, memory, cache in zip(self._of.blocks, self._memory, self._cache, strict=True):
            hidden = block(hidden, memory, self._memory_mask, cache, new, mask)
        if decoder.normalize_before:
            hidden = decoder.after_norm(hidden)
        self._position += 1
        return decoder.output_layer(hidden.flatten(0, 1)).float().log_softmax(dim=1)

    def select(self, rows: torch.Tensor) -> None:
        """Replace the hypotheses by those of ``rows`` (B x K,)."""
        self._is_own = self._is_own.flatten(0, 1)[rows].unflatten(0, (-1, self._width))

    def keep(self, utterances: torch.Tensor) -> None:
        """Drop all utterances except these (B',), whose hypotheses are already selected."""
        if self._memory_mask is not None:
            self._memory_mask = self._memory_mask[utterances]
        used = self._position * self._width
        self._memory = [
            tuple(_kept(each, utterances, each.size(2)) for each in pair) for pair in self._memory
        ]
        self._cache = [tuple(_kept(each, utterances, used) for each in pair) for pair in self._cache]

    def _make_room(self) -> None:
        self._cache = [
            tuple(torch.cat([each, torch.empty_like(each)], dim=2) for each in pair)
            for pair in self._cache
        ]
        self._is_own = torch.cat([self._is_own, torch.zeros_like(self._is_own)], dim=2)

    def _embedded(self, tokens: torch.Tensor) -> torch.Tensor:
        embedding, positions = self._of.decoder.embed
        embedded = embedding(tokens)
        positions.extend_pe(embedded.new_zeros(1, self._position + 1, 1))
        return embedded * positions.xscale + positions.pe[0, self._position].to(embedded)


def _kept(values: torch.Tensor, utterances: torch.Tensor, used: int) -> torch.Tensor:
    """Rows, in ascending order, of (B, heads, room, D') with ``used`` filled positions.

    On a CPU they are moved in place; usually the dropped ones are the last.
    """
    if not masking.is_on_host(values):
        return values[utterances]
    for place, row in enumerate(utterances.tolist()):
        if place != row:
            values[place, :, :used] = values[row, :, :used]
    return values[: len(utterances)]


class _Block:
    """One block; projections of the same input are one matrix product."""

    def __init__(self, block: nn.Module) -> None:
        self._block = block
        own, source = block.self_attn, block.src_attn
        self._own = _together(own.linear_q, own.linear_k, own.linear_v)
        self._memory = _together(source.linear_k, source.linear_v)
        inner = block.feed_forward.w_1
        self._inner = Product(inner.weight, inner.bias)
        self._inner_activation = "relu" if _is_relu(block.feed_forward.activation) else "none"

    def memory(self, encoder_output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (B, heads, T', D') of (B, T', H)."""
        attention = self._block.src_attn
        keys, values = _heads(attention, self._memory(encoder_output), 2)
        return attention.k_norm(keys).contiguous(), values.contiguous()

    def __call__(
        self,
        hidden: torch.Tensor,
        memory: tuple[torch.Tensor, torch.Tensor],
        memory_mask: torch.Tensor | None,
        cache: tuple[torch.Tensor, torch.Tensor],
        new: slice,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """(B, K, H) to the same; keys and values of these tokens are cached at ``new``."""
        block = self._block
        before = block.normalize_before
        query = block.norm1(hidden) if before else hidden
        attended = self._to_tokens(query, cache, new, mask)
        hidden = _joined(block, "concat_linear1", hidden, query, attended)
        hidden = hidden if before else block.norm1(hidden)
        query = block.norm2(hidden) if before else hidden
        attended = self._to_memory(query, memory, memory_mask)
        hidden = _joined(block, "concat_linear2", hidden, query, attended)
        hidden = hidden if before else block.norm2(hidden)
        inner = self._inner(block.norm3(hidden) if before else hidden, self._inner_activation)
        if self._inner_activation == "none":
            inner = block.feed_forward.activation(inner)
        hidden = hidden + block.feed_forward.w_2(inner)
        return hidden if before else block.norm3(hidden)

    def _to_tokens(
        self,
        query: torch.Tensor,
        cache: tuple[torch.Tensor, torch.Tensor],
        new: slice,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        attention = self._block.self_attn
        asked, keys, values = _heads(attention, self._own(query), 3)  # (B, heads, K, D') each
        cache[0][:, :, new] = attention.k_norm(keys)
        cache[1][:, :, new] = values
        keys, values = (each[:, :, : new.stop] for each in cache)
        return _attended(attention, attention.q_norm(asked), keys, values, mask)

    def _to_memory(
        self,
        query: torch.Tensor,
        memory: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Attend for all hypotheses of an utterance together, so that its keys are read once."""
        attention = self._block.src_attn
        (asked,) = _heads(attention, attention.linear_q(query), 1)
        return _attended(attention, attention.q_norm(asked), *memory, mask)


def _together(*linears: nn.Linear) -> Product:
    weight = torch.cat([each.weight for each in linears])
    return Product(weight, torch.cat([each.bias for each in linears]))


def _heads(attention: nn.Module, projected: torch.Tensor, number: int) -> tuple[torch.Tensor, ...]:
    """Split (B, K, number x H) into ``number`` tensors (B, heads, K, D')."""
    parts = projected.unflatten(2, (number, attention.h, attention.d_k))
    return parts.permute(2, 0, 3, 1, 4).unbind(0)


def _attended(attention, query, keys, values, mask) -> torch.Tensor:
    context = functional.scaled_dot_product_attention(query, keys, values, mask)
    return attention.linear_out(context.transpose(1, 2).flatten(2))


def _is_relu(activation: nn.Module) -> bool:
    return type(activation) is nn.ReLU


def _joined(
    block: nn.Module, linear: str, hidden: torch.Tensor, query: torch.Tensor, attended: torch.Tensor
) -> torch.Tensor:
    if block.concat_after:
        return hidden + getattr(block, linear)(torch.cat([query, attended], dim=2))
    return hidden + attended
