"""Continue from stored outputs of an encoder's lower layers.

An encoder passes its layers as functions, in order, to `run_layers`. If the outputs of
one of them are kept (`keeping`), the layers up to it run only once per batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch

State = tuple[torch.Tensor | None, ...]  # sequence, lengths and whatever else a layer passes on
Step = Callable[..., State]


class Kept(Protocol):
    """The outputs of one layer for one batch."""

    layer: str  # relative to the encoder

    def recall(self) -> State | None:
        """What `keep` was given; None for a batch not seen before."""

    def keep(self, state: State) -> None:
        """Remember the outputs."""


_kept: list[Kept] = []


@contextmanager
def keeping(kept: Kept | None) -> Iterator[None]:
    """Inside, `run_layers` continues from the kept outputs for its batch, or keeps them."""
    if kept is None:
        yield
        return
    _kept.append(kept)
    try:
        yield
    finally:
        _kept.pop()


def is_kept() -> bool:
    """Whether the outputs of a layer are being kept."""
    return bool(_kept)


def run_layers(steps: list[tuple[str, Step]], state: State) -> State:
    """Apply layers one after another.

    Args:
        steps: name and function of each layer, bottom to top; a function takes the state's
            entries as arguments.
        state: arguments of the first function.
    """
    kept = _kept[-1] if _kept else None
    top = [name for name, _ in steps].index(kept.layer) if kept else -1
    recalled = kept.recall() if kept else None
    if recalled is not None:
        steps, state = steps[top + 1 :], recalled
    for index, (_, step) in enumerate(steps):
        state = step(*state)
        if kept is not None and recalled is None and index == top:
            kept.keep(state)
    return state
