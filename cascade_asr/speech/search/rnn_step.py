"""The RNN decoder with location attention, one token of a grid of hypotheses at a time."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from cascade_asr.networks.decoders.attention import SCALING
from cascade_asr.networks.decoders.cells import GruStack, LstmStack
from cascade_asr.networks.masking import valid_positions


class RNNStep:
    """Scores the next tokens; what depends on the utterance alone is computed once.

    Args:
        decoder: an `RNNDecoder` with location attention.
        encoder_output: (B, T', H).
        lengths: (B,) int64, at least 1.
        width: K, hypotheses an utterance.
    """

    def __init__(
        self, decoder: nn.Module, encoder_output: torch.Tensor, lengths: torch.Tensor, width: int
    ) -> None:
        self._decoder = decoder
        self._attention = decoder.att_list[0]
        self._width = width
        self._encoder_output = encoder_output
        self._projected = self._attention.mlp_enc(encoder_output).unsqueeze(1)  # (B, 1, T', A)
        valid = valid_positions(lengths.to(encoder_output.device), encoder_output.size(1))
        self._padding = ~valid.unsqueeze(1)  # (B, 1, T')
        uniform = valid.to(encoder_output.dtype) / valid.sum(dim=1, keepdim=True)
        self._weights = uniform.repeat_interleave(width, dim=0)  # (B x K, T')
        stack = LstmStack if decoder.dtype == "lstm" else GruStack
        self._cells = stack(decoder, self._weights)

    def scores(self, tokens: torch.Tensor) -> torch.Tensor:
        """Last tokens (B x K,) to log-probabilities of the next ones (B x K, V)."""
        decoder, cells = self._decoder, self._cells
        context = self._attend(decoder.dropout_dec[0](cells.hidden[0]))
        output = cells.step(cells.prepare(decoder.embed(tokens)), context)
        if decoder.context_residual:
            output = torch.cat([output, context.to(output.dtype)], dim=1)
        return decoder.output(output).float().log_softmax(dim=1)

    def select(self, rows: torch.Tensor) -> None:
        """Hypotheses become those of ``rows`` (B x K,)."""
        self._cells.state = [tensor[rows] for tensor in self._cells.state]
        self._weights = self._weights[rows]

    def keep(self, utterances: torch.Tensor) -> None:
        """Forget all utterances but these (B',); their hypotheses are selected before."""
        self._encoder_output = self._encoder_output[utterances]
        self._projected = self._projected[utterances]
        self._padding = self._padding[utterances]

    def _attend(self, query: torch.Tensor) -> torch.Tensor:
        """(B x K, Z) decoder states to (B x K, H) contexts; updates the weights."""
        attention = self._attention
        convolution = attention.loc_conv
        located = functional.conv1d(
            self._weights.unsqueeze(1), convolution.weight.squeeze(2), padding=convolution.padding[1]
        ).transpose(1, 2)
        energy = attention.mlp_att(located).unflatten(0, (-1, self._width))  # (B, K, T', A)
        asked = attention.mlp_dec(query).unflatten(0, (-1, self._width)).unsqueeze(2)
        energy = attention.gvec((energy + self._projected + asked).tanh_()).squeeze(3)
        weights = torch.softmax(SCALING * energy.masked_fill(self._padding, -torch.inf), dim=2)
        self._weights = weights.flatten(0, 1)
        return torch.matmul(weights, self._encoder_output).flatten(0, 1)
