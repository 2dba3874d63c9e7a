"""Items of a dataset in batches whose order depends only on seed and epoch."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils.data import Dataset, TensorDataset, default_collate

from cascade_asr.errors import ConfigError

logger = logging.getLogger(__name__)

TRIED = 20  # items that are read twice, to see whether they are random


@dataclass
class ItemBatch:
    """Some items of a dataset.

    Attributes:
        inputs, targets: (B, …) each, as `torch.utils.data.default_collate` makes them.
        size: B.
        description: description for messages.
    """

    inputs: Any
    targets: Any
    size: int
    description: str = ""
    learning_rate_scale: ClassVar[float] = 1.0

    def __len__(self) -> int:
        return self.size

    @property
    def frames(self) -> int:
        """Number of items, for the record of what was trained."""
        return self.size

    def to(self, device: torch.device) -> ItemBatch:
        """The batch on ``device``."""
        inputs, targets = _moved(self.inputs, device), _moved(self.targets, device)
        return ItemBatch(inputs, targets, self.size, self.description)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: _moved(each, device) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        moved = [_moved(each, device) for each in value]
        return type(value)(*moved) if hasattr(value, "_fields") else type(value)(moved)
    return value


def _order_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


@contextmanager
def _random_items(*numbers: int) -> Iterator[None]:
    """Inside, what is drawn on the CPU is decided by ``numbers``; random states are put back."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


class ItemLoader:
    """Batches of a dataset of (input, target) pairs, from any position of any epoch.

    Items that are random, such as augmented images, are those of (seed, epoch, batch, rank) if
    they draw from the random state of PyTorch, NumPy or Python, so that a resumed training sees
    what an uninterrupted one would.

    Args:
        dataset: dataset of pairs, with a length.
        batch_size: items per batch.
        seed: seed of the order; None keeps the dataset's.
        rank, world_size: define this process's share of the batches. What is left at the end
            for fewer items than processes belongs to the last full batch, so that no item
            counts twice.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._dataset = dataset
        self._batch_size = batch_size
        self._seed = seed
        self._rank, self._world_size = rank, world_size

    def __len__(self) -> int:
        """Number of batches per epoch, the same for each rank."""
        full, rest = divmod(len(self._dataset), self._batch_size * self._world_size)
        return full + (rest >= self._world_size or not full)

    @property
    def smallest(self) -> int:
        """Number of items in the smallest batch of an epoch, which is its last."""
        last = len(self._dataset) - (len(self) - 1) * self._batch_size * self._world_size
        return min(self._batch_size, max(1, last // self._world_size))

    def batches_of(self, epoch: int) -> int:
        """Number of batches in an epoch, the same for all epochs."""
        return len(self)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[ItemBatch]:
        """Yield this rank's batches of an epoch.

        Args:
            epoch: counted from 1; decides the order.
            start: number of batches to skip, which a resumed training has seen.
        """
        total = len(self._dataset)
        order = torch.arange(total)
        if self._seed is not None:
            generator = torch.Generator().manual_seed(_order_seed(self._seed, epoch))
            order = torch.randperm(total, generator=generator)
        step = self._batch_size * self._world_size
        for number in range(start, len(self)):
            end = total if number == len(self) - 1 else (number + 1) * step
            chosen = order[number * step : end][self._rank :: self._world_size]
            if not len(chosen):  # fewer items in all than ranks, each of which takes part
                chosen = order[:1]
            with _random_items(self._seed or 0, epoch, number, self._rank):
                batch = self._batch(chosen)
            yield batch

    def _batch(self, chosen: torch.Tensor) -> ItemBatch:
        description = f"items {', '.join(map(str, chosen[:5].tolist()))}"
        if isinstance(self._dataset, TensorDataset):
            inputs, targets = (tensor[chosen] for tensor in self._dataset.tensors)
        else:
            items = [self._dataset[int(index)] for index in chosen]
            try:
                inputs, targets = default_collate(items)
            except (RuntimeError, TypeError, ValueError) as error:
                raise ConfigError(
                    f"{description} do not fit into one batch: {error}; the dataset has to give items of "
                    "the same shape: pad them, or use batch_size 1"
                ) from error
        return ItemBatch(inputs, targets, len(chosen), description)


def as_dataset(data: Any, name: str) -> Dataset:
    """A dataset of pairs from a dataset, or from a pair of tensors (N, …).

    Raises:
        ConfigError: if it is empty, or does not consist of pairs.
    """
    if isinstance(data, (tuple, list)) and len(data) == 2:
        try:
            inputs, targets = (torch.as_tensor(each) for each in data)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{name}: expected a dataset of (input, target) pairs, or two tensors: {error}"
            ) from error
        if len(inputs) != len(targets):
            raise ConfigError(f"{name}: {len(inputs)} inputs but {len(targets)} targets")
        data = TensorDataset(inputs, targets)
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise ConfigError(f"{name}: expected a dataset of (input, target) pairs, or two tensors")
    if not len(data):
        raise ConfigError(f"{name}: no items")
    first = data[0]
    if not isinstance(first, (tuple, list)) or len(first) != 2:
        size = f" of {len(first)}" if isinstance(first, (tuple, list)) else ""
        raise ConfigError(
            f"{name}: its first item is a {type(first).__name__}{size}, expected a pair: input, target"
        )
    return data


def digest(dataset: Dataset, name: str = "data") -> str:
    """A hash of all items of a dataset; of random ones, such as augmented images, of their number.

    Args:
        dataset: dataset of pairs.
        name: its name, for a warning that its items are random.
    """
    if isinstance(dataset, TensorDataset):
        return _hash(dataset.tensors)
    tried = range(min(len(dataset), TRIED))
    once, again = ([_hash(dataset[index]) for index in tried] for _ in range(2))
    if once != again:
        logger.warning(
            "%s: its items differ each time they are read; other data of the same number will "
            "count as the same", name,
        )  # fmt: skip
        return _hash(["random", len(dataset)])
    return _hash(each for index in range(len(dataset)) for each in dataset[index])


def _hash(parts: Iterable[Any]) -> str:
    content = hashlib.sha256()
    for part in parts:
        for each in _leaves(part):
            content.update(_bytes_of(each))
    return content.hexdigest()[:16]


def _leaves(value: Any) -> Iterator[torch.Tensor | str]:
    """The tensors, numbers and texts of a nested input or target, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield str(key)
            yield from _leaves(each)
    else:
        try:
            yield torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            if not isinstance(value, (list, tuple)):
                raise
            for each in value:
                yield from _leaves(each)


def _bytes_of(value: torch.Tensor | str) -> bytes:
    if isinstance(value, str):
        return value.encode()
    tensor = value.cpu().contiguous()
    content = tensor.view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
    return f"{tuple(tensor.shape)}{tensor.dtype}".encode() + content
