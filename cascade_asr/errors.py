"""Errors that the user can repair; everything else is a bug of ours.

A command catches `CascadeError`, prints its text without a traceback and
exits with status 1 (see `cascade_asr.command`). Each message says what was
wrong, where, what was expected and what to do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from difflib import get_close_matches

SHORTEST_BEGINNING = 3  # letters that a name needs to count as the beginning of a longer one


class CascadeError(Exception):
    """A user's mistake or a fault of the machine, explained in one message."""

    exit_status = 1
    level = logging.ERROR  # level of the log line that reports it


class ConfigError(CascadeError):
    """A configuration file or an option cannot be used as it is."""


class DataError(CascadeError):
    """A data file is missing, damaged or contradicts another one."""


class TrainingError(CascadeError):
    """Training cannot continue: NaN loss, a frozen weight that moved, a full disk."""


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
    """An error raised by a library in one line, with its class if the text alone says too little.

    >>> told(KeyError("gelu"))
    "KeyError: 'gelu'"
    """
    text = " ".join(str(error).split())
    if type(error) in (ValueError, NotImplementedError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
