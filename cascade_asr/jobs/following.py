"""Watch jobs until all have ended."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from cascade_asr.jobs import status
from cascade_asr.jobs.record import JobFolder
from cascade_asr.jobs.status import JobState, job_states

ASK_EVERY_S = 15  # between two queries to the controller
LOOK_EVERY_S = 1  # between two checks of the files


class LogReader:
    """Prints what is added to a log.

    Args:
        folder: folder of the job.
        output: stream to print to.
        position: bytes that have been shown already; None for all so far.
    """

    def __init__(self, folder: JobFolder, output: TextIO, position: int | None = None) -> None:
        self.path = folder.log
        self.output = output
        if position is None:
            position = self.path.stat().st_size if self.path.is_file() else 0
        self.position = position

    def show(self) -> None:
        """Print the new lines."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as stream:
            stream.seek(self.position)
            text = stream.read()
        text = text[: text.rfind(b"\n") + 1]
        self.position += len(text)
        self.output.write(text.decode(errors="replace"))
        self.output.flush()


def follow(folders: list[JobFolder], readers: list[LogReader] | None = None) -> list[JobState]:
    """Print logs and changes of state until no job can continue by itself.

    Args:
        folders: folders of the jobs, in the order in which they run.
        readers: readers of their logs; by default each log is printed to stderr from now on.

    Returns:
        The last states. A blocked job counts as ended: the failure before it has to be
        repaired first.
    """
    readers = readers or [LogReader(folder, sys.stderr) for folder in folders]
    shown: dict[str, str] = {}
    next_question = 0.0
    words: list[str] = []
    while True:
        for reader in readers:
            reader.show()
        said = [str(folder.read_state()) for folder in folders]
        if said != words or time.monotonic() >= next_question:
            words = said
            next_question = time.monotonic() + ASK_EVERY_S
            states = job_states(folders)
            for state in states:
                if shown.get(state.folder.training) != str(state):
                    shown[state.folder.training] = str(state)
                    print(f"{state.folder.training}: {state}, job {state.job}", file=sys.stderr)
            if all(state.state in status.ENDED for state in states):
                for reader in readers:
                    reader.show()
                return states
        time.sleep(LOOK_EVERY_S)
