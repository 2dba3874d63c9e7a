"""Watch jobs until all have ended."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from cascade_asr.jobs import status
from cascade_asr.jobs.record import JobFolder
from cascade_asr.jobs.status import JobState, job_states

ASK_EVERY_S = 15  # between two questions to the controller
LOOK_EVERY_S = 1  # between two looks at the files


class LogReader:
    """Prints what is added to a log."""

    def __init__(self, folder: JobFolder, output: TextIO) -> None:
        self.path = folder.log
        self.output = output
        self.position = self.path.stat().st_size if self.path.is_file() else 0

    def show(self) -> None:
        """Print the lines that are new."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as stream:
            stream.seek(self.position)
            text = stream.read()
        text = text[: text.rfind(b"\n") + 1]
        self.position += len(text)
        self.output.write(text.decode(errors="replace"))
        self.output.flush()


def follow(folders: list[JobFolder], output: TextIO | None = None) -> list[JobState]:
    """Print logs and changes of state until no job can go on by itself.

    Returns:
        The last states. A job that is blocked has ended: a failure before it has
        to be repaired first.
    """
    output = output or sys.stderr
    readers = [LogReader(folder, output) for folder in folders]
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
                if shown.get(state.folder.stage) != str(state):
                    shown[state.folder.stage] = str(state)
                    print(f"{state.folder.stage}: {state}, job {state.job}", file=output)
            if all(state.state in status.ENDED for state in states):
                for reader in readers:
                    reader.show()
                return states
        time.sleep(LOOK_EVERY_S)
