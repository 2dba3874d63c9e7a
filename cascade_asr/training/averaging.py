"""NT-ASGD: SGD that begins to average its weights when it stops improving.

Merity et al. 2018, algorithm 1: averaging starts when the dev metric is worse
than the best of all checks except the last n (the non-monotone interval). From
then on evaluation uses the mean of the weights of all updates since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn
from torch.optim import Optimizer

from cascade_asr.errors import ConfigError
from cascade_asr.training.state import signed


class NTASGD(Optimizer):
    """SGD with weight decay, and averaging from a point that the dev metric triggers.

    With T the last update before averaging and K the last one, the averaged
    weights are the mean of those after updates T+1 ... K; this is
    ``torch.optim.ASGD`` with ``t0`` = T and ``lambd`` = 0, except that PyTorch's
    leaves out the first of them and uses the learning rate of the previous
    update. The whole state is in ``state_dict``, so a resumed training is
    identical bit for bit.

    Args:
        params: trainable parameters.
        lr: learning rate.
        weight_decay: L2 penalty.
        nonmonotone_interval: n, in epochs (dev checks).
        average_from_start: average from the first update on, as the paper's
            fine-tuning does.

    Raises:
        ConfigError: for a number that is out of range.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 30.0,
        weight_decay: float = 0.0,
        nonmonotone_interval: int = 5,
        average_from_start: bool = False,
    ) -> None:
        if lr < 0 or weight_decay < 0 or nonmonotone_interval < 1:
            raise ConfigError(
                f"nt_asgd: lr is {lr} and weight_decay {weight_decay}, expected 0 or more; "
                f"nonmonotone_interval is {nonmonotone_interval}, expected 1 or more"
            )
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "nonmonotone_interval": nonmonotone_interval,
            "averaging": average_from_start,
            "averaged_updates": 0,
            "checks": [],
        }
        super().__init__(params, defaults)
        for group in self.param_groups:  # the defaults' list would be shared by all groups
            group["checks"] = list(group["checks"])
        self._training_weights: list[torch.Tensor] | None = None

    @property
    def averaging(self) -> bool:
        """Whether averaging has begun."""
        return self.param_groups[0]["averaging"]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One SGD update; while averaging, the mean includes the new weights."""
        assert self._training_weights is None, "an update of averaged weights"
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            gradients = [weight.grad for weight in weights]
            if group["weight_decay"]:
                gradients = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
            torch._foreach_add_(weights, gradients, alpha=-group["lr"])
            if group["averaging"]:
                group["averaged_updates"] += 1
                self._average(group)

    def _average(self, group: dict) -> None:
        """mean += (weights - mean) / updates, for every weight, changed by the update or not."""
        weights = group["params"]
        if group["averaged_updates"] == 1:
            for weight in weights:
                self.state[weight]["average"] = weight.detach().clone()
            return
        averages = [self.state[weight]["average"] for weight in weights]
        torch._foreach_lerp_(averages, weights, 1.0 / group["averaged_updates"])

    def after_epoch(self, metric: float) -> bool:
        """Take note of an epoch's dev metric, where less is better and NaN is worst.

        Returns:
            Whether averaging begins with the next update.
        """
        begins, metric = False, signed(metric, "min")
        for group in self.param_groups:
            checks, interval = group["checks"], group["nonmonotone_interval"]
            triggered = len(checks) > interval and metric > min(checks[:-interval])
            if triggered and not group["averaging"]:
                group["averaging"] = begins = True
            checks.append(float(metric))
        return begins

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """Inside, the parameters hold the averaged weights, if there are any."""
        averaged = [group for group in self.param_groups if group["averaged_updates"]]
        weights = [weight for group in averaged for weight in group["params"]]
        with torch.no_grad():
            self._training_weights = [weight.detach().clone() for weight in weights]
            for weight in weights:
                weight.copy_(self.state[weight]["average"])
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, kept in zip(weights, self._training_weights, strict=True):
                    weight.copy_(kept)
            self._training_weights = None


def evaluation_weights(optimizer: Optimizer) -> AbstractContextManager[None]:
    """Inside, the model has the weights that the optimizer wants to be evaluated."""
    return optimizer.evaluation_weights() if isinstance(optimizer, NTASGD) else nullcontext()


def averaging_begins(optimizer: Optimizer, metric: float) -> bool:
    """Give an averaging optimizer an epoch's dev metric; false for any other optimizer."""
    return isinstance(optimizer, NTASGD) and optimizer.after_epoch(metric)
