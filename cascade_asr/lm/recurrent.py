"""An LSTM layer with DropConnect on its recurrent weights, using the fused kernels."""

from __future__ import annotations

import torch
from torch import nn

from cascade_asr.lm.dropout import DropConnect
from cascade_asr.networks.fast.recurrent import run_lstm_layer

# (h, c), each (1, B, H)
LayerState = tuple[torch.Tensor, torch.Tensor]


class DropConnectLSTM(nn.LSTM):
    """One LSTM layer whose hidden-to-hidden weights are dropped, once per sequence.

    The parameters are those of a one-layer ``nn.LSTM``, including their names, and
    hold the weights before dropout. The dropped matrix is an argument of PyTorch's
    fused LSTM (oneDNN or cuDNN), so no parameter is ever replaced and gradients
    reach the raw weights through the mask.

    Args:
        input_size, hidden_size: D and H.
        weight_drop: probability with which a recurrent weight is dropped.
    """

    def __init__(self, input_size: int, hidden_size: int, weight_drop: float = 0.0) -> None:
        super().__init__(input_size, hidden_size)
        self.drop_connect = DropConnect(weight_drop)

    def forward(
        self, inputs: torch.Tensor, state: LayerState
    ) -> tuple[torch.Tensor, LayerState]:
        """(T, B, D) and the state before it to (T, B, H) and the state after it."""
        recurrent = self.drop_connect(self.weight_hh_l0)
        weights = [self.weight_ih_l0, recurrent, self.bias_ih_l0, self.bias_hh_l0]
        if recurrent is not self.weight_hh_l0 and inputs.is_cuda:
            weights = pack(*weights)
        return run_lstm_layer(inputs, state, weights, self.training)


def pack(*weights: torch.Tensor) -> list[torch.Tensor]:
    """Copy weights into one contiguous block of memory, as cuDNN requires.

    For one LSTM layer these are: input, recurrent, and both biases. PyTorch copies weights
    that are stored otherwise at every call, with a warning. Gradients pass through.
    """
    return list(_Pack.apply(*weights))


class _Pack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        block = weights[0].new_empty(sum(weight.numel() for weight in weights))
        packed, start = [], 0
        for weight in weights:
            part = block[start : start + weight.numel()].view_as(weight)
            part.copy_(weight)
            packed.append(part)
            start += weight.numel()
        return tuple(packed)

    @staticmethod
    def backward(ctx, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return gradients
