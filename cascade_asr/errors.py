"""The errors that are a user's to repair; everything else is a bug of ours.

A command catches `CascadeError`, prints its text without a traceback and
exits with status 1 (see `cascade_asr.command`). Each message says what was
wrong, where, what was expected and what to do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from difflib import get_close_matches

SHORTEST_BEGINNING = 3  # letters of a name from which one takes it for a beginning


class CascadeError(Exception):
    """A user's mistake or a fault of the machine, told in one message."""

    exit_status = 1
    level = logging.ERROR  # of the line that tells it


class ConfigError(CascadeError):
    """A configuration file or an option cannot be used as it stands."""


class DataError(CascadeError):
    """A file of data is missing, damaged or contradicts another one."""


class TrainingError(CascadeError):
    """Training cannot go on: NaN loss, a frozen weight that moved, a full disk."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the known name closest to a misspelt one.

    Returns:
        ``"; did you mean 'decoder'?"``, or an empty string when nothing is near.

    >>> nearest("decodr", ["decoder", "ctc"])
    "; did you mean 'decoder'?"
    """
    names = list(known)
    begun = [each for each in names if len(name) >= SHORTEST_BEGINNING and each.startswith(name)]
    likeness = 0.6 if len(name) > SHORTEST_BEGINNING else 0.5  # half of two letters is one
    matches = begun or get_close_matches(name, names, n=1, cutoff=likeness)
    return f"; did you mean '{matches[0]}'?" if matches else ""


def told(error: BaseException) -> str:
    """One line on an error that was raised by a library: its kind, where it says no more itself.

    >>> told(KeyError("gelu"))
    "KeyError: 'gelu'"
    """
    text = " ".join(str(error).split())
    if type(error) in (ValueError, NotImplementedError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
