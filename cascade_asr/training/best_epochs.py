"""The best epochs of a training: ranked, kept on disk, and averaged at its end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cascade_asr.errors import ConfigError
from cascade_asr.training import checkpoint


class BestEpochs:
    """Ranks epochs and keeps the weights of the best ones in ``epochN.pth``.

    Args:
        directory: the training's folder.
        ranked: ``[value, epoch]`` of each epoch kept, best first, smaller values
            being better; changed in place, because it is part of the checkpoint.
        capacity: how many to keep, 1 or more.
    """

    def __init__(self, directory: Path, ranked: list[list[float]], capacity: int) -> None:
        self.directory = directory
        self.ranked = ranked
        self.capacity = capacity

    @property
    def epochs(self) -> list[int]:
        """Numbers of the epochs kept, best first."""
        return [int(epoch) for _, epoch in self.ranked]

    def rank(self, value: float, epoch: int) -> bool:
        """Rank an epoch, the earlier of equal ones first; return whether it is among the best."""
        self.ranked.append([value, epoch])
        self.ranked.sort()
        del self.ranked[self.capacity :]
        return epoch in self.epochs

    def save(self, epoch: int, weights: checkpoint.StateDict) -> None:
        """Keep the weights of an epoch.

        Raises:
            TrainingError: if the disk is full or cannot be written.
        """
        checkpoint.save(self._path(epoch), weights)

    def remove_dropped(self) -> None:
        """Remove the other epochs, once a checkpoint that no longer names them is on disk."""
        kept = {self._path(epoch) for epoch in self.epochs}
        for path in self.directory.glob("epoch*.pth"):
            if path not in kept:
                path.unlink()

    def require(self) -> None:
        """Check, before hours of training, that the weights kept so far can be averaged.

        Raises:
            ConfigError: if a file is missing or damaged, with what to do.
        """
        for epoch in self.epochs:
            try:
                checkpoint.load(self._path(epoch))
            except ConfigError as error:
                raise ConfigError(
                    f"{self._path(epoch)}: the weights of epoch {epoch}, one of the best so far, "
                    "are missing or damaged; put that file back, or move "
                    f"{self.directory / 'checkpoint.pt'} away to train from the first epoch"
                ) from error

    def average(self, frozen: Iterable[str]) -> checkpoint.StateDict:
        """The mean of the best epochs' weights; ``frozen`` tensors are copied.

        Raises:
            ConfigError: if a file is missing or damaged.
        """
        states = [checkpoint.load(self._path(epoch)) for epoch in self.epochs]
        return checkpoint.average(states, frozen)

    def _path(self, epoch: int) -> Path:
        return self.directory / f"epoch{epoch}.pth"
