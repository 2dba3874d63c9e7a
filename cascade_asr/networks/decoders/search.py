"""The RNN decoder in beam search: all hypotheses of an utterance in one step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from cascade_asr.networks.decoders.attention import LocationAttention
from cascade_asr.networks.decoders.cells import GruStack, LstmStack


@dataclass
class HypothesisState:
    """Of one hypothesis, before its next token.

    Attributes:
        recurrent: (Z,) each; as `LstmStack.state` orders them.
        weights: (T'), of the attention to the last token.
    """

    recurrent: list[torch.Tensor]
    weights: torch.Tensor


class SearchStep:
    """Scores the next token of several hypotheses about one utterance.

    What depends on the utterance alone, the projected encoder output, is
    computed once, here.

    Args:
        decoder: an `RNNDecoder` with location attention.
        encoder_output: (T', H) of the utterance.
    """

    def __init__(self, decoder: nn.Module, encoder_output: torch.Tensor) -> None:
        batch = encoder_output.unsqueeze(0)
        lengths = torch.tensor([encoder_output.size(0)])
        self._decoder = decoder
        self._attention = LocationAttention(decoder.att_list[0], batch, lengths)
        self._cells = (LstmStack if decoder.dtype == "lstm" else GruStack)(decoder, batch)
        recurrent = [tensor[0] for tensor in self._cells.state]
        self.initial_state = HypothesisState(recurrent, self._attention.weights[0])

    def scores(
        self, tokens: torch.Tensor, states: list[HypothesisState]
    ) -> tuple[torch.Tensor, list[HypothesisState]]:
        """Last tokens (N,) int64 and states of N hypotheses to log-probabilities (N, V)."""
        decoder, attention, cells = self._decoder, self._attention, self._cells
        columns = zip(*(state.recurrent for state in states), strict=True)
        cells.state = [torch.stack(column) for column in columns]
        attention.weights = torch.stack([state.weights for state in states])
        context = attention.step(decoder.dropout_dec[0](cells.hidden[0]))
        output = cells.step(cells.prepare(decoder.embed(tokens)), context)
        if decoder.context_residual:
            output = torch.cat([output, context.to(output.dtype)], dim=1)
        scores = decoder.output(output).float().log_softmax(dim=1)
        after = [
            HypothesisState(list(recurrent), weights)
            for *recurrent, weights in zip(*cells.state, attention.weights, strict=True)
        ]
        return scores, after
