"""A linear map that is applied once per token in a loop."""

from __future__ import annotations

import torch

from cascade_asr.networks.fast.products import linear, multiply, weight_gradient
from cascade_asr.networks.fast.switch import is_fast


class SharedLinear:
    """Applies one weight in many steps, and computes the weight's gradient only once.

    Autograd would add a full weight gradient per step, which for a small batch
    costs more than everything else in the decoder. Here the steps store their
    inputs and gradients, and one matrix product sums them.

    Args:
        weight: (out, in). Under autocast it is cast once, here.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        device = weight.device.type
        if torch.is_autocast_enabled(device):
            weight = weight.to(torch.get_autocast_dtype(device))
        self._steps: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._collects = is_fast()
        self.weight = _Collect.apply(weight, self._steps) if self._collects else weight

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, in) to (B, out)."""
        inputs = inputs.to(self.weight.dtype)
        if not (self._collects and self.weight.requires_grad):
            return linear(inputs, self.weight)
        return _Step.apply(inputs, self.weight, self._steps)


class _Collect(torch.autograd.Function):
    """The weight itself; backward, which runs after all steps', sums their gradients."""

    @staticmethod
    def forward(context, weight: torch.Tensor, steps: list) -> torch.Tensor:
        context.steps = steps
        context.set_materialize_grads(False)
        return weight.view_as(weight)

    @staticmethod
    def backward(context, gradient: torch.Tensor | None) -> tuple[torch.Tensor | None, None]:
        if context.steps:
            inputs = torch.cat([step_inputs for step_inputs, _ in context.steps])
            outputs = torch.cat([step_gradient for _, step_gradient in context.steps])
            context.steps.clear()
            collected = weight_gradient(outputs, inputs)
            gradient = collected if gradient is None else gradient + collected
        return gradient, None


class _Step(torch.autograd.Function):
    """One application of the weight, which leaves the weight's gradient to `_Collect`."""

    @staticmethod
    def forward(context, inputs: torch.Tensor, weight: torch.Tensor, steps: list) -> torch.Tensor:
        context.steps = steps
        context.save_for_backward(inputs, weight)
        return multiply(inputs, weight)

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        inputs, weight = context.saved_tensors
        context.steps.append((inputs, gradient))
        return multiply(gradient, weight.t()), None, None
