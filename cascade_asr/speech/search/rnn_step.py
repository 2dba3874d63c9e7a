"""The RNN decoder with location attention, one token at a time for a grid of hypotheses."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from cascade_asr.networks import masking
from cascade_asr.networks.decoders.attention import SCALING
from cascade_asr.networks.decoders.cells import GruStack
from cascade_asr.networks.fast.cell import LstmCell
from cascade_asr.networks.fast.packed import Convolution, Product

AT_ONCE = 400_000  # energies computed together on a CPU, so that they fit into its cache


class RNNSteps:
    """Weights of a decoder, prepared for all batches that are searched with it.

    The attention's tanh is computed as the logistic function of twice its argument,
    which is several times faster; the energies change only by a constant, to which
    the softmax is invariant.

    Args:
        decoder: an `RNNDecoder` with location attention, in evaluation mode, whose weights
            must not change.
    """

    def __init__(self, decoder: nn.Module) -> None:
        self.decoder = decoder
        attention = decoder.att_list[0]
        convolution = attention.loc_conv
        self.locate = Convolution(convolution.weight, None, padding=convolution.padding)
        self.located = _doubled(attention.mlp_att)
        self.encoded = _doubled(attention.mlp_enc)
        self.asked = _doubled(attention.mlp_dec)
        self.energy = 2 * SCALING * attention.gvec.weight[0].detach()  # (A,)
        self.cells = []
        if decoder.dtype == "lstm":
            self.cells = [
                LstmCell(cell.weight_ih, cell.weight_hh, cell.bias_ih + cell.bias_hh)
                for cell in decoder.decoder
            ]

    def __call__(
        self, encoder_output: torch.Tensor, lengths: torch.Tensor, width: int
    ) -> RNNStep:
        """Start searching a batch (see `RNNStep`)."""
        return RNNStep(self, encoder_output, lengths, width)


class RNNStep:
    """Scores the next tokens; what depends only on the utterance is computed once.

    Args:
        weights: weights of the decoder.
        encoder_output: (B, T', H).
        lengths: (B,) int64, at least 1.
        width: K, hypotheses per utterance.
    """

    def __init__(
        self, weights: RNNSteps, encoder_output: torch.Tensor, lengths: torch.Tensor, width: int
    ) -> None:
        self._of = weights
        self._width = width
        self._encoder_output = encoder_output
        self._lengths = lengths.tolist() if masking.is_on_host(encoder_output) else []
        self._projected = weights.encoded(encoder_output).unsqueeze(1)  # (B, 1, T', A)
        if self._lengths:
            self._regroup()
        valid = masking.valid_positions(lengths.to(encoder_output.device), encoder_output.size(1))
        self._padding = ~valid.unsqueeze(1)  # (B, 1, T')
        uniform = valid.to(encoder_output.dtype) / valid.sum(dim=1, keepdim=True)
        self._weights = uniform.repeat_interleave(width, dim=0)  # (B x K, T')
        stack = _LstmStack if weights.cells else GruStack
        self._cells = stack(weights if weights.cells else weights.decoder, self._weights)

    def scores(self, tokens: torch.Tensor) -> torch.Tensor:
        """Last tokens (B x K,) to log-probabilities of the next ones (B x K, V)."""
        decoder, cells = self._of.decoder, self._cells
        context = self._attend(cells.hidden[0])
        output = cells.step(cells.prepare(decoder.embed(tokens)), context)
        if decoder.context_residual:
            output = torch.cat([output, context.to(output.dtype)], dim=1)
        return decoder.output(output).float().log_softmax(dim=1)

    def select(self, rows: torch.Tensor) -> None:
        """Replace the hypotheses by those of ``rows`` (B x K,)."""
        self._cells.state = [tensor.index_select(0, rows) for tensor in self._cells.state]
        self._weights = self._weights.index_select(0, rows)

    def keep(self, utterances: torch.Tensor) -> None:
        """Drop all utterances except these (B',), whose hypotheses are already selected."""
        if self._lengths:
            self._lengths = [self._lengths[index] for index in utterances.tolist()]
            self._regroup()
        self._encoder_output = self._encoder_output[utterances]
        self._projected = self._projected[utterances]
        self._padding = self._padding[utterances]

    def _attend(self, query: torch.Tensor) -> torch.Tensor:
        """Decoder states (B x K, Z) to contexts (B x K, H); updates the attention weights."""
        asked = self._of.asked(query).unflatten(0, (-1, self._width)).unsqueeze(2)  # (B, K, 1, A)
        before = self._weights.unflatten(0, (-1, self._width))  # (B, K, T')
        if self._lengths:
            return self._attend_in_groups(asked, before)
        weights = self._attended(asked, before, self._projected, self._padding)
        self._weights = weights.flatten(0, 1)
        return torch.matmul(weights, self._encoder_output).flatten(0, 1)

    def _attend_in_groups(self, asked: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """`_attend` for a few utterances at a time, so that everything fits into the cache."""
        contexts, after = [], torch.zeros_like(before)
        for group, frames, is_padded in self._groups:
            weights = self._attended(
                asked[group],
                before[group, :, :frames],
                self._projected[group, :, :frames],
                self._padding[group, :, :frames] if is_padded else None,
            )
            after[group, :, :frames] = weights
            contexts.append(torch.matmul(weights, self._encoder_output[group, :frames]))
        self._weights = after.flatten(0, 1)
        return torch.cat(contexts).flatten(0, 1)

    def _regroup(self) -> None:
        """Decide which utterances to group, their longest length, and whether lengths differ."""
        a_frame = self._width * self._projected.size(3)
        starts, longest = [0], 0
        for row, length in enumerate(self._lengths):
            longest = max(longest, length)
            if row > starts[-1] and (row + 1 - starts[-1]) * longest * a_frame > AT_ONCE:
                starts.append(row)
                longest = length
        self._groups = []
        for start, end in pairwise([*starts, len(self._lengths)]):
            lengths = self._lengths[start:end]
            self._groups.append((slice(start, end), max(lengths), len(set(lengths)) > 1))

    def _attended(
        self,
        asked: torch.Tensor,
        before: torch.Tensor,
        projected: torch.Tensor,
        padding: torch.Tensor | None,
    ) -> torch.Tensor:
        """Attention weights (B, K, T') for a token from those of the previous one."""
        located = self._of.locate(before.flatten(0, 1)[:, None, None])  # (B x K, C, 1, T')
        energy = self._of.located(located.squeeze(2).transpose(1, 2))  # (B x K, T', A)
        energy = energy.unflatten(0, asked.shape[:2]).add_(projected).add_(asked)
        energy = torch.matmul(energy.sigmoid_(), self._of.energy)  # (B, K, T')
        if padding is not None:
            energy = energy.masked_fill(padding, -torch.inf)
        return torch.softmax(energy, dim=2)


class _LstmStack:
    """The decoder's LSTM layers; methods as in `GruStack`."""

    def __init__(self, weights: RNNSteps, like: torch.Tensor) -> None:
        self._cells = weights.cells
        self.hidden = [weights.decoder.zero_state(like) for _ in self._cells]
        self._memories = [weights.decoder.zero_state(like) for _ in self._cells]

    def prepare(self, embedded: torch.Tensor) -> torch.Tensor:
        """Return the embeddings unchanged."""
        return embedded

    def step(self, prepared: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Process one token: embedding (N, Z) and attention context (N, H) to top state (N, Z)."""
        inputs = [prepared, context]
        for index, cell in enumerate(self._cells):
            hidden, memory = cell(inputs, self.hidden[index], self._memories[index])
            self.hidden[index], self._memories[index] = hidden, memory
            inputs = [hidden]
        return self.hidden[-1]

    @property
    def state(self) -> list[torch.Tensor]:
        """Hidden vectors, then memory cells, (N, Z) each, bottom to top."""
        return [*self.hidden, *self._memories]

    @state.setter
    def state(self, tensors: list[torch.Tensor]) -> None:
        half = len(tensors) // 2
        self.hidden, self._memories = tensors[:half], tensors[half:]


def _doubled(linear: nn.Linear) -> Product:
    bias = None if linear.bias is None else 2 * linear.bias
    return Product(2 * linear.weight, bias)
