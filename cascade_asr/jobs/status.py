"""The state of each job: from disk first, then from the queue, then from accounting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cascade_asr.errors import ConfigError
from cascade_asr.jobs import slurm
from cascade_asr.jobs.attempt import MEMORY, SAVED, cause_of
from cascade_asr.jobs.record import JobFolder, JobRecord

NOT_SUBMITTED = "not submitted"
QUEUED = "queued"
RUNNING = "running"
STOPPED = "stopped (will requeue)"
FAILED = "failed"
BLOCKED = "blocked"
DONE = "done"
NOT_NEEDED = "not needed"
UNKNOWN = "unknown"

ENDED = (DONE, FAILED, BLOCKED, NOT_NEEDED, NOT_SUBMITTED)


@dataclass(frozen=True)
class JobState:
    """The state of a training's job.

    Attributes:
        folder: folder of the job.
        job: its id, or empty.
        state: one of the constants above.
        detail: reason, cause, or where it runs.
    """

    folder: JobFolder
    job: str
    state: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.state} ({self.detail})" if self.detail else self.state


def job_states(folders: list[JobFolder], asks: bool = True) -> list[JobState]:
    """State of each job, in order, with a single query to the controller.

    A training counts as blocked when one that it waits for has failed, so the
    folders must be in the order in which the trainings run.

    Args:
        folders: the jobs.
        asks: query the controller; if not, as if it did not answer.

    Raises:
        SlurmError: if this machine has no Slurm to ask.
    """
    records = [folder.read() for folder in folders]
    entries = slurm.queue([record.name for record in records if record]) if asks else None
    states: dict[str, JobState] = {}
    for folder, record in zip(folders, records, strict=True):
        states[folder.training] = _state(folder, record, entries, states)
    return list(states.values())


def _state(
    folder: JobFolder,
    record: JobRecord | None,
    entries: dict[str, slurm.QueueEntry] | None,
    before: dict[str, JobState],
) -> JobState:
    if record is None:
        return JobState(folder, "", DONE if folder.is_done() else NOT_SUBMITTED)
    said = folder.read_state()
    if said.get("job") != record.job:
        said = {}
    entry = (entries or {}).get(record.name)
    state, detail = _from_disk(folder, said, entry)
    if not state and entry is not None:
        state, detail = _from_queue(folder, record, said, entry, before)
    if not state and entries is None:
        state = RUNNING if said.get("state") == "running" else UNKNOWN
        detail = "Slurm does not answer"
    if not state:
        state, detail = _from_accounting(folder, record, said)
    return JobState(folder, entry.job if entry else record.job, state, detail)


def _from_disk(
    folder: JobFolder, said: dict[str, Any], entry: slurm.QueueEntry | None
) -> tuple[str, str]:
    """State that needs no query, because the job recorded how it ended."""
    word = said.get("state")
    if word in ("failed", "skipped"):
        word = folder.last_word()
    if word == "done" and folder.done_marker.is_file():
        return DONE, ""
    if word == "skipped":
        return NOT_NEEDED, "the cascade ended before it"
    if word == "failed" and (entry is None or not entry.waits):
        return FAILED, said.get("cause", "")
    return "", ""


def _from_queue(
    folder: JobFolder,
    record: JobRecord,
    said: dict[str, Any],
    entry: slurm.QueueEntry,
    before: dict[str, JobState],
) -> tuple[str, str]:
    if entry.waits:
        if said.get("state") == "stopped":
            return STOPPED, ""
        culprits = [
            name
            for name in record.after
            if name in before and before[name].state in (FAILED, BLOCKED, NOT_SUBMITTED)
        ]
        if culprits:
            return BLOCKED, f"{', '.join(culprits)} {before[culprits[0]].state}"
        if entry.reason == "DependencyNeverSatisfied":
            return BLOCKED, entry.reason
        return QUEUED, entry.reason
    if entry.lives:
        if said.get("state") == "stopped":
            return STOPPED, ""
        return RUNNING, f"on {entry.reason}" if entry.reason else ""
    return _ended(folder, record, said, entry.state)


def _from_accounting(
    folder: JobFolder, record: JobRecord, said: dict[str, Any]
) -> tuple[str, str]:
    """State of a job that the controller has forgotten, or never had."""
    if not record.complete:
        return NOT_SUBMITTED, "sbatch did not return; submit again"
    return _ended(folder, record, said, slurm.accounting(record.job) or "")


def _ended(
    folder: JobFolder, record: JobRecord, said: dict[str, Any], slurm_state: str
) -> tuple[str, str]:
    """State of a job that ended without recording how."""
    marker = folder.done_marker
    if marker.is_file() and marker.stat().st_mtime >= record.submitted:
        return DONE, ""
    log = folder.log_tail()
    if slurm_state in slurm.CAUSES:
        saved = "; saved, resubmit resumes it" if SAVED in log else ""
        return FAILED, slurm.CAUSES[slurm_state] + saved
    if MEMORY.search(log):
        return FAILED, cause_of(0, log)
    if said.get("state") == "stopped":
        return FAILED, "saved, but not started again; resubmit resumes it"
    if slurm_state:
        return FAILED, f"Slurm says {slurm_state}; see {folder.log}"
    return FAILED, f"Slurm no longer knows job {record.job}; see {folder.log}"


def require_not_live(state: JobState) -> None:
    """Require that a job no longer runs or waits.

    Raises:
        ConfigError: saying how to cancel it, if it may still write.
    """
    if state.state in (QUEUED, RUNNING, STOPPED, UNKNOWN):
        raise ConfigError(
            f"{state.folder.training} is {state} as job {state.job}; cancel it first: "
            f"python -m cascade_asr.cli.jobs cancel {state.folder.training}"
        )
