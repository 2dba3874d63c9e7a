"""What a job does before and after it trains: `begin` and `end` of one attempt."""

from __future__ import annotations

import logging
import os
import re
import time

from cascade_asr.errors import CascadeError
from cascade_asr.jobs import slurm
from cascade_asr.jobs.record import JobFolder, JobRecord
from cascade_asr.training.fencing import SUPERSEDED, Fence, Superseded
from cascade_asr.training.interruption import STOPPED_RESUMABLE

logger = logging.getLogger(__name__)

MARKER_DELAY_S = 10  # for a network file system to show what another machine has written
KILLED = 137
SAVED = "rerun the same command to resume"  # part of an interrupted training's message
MEMORY = re.compile(
    r"oom[-_ ]?kill|exceeded (job |step )?memory limit|DefaultCPUAllocator: can't allocate memory"
    r"|CUDA out of memory|OutOfMemoryError|MemoryError",
    re.IGNORECASE,
)


class NotReady(CascadeError):
    """A training was started before the one that it starts from was done."""


def begin(folder: JobFolder) -> str:
    """Check what the training needs and become its latest attempt.

    Slurm starts a job at once if it has forgotten its predecessor, and may start
    a job twice, so only the files count.

    Returns:
        The fence, for the environment; empty if the training is not needed
        because the cascade has already ended (``stop: patience``).

    Raises:
        NotReady: saying what to do, if a predecessor is not done.
    """
    record = folder.read()
    assert record is not None
    job = os.environ.get("SLURM_JOB_ID", "")
    before = folder.read_state()
    starts = before.get("starts", 0) + 1 if before.get("job") == job else 1
    try:
        needed = _wait_for_predecessors(folder, record)
    except NotReady as error:
        folder.write_state(job=job, state="failed", cause=str(error), starts=starts)
        raise
    if not needed:
        folder.write_state(job=job, state="skipped", starts=starts)
        logger.info("%s is not needed: the cascade ended before it", folder.training)
        return ""
    fence, number = Fence.take(folder.attempt, job=job)
    folder.write_state(
        job=job, state="running", attempt=number, starts=starts, started=time.time()
    )
    logger.info("%s: attempt %d, Slurm job %s", folder.training, number, job)
    return fence.as_variable


def _wait_for_predecessors(folder: JobFolder, record: JobRecord) -> bool:
    """True once all are done, False if one was not needed."""
    deadline = time.monotonic() + MARKER_DELAY_S
    while True:
        missing = []
        for name in record.after:
            other = JobFolder(folder.experiment, name)
            word = other.last_word()
            if word == "skipped":
                return False
            if word in ("running", "stopped"):
                missing.append(f"{name} is {word}")
            elif not other.is_done():
                missing.append(f"{name} is not done ({other.done_marker} is missing or damaged)")
        if not missing:
            return True
        if time.monotonic() > deadline:
            raise NotReady(
                f"{folder.training} refused: {', '.join(missing)}; once it is done: "
                f"python -m cascade_asr.cli.jobs resubmit {folder.training}"
            )
        time.sleep(1)


def end(folder: JobFolder, code: int, terminated: bool) -> int:
    """Record how an attempt ended; start again if the training was asked to stop.

    Args:
        folder: folder of the job.
        code: exit status of the training.
        terminated: Slurm ended the whole job, so it must not requeue itself.

    Returns:
        The exit status of the job.
    """
    record, fence = folder.read(), Fence.from_environment()
    assert record is not None and fence is not None
    try:
        fence.check()
    except Superseded as error:
        logger.warning("%s", error)
        return SUPERSEDED
    state = folder.read_state()
    if code == 0:
        state["state"] = "done" if folder.done_marker.is_file() else "skipped"
    elif terminated:
        saved = code == STOPPED_RESUMABLE or SAVED in folder.log_tail()
        state.update(state="failed", cause=f"cancelled; {'saved, ' * saved}resubmit resumes it")
    elif code == STOPPED_RESUMABLE and state["starts"] >= record.attempts:
        state.update(state="failed", cause=f"not finished after {record.attempts} starts")
    elif code == STOPPED_RESUMABLE:
        state["state"] = "stopped"
    else:
        state.update(state="failed", cause=cause_of(code, folder.log_tail()))
    folder.write_state(**{**state, "code": code, "ended": time.time()})
    logger.info("%s: %s", folder.training, state.get("cause") or state["state"])
    if state["state"] == "stopped":
        slurm.requeue(state["job"])
        time.sleep(60)  # until Slurm ends this script
    return code


def cause_of(code: int, log: str) -> str:
    """Why a training failed, from its exit status and the end of its log."""
    if code == KILLED or MEMORY.search(log):
        return "memory; resubmit it with more, such as --mem 32G"
    errors = re.findall(r"^.* ERROR: (?:\S+: )?(.*)$", log, re.MULTILINE)
    errors = errors or re.findall(r"^(\w*(?:Error|Exception): .*)$", log, re.MULTILINE)
    return errors[-1] if errors else f"exit status {code}"
