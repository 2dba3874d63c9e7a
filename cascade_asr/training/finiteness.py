"""Handle losses and gradients that are not finite, without waiting for a GPU.

Reading a number from a GPU waits until everything before it has been computed. On a GPU,
therefore, the optimizer's kernel skips an update whose gradient is not finite, and losses
and gradients are checked every ``log_interval`` updates and before anything is written.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.optim import Optimizer

from cascade_asr.errors import TrainingError
from cascade_asr.training.protocols import TrainingBatch
from cascade_asr.training.state import Position

logger = logging.getLogger(__name__)

BAD_GRADIENTS_IN_A_ROW = 20  # skipped updates after which training gives up


@dataclass(frozen=True)
class _Noted:
    """A loss, or the norm of a gradient (``what`` is None), still on its device."""

    value: torch.Tensor
    epoch: int
    update: int
    what: str | None = None


class Finiteness:
    """Watches the losses and gradients of one training.

    Args:
        position: position of the training; its ``bad_gradients`` is counted up.
        checkpoint: named in the messages.
        is_deferred: check them only in `check`. `can_skip` must hold for the optimizer.
    """

    def __init__(self, position: Position, checkpoint: Path, is_deferred: bool = False) -> None:
        self.position = position
        self.checkpoint = checkpoint
        self.is_deferred = is_deferred
        self._noted: list[_Noted] = []

    def note_loss(self, loss: torch.Tensor, batch: TrainingBatch) -> None:
        """Note a loss.

        Raises:
            TrainingError: if it is not finite, unless the check is deferred.
        """
        self._note(loss, self.position.update + 1, batch.description)

    def guard(self, optimizer: Optimizer, norm: torch.Tensor) -> bool:
        """Whether the optimizer may step with gradients of this norm.

        If the check is deferred it may, and skips a bad update by itself.

        Raises:
            TrainingError: after `BAD_GRADIENTS_IN_A_ROW` that were not finite.
        """
        self._note(norm, self.position.update, None)
        if self.is_deferred:
            optimizer.found_inf = (~torch.isfinite(norm)).to(torch.float32)
            return True
        return self.position.bad_gradients == 0

    def check(self) -> None:
        """Check everything noted since the last call.

        Raises:
            TrainingError: as `note_loss` and `guard` do.
        """
        noted, self._noted = self._noted, []
        if not noted:
            return
        values = torch.stack([each.value.to(torch.float32) for each in noted])
        for each, value, is_finite in zip(
            noted, values.tolist(), torch.isfinite(values).tolist(), strict=True
        ):
            if each.what is None:
                self._count(each, is_finite)
            elif not is_finite:
                raise TrainingError(
                    f"loss is {value} in epoch {each.epoch}, update {each.update}, {each.what}; "
                    f"the last checkpoint is kept: {self.checkpoint}; look at these, or lower "
                    "the learning rate (optim_conf.lr)"
                )

    def _note(self, value: torch.Tensor, update: int, what: str | None) -> None:
        self._noted.append(_Noted(value.detach(), self.position.epoch, update, what))
        if not self.is_deferred:
            self.check()

    def _count(self, noted: _Noted, is_finite: bool) -> None:
        if is_finite:
            self.position.bad_gradients = 0
            return
        self.position.bad_gradients += 1
        logger.warning("update %d: the gradient is not finite; the update is skipped", noted.update)
        if self.position.bad_gradients >= BAD_GRADIENTS_IN_A_ROW:
            raise TrainingError(
                f"{BAD_GRADIENTS_IN_A_ROW} updates in a row had no finite gradient; lower the "
                "learning rate (optim_conf.lr) or grad_clip; the last checkpoint is kept: "
                f"{self.checkpoint}"
            )


def can_skip(optimizer: Optimizer) -> bool:
    """Whether an optimizer's kernel skips bad updates by itself, as PyTorch's fused ones do."""
    return bool(optimizer.param_groups) and all(
        group.get("fused") for group in optimizer.param_groups
    )
