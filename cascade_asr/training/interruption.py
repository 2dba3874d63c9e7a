"""Stop a training at the next update instead of in the middle of one."""

from __future__ import annotations

import logging
import signal
from types import FrameType

from cascade_asr.errors import CascadeError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
STOPPED_RESUMABLE = 85  # exit status: saved; the same command resumes


class Interruption:
    """Remembers that SIGINT, SIGTERM or SIGUSR2 was received.

    The training checks ``signal_number`` after each update; if it is set, it saves
    and exits. A second Ctrl-C does not wait.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def install(self) -> Interruption:
        """Catch the signals from now on."""
        for number in SIGNALS:
            signal.signal(number, self._remember)
        return self

    def release(self) -> None:
        """Let the signals end the process again: nothing checks ``signal_number`` any more."""
        for number in SIGNALS:
            if signal.getsignal(number) == self._remember:
                default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                signal.signal(number, default)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = number

    @property
    def exit_status(self) -> int:
        """130 after Ctrl-C, 85 if a scheduler should start the job again."""
        return 130 if self.signal_number == signal.SIGINT else STOPPED_RESUMABLE


class Interrupted(CascadeError):
    """Training was asked to stop and has saved its state."""

    level = logging.WARNING

    def __init__(self, exit_status: int, message: str) -> None:
        super().__init__(message)
        self.exit_status = exit_status
