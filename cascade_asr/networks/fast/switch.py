"""The one switch between the fast and the plain form of all operations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "CASCADE_ASR_PLAIN"

_off = 0  # open blocks of `plain_operations`


def is_fast() -> bool:
    """Whether the fast forms are on: unless ``CASCADE_ASR_PLAIN`` is set to anything but 0."""
    return not _off and os.environ.get(VARIABLE, "0") in ("", "0")


@contextmanager
def plain_operations() -> Iterator[None]:
    """Inside, all operations take their plain form, in calls from any thread."""
    global _off
    _off += 1
    try:
        yield
    finally:
        _off -= 1
