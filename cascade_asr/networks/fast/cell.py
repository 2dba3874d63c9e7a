"""One step of an LSTM layer for many hypotheses, its gates in one product."""

from __future__ import annotations

import torch

from cascade_asr.networks.fast.packed import Product


class LstmCell:
    """Long short-term memory without gradients; PyTorch's ``nn.LSTMCell``.

    Args:
        weight_ih: (4H, I), with the gates in PyTorch's order: in, forget, cell, out.
        weight_hh: (4H, H).
        bias: (4H,), the sum of both of PyTorch's.
    """

    def __init__(
        self, weight_ih: torch.Tensor, weight_hh: torch.Tensor, bias: torch.Tensor
    ) -> None:
        self._size = weight_hh.size(1)
        weight = torch.cat([weight_ih, weight_hh], dim=1).detach()
        order = torch.arange(4, device=weight.device)[[0, 1, 3, 2]]  # sigmoid gates first
        self._gates = Product(
            weight.unflatten(0, (4, -1))[order].flatten(0, 1),
            bias.detach().unflatten(0, (4, -1))[order].flatten(),
        )

    def __call__(
        self, inputs: list[torch.Tensor], hidden: torch.Tensor, cell: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Parts of the input, (N, I) in total, and the state, (N, H) each, to the next state."""
        gates = self._gates(torch.cat([*inputs, hidden], dim=1))
        sigmoids = gates[:, : 3 * self._size].sigmoid_()
        enter, forget, leave = sigmoids.split(self._size, dim=1)
        candidate = gates[:, 3 * self._size :].tanh_()
        cell = torch.addcmul(forget * cell, enter, candidate)
        return leave * torch.tanh(cell), cell
