"""One writer at a time: an attempt that has been superseded stops writing.

A cluster that loses contact with a machine restarts its job elsewhere while the old
process may still be running. Each attempt therefore puts a token into a file and
looks there before it writes: a later attempt's token means that it is no longer
wanted. The environment names the file, as FOLDER/attempt:TOKEN.
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from typing import Any

from cascade_asr.errors import CascadeError
from cascade_asr.files import read_json, write_json

VARIABLE = "CASCADE_ASR_ATTEMPT"
SUPERSEDED = 86  # exit status: another attempt has taken over


class Superseded(CascadeError):
    """A later attempt has taken over this training."""

    exit_status = SUPERSEDED


class Fence:
    """Checks whether an attempt is still the one that may write.

    Args:
        path: file with the token of the latest attempt.
        token: token of this attempt.
    """

    def __init__(self, path: Path, token: str) -> None:
        self.path = path
        self.token = token

    @classmethod
    def take(cls, path: Path, **details: Any) -> tuple[Fence, int]:
        """Become the latest attempt; no earlier one may write any longer.

        Returns:
            The fence and the number of this attempt, counted from 1.
        """
        number = read_json(path)["number"] + 1 if path.is_file() else 1
        token = secrets.token_hex(8)
        content = {"number": number, "token": token, "host": socket.gethostname(), **details}
        write_json(path, content)
        return cls(path, token), number

    @classmethod
    def from_environment(cls) -> Fence | None:
        """The fence of the attempt that this process belongs to, if there is one."""
        path, colon, token = os.environ.get(VARIABLE, "").rpartition(":")
        return cls(Path(path), token) if colon else None

    @property
    def as_variable(self) -> str:
        """The value that `from_environment` reads."""
        return f"{self.path}:{self.token}"

    def check(self) -> None:
        """Return if this attempt may write.

        Raises:
            Superseded: naming the later attempt, if one has begun.
        """
        latest = read_json(self.path)
        if latest["token"] != self.token:
            raise Superseded(
                f"attempt {latest['number']} on {latest['host']} has taken over this training; "
                "this one leaves without writing"
            )


def may_always_write() -> None:
    """The check for a training that nothing can start twice."""
