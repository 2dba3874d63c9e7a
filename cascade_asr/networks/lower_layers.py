"""Going on from outputs of an encoder's lower layers that were computed before.

An encoder gives its layers as functions, in order, to `run_layers`. Where somebody keeps
the outputs of one of them (`keeping`), the layers up to it run once a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch

State = tuple[torch.Tensor | None, ...]  # sequence, lengths and whatever else a layer hands on
Step = Callable[..., State]


class Kept(Protocol):
    """The outputs of one layer for one batch."""

    layer: str  # relative to the encoder

    def recall(self) -> State | None:
        """What `keep` was given; None for a batch that was not seen yet."""

    def keep(self, state: State) -> None:
        """Remember the outputs."""


_kept: list[Kept] = []


@contextmanager
def keeping(kept: Kept | None) -> Iterator[None]:
    """Inside, `run_layers` goes on from what is kept of its batch, or keeps it."""
    if kept is None:
        yield
        return
    _kept.append(kept)
    try:
        yield
    finally:
        _kept.pop()


def is_kept() -> bool:
    """Whether the outputs of a layer are kept."""
    return bool(_kept)


def run_layers(steps: list[tuple[str, Step]], state: State) -> State:
    """Apply layers one after another.

    Args:
        steps: name and function of each layer, bottom to top; a function takes the state's
            entries as arguments.
        state: what the first one takes.
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
