"""The recurrent part of the RNN decoder, one token at a time."""

from __future__ import annotations

import torch
from torch import nn

from cascade_asr.networks.fast.products import linear
from cascade_asr.networks.fast.shared_linear import SharedLinear


class LstmStack:
    """The decoder's LSTM layers, with weights prepared for a loop over tokens.

    What does not depend on the previous step, the embedding's share of the gates,
    is computed for all tokens at once.

    Args:
        decoder: ESPnet's ``RNNDecoder`` with LSTM cells.
        like: any tensor of the batch, (B, ...), for size and device.
    """

    def __init__(self, decoder: nn.Module, like: torch.Tensor) -> None:
        self._dropouts = decoder.dropout_dec
        self._bottom = decoder.decoder[0]
        self._width = decoder.dunits
        self._recurrent = [
            SharedLinear(torch.cat([cell.weight_ih[:, self._width * (index == 0) :],
                                    cell.weight_hh], dim=1))
            for index, cell in enumerate(decoder.decoder)
        ]  # fmt: skip
        self._biases = [cell.bias_ih + cell.bias_hh for cell in decoder.decoder]
        self.hidden = [decoder.zero_state(like) for _ in decoder.decoder]
        self._cells = [decoder.zero_state(like) for _ in decoder.decoder]

    def prepare(self, embedded: torch.Tensor) -> torch.Tensor:
        """Embeddings (..., Z) to their share of the bottom layer's gates (..., 4Z)."""
        weight = self._bottom.weight_ih[:, : self._width]
        return linear(embedded, weight, self._biases[0])

    def step(self, prepared: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """One token: prepared gates (B, 4Z) and attention context (B, H) to top state (B, Z)."""
        inputs, share = context, prepared
        for index, recurrent in enumerate(self._recurrent):
            both = torch.cat([inputs, self.hidden[index].to(inputs.dtype)], dim=1)
            hidden, cell = _lstm_cell(recurrent(both), share, self._cells[index])
            self.hidden[index], self._cells[index] = hidden, cell
            if index + 1 < len(self._recurrent):
                inputs, share = self._dropouts[index](hidden), self._biases[index + 1]
        return self.hidden[-1]

    @property
    def state(self) -> list[torch.Tensor]:
        """Hidden vectors, then cells, (B, Z) each, bottom to top."""
        return [*self.hidden, *self._cells]

    @state.setter
    def state(self, tensors: list[torch.Tensor]) -> None:
        half = len(tensors) // 2
        self.hidden, self._cells = tensors[:half], tensors[half:]


def _lstm_cell(
    recurrent: torch.Tensor, share: torch.Tensor, cell: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """New state and cell from the two shares of the gates."""
    gates = (recurrent + share).to(cell.dtype)
    enter, forget, candidate, leave = gates.chunk(4, dim=1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
    return torch.sigmoid(leave) * torch.tanh(cell), cell


class GruStack:
    """The decoder's GRU layers, through PyTorch's cells; methods as in `LstmStack`."""

    def __init__(self, decoder: nn.Module, like: torch.Tensor) -> None:
        self._decoder = decoder
        self.hidden = [decoder.zero_state(like) for _ in decoder.decoder]

    def prepare(self, embedded: torch.Tensor) -> torch.Tensor:
        """Return the embeddings unchanged."""
        return embedded

    def step(self, prepared: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """One token: embedding (B, Z) and attention context (B, H) to top state (B, Z)."""
        inputs = torch.cat([prepared, context.to(prepared.dtype)], dim=1)
        self.hidden, _ = self._decoder.rnn_forward(
            inputs, list(self.hidden), [], self.hidden, []
        )
        return self.hidden[-1]

    @property
    def state(self) -> list[torch.Tensor]:
        """Hidden vectors (B, Z), bottom to top."""
        return list(self.hidden)

    @state.setter
    def state(self, tensors: list[torch.Tensor]) -> None:
        self.hidden = tensors
