"""The Transformer decoder, one token of a grid of hypotheses at a time."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from cascade_asr.networks.masking import valid_positions


class TransformerStep:
    """Scores the next tokens from cached keys and values.

    Those of the encoder output are projected once and shared by all hypotheses
    about an utterance; those of the tokens grow by one per step and follow their
    hypotheses.

    Args:
        decoder: a `TransformerDecoder`.
        encoder_output: (B, T', H).
        lengths: (B,) int64, at least 1.
        width: K, hypotheses an utterance.
    """

    def __init__(
        self, decoder: nn.Module, encoder_output: torch.Tensor, lengths: torch.Tensor, width: int
    ) -> None:
        self._decoder = decoder
        self._width = width
        valid = valid_positions(lengths.to(encoder_output.device), encoder_output.size(1))
        self._mask = valid[:, None, None, :]
        self._memory = [
            block.src_attn.forward_qkv(encoder_output, encoder_output, encoder_output)[1:]
            for block in decoder.decoders
        ]  # (keys, values) a block, each (B, heads, T', D')
        self._tokens: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * len(self._memory)
        self._position = 0

    def scores(self, tokens: torch.Tensor) -> torch.Tensor:
        """Last tokens (B x K,) to log-probabilities of the next ones (B x K, V)."""
        decoder = self._decoder
        hidden = self._embedded(tokens)  # (B x K, 1, H)
        for index, block in enumerate(decoder.decoders):
            hidden = self._through(index, block, hidden)
        if decoder.normalize_before:
            hidden = decoder.after_norm(hidden)
        self._position += 1
        return decoder.output_layer(hidden.squeeze(1)).float().log_softmax(dim=1)

    def select(self, rows: torch.Tensor) -> None:
        """Hypotheses become those of ``rows`` (B x K,)."""
        self._tokens = [(keys[rows], values[rows]) for keys, values in self._tokens]

    def keep(self, utterances: torch.Tensor) -> None:
        """Forget all utterances but these (B',); their hypotheses are selected before."""
        self._mask = self._mask[utterances]
        self._memory = [(keys[utterances], values[utterances]) for keys, values in self._memory]

    def _embedded(self, tokens: torch.Tensor) -> torch.Tensor:
        embedding, positions = self._decoder.embed
        embedded = embedding(tokens).unsqueeze(1)
        positions.extend_pe(embedded.new_zeros(1, self._position + 1, 1))
        encoded = positions.pe[:, self._position : self._position + 1]
        return embedded * positions.xscale + encoded.to(embedded)

    def _through(self, index: int, block: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """One block; its keys and values of this token join the cache."""
        before = block.normalize_before
        query = block.norm1(hidden) if before else hidden
        hidden = _joined(block, "concat_linear1", hidden, query, self._to_tokens(index, block, query))
        hidden = hidden if before else block.norm1(hidden)
        query = block.norm2(hidden) if before else hidden
        hidden = _joined(block, "concat_linear2", hidden, query, self._to_memory(index, block, query))
        hidden = hidden if before else block.norm2(hidden)
        inner = block.norm3(hidden) if before else hidden
        hidden = hidden + block.feed_forward(inner)
        return hidden if before else block.norm3(hidden)

    def _to_tokens(self, index: int, block: nn.Module, query: torch.Tensor) -> torch.Tensor:
        query, keys, values = block.self_attn.forward_qkv(query, query, query)
        if self._tokens[index] is not None:
            keys = torch.cat([self._tokens[index][0], keys], dim=2)
            values = torch.cat([self._tokens[index][1], values], dim=2)
        self._tokens[index] = (keys, values)
        context = functional.scaled_dot_product_attention(query, keys, values)
        return block.self_attn.linear_out(context.transpose(1, 2).flatten(2))

    def _to_memory(self, index: int, block: nn.Module, query: torch.Tensor) -> torch.Tensor:
        """Hypotheses about one utterance ask together, so that its keys are read once."""
        attention = block.src_attn
        grid = query.view(-1, self._width, query.size(2))  # (B, K, H)
        asked = _queries(attention, grid)
        keys, values = self._memory[index]
        context = functional.scaled_dot_product_attention(asked, keys, values, self._mask)
        attended = attention.linear_out(context.transpose(1, 2).flatten(2))
        return attended.view(query.shape)


def _queries(attention: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    """(B, K, H) to the queries alone of ESPnet's attention, (B, heads, K, D')."""
    queries = attention.linear_q(hidden).unflatten(2, (attention.h, attention.d_k)).transpose(1, 2)
    return attention.q_norm(queries) if hasattr(attention, "q_norm") else queries


def _joined(
    block: nn.Module, linear: str, hidden: torch.Tensor, query: torch.Tensor, attended: torch.Tensor
) -> torch.Tensor:
    if block.concat_after:
        return hidden + getattr(block, linear)(torch.cat([query, attended], dim=2))
    return hidden + attended
