"""Submit stages as a chain of jobs, and repair the chain after a failure."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cascade_asr.data.atomic import read_json
from cascade_asr.errors import ConfigError
from cascade_asr.jobs import slurm, status
from cascade_asr.jobs.options import find_slurm_conf, notice_s, submission_words
from cascade_asr.jobs.record import (
    FULL,
    JobFolder,
    JobRecord,
    job_folders,
    submission_digest,
)
from cascade_asr.jobs.script import write_script

logger = logging.getLogger(__name__)

CONFIGURATIONS = ("--train-config", "--cascade-config")


@dataclass(frozen=True)
class Task:
    """A training that becomes a job.

    Attributes:
        stage: folder of the experiment that it fills.
        after: stages that must be done first.
        command: what trains, as words.
    """

    stage: str
    after: tuple[str, ...]
    command: tuple[str, ...]


def full_task(command: Sequence[str]) -> Task:
    """Full training; ``command`` is that of ``cascade_asr.cli.training``, without a verb."""
    return Task(FULL, (), (*command[:3], "full", *command[3:]))


def cascade_tasks(experiment: Path, chosen: str, command: Sequence[str]) -> list[Task]:
    """One task a cascade stage, each after those that it starts from.

    Args:
        experiment: with the plan.json of ``cascade_asr.cli.training check``.
        chosen: ``all``, or numbers such as ``2,3`` or ``2-4``.
        command: as for `full_task`.

    Raises:
        ConfigError: for a stage that the plan does not have.
    """
    plan = read_json(experiment / "plan.json")
    tasks = []
    for number in parse_numbers(chosen, len(plan["stages"]) - 1):
        names = [each["name"] for each in plan["stages"][:number]]
        source = plan["stages"][number]["source"]
        after = {"previous": names[-1:], "full": names[:1], "best": names}.get(source, [])
        if plan["stop"] == "patience":
            after = sorted({*after, *names[-1:]}, key=names.index)
        own = ("cascade", "--cascade-stages", str(number))
        stage = plan["stages"][number]["name"]
        tasks.append(Task(stage, tuple(after), (*command[:3], *own, *command[3:])))
    return tasks


def parse_numbers(text: str, last: int) -> list[int]:
    """Stage numbers from ``all``, ``2``, ``2,3`` or ``2-4``.

    Raises:
        ConfigError: for anything else, and for a number beyond ``last``.
    """
    numbers: set[int] = set()
    for part in (f"1-{last}" if text in ("", "all") else text).split(","):
        first, dash, second = part.strip().partition("-")
        if not first.isdigit() or (dash and not second.isdigit()):
            raise ConfigError(
                f"--cascade-stages {text}: expected all, or numbers such as 2,3 or 2-4"
            )
        numbers |= set(range(int(first), int(second or first) + 1))
    for number in sorted(numbers):
        if not 1 <= number <= last:
            raise ConfigError(
                f"--cascade-stages {text}: no stage {number}; this plan has stages 1 to {last}"
            )
    return sorted(numbers)


class Submitter:
    """Submits the tasks of one experiment.

    Args:
        experiment: ``exp/TAG``.
        options: of all jobs, such as ``{"mem": "32G"}``.
        slurm_conf: turns them into options of sbatch; None for the usual one.
        attempts: how often a job may start before it gives up.
    """

    def __init__(
        self,
        experiment: Path,
        options: dict[str, str],
        slurm_conf: Path | None = None,
        attempts: int = 50,
    ) -> None:
        self.experiment = experiment
        self.options = options
        self.slurm_conf = find_slurm_conf(slurm_conf)
        self.attempts = attempts

    def submit(self, tasks: list[Task]) -> list[JobFolder]:
        """Submit tasks in order; one that is already queued or running is left alone.

        Raises:
            ConfigError: if a predecessor is neither done nor submitted, or a job
                of other options is still alive.
            SlurmError: if Slurm refuses.
        """
        submission_words(self.slurm_conf, self.options)  # an error before the first job, not after
        folders = []
        for task in tasks:
            folder = JobFolder(self.experiment, task.stage)
            files = [Path(path) for path in _values(task.command, CONFIGURATIONS)]
            digest = submission_digest(list(task.command), self.options, files)
            folders.append(folder)
            if not self._is_alive(folder, digest):
                self._submit(folder, task, digest)
        return folders

    def _is_alive(self, folder: JobFolder, digest: str) -> bool:
        """Is this very submission queued or running? Takes over one of an sbatch that died."""
        record = folder.read()
        if record is None:
            return False
        entries = slurm.queue([record.name])
        if entries is None:
            raise slurm.SlurmError("Slurm does not answer; nothing was submitted")
        entry = entries.get(record.name)
        if entry is None or not entry.lives:
            return False
        if not record.complete:
            record = replace(record, ids=[*record.ids, entry.job], complete=True)
            folder.write(record)
        if record.digest != digest:
            raise ConfigError(
                f"{folder.stage} is in the queue as job {entry.job} with other options; cancel it "
                f"first: python -m cascade_asr.cli.jobs cancel {folder.stage} "
                f"--exp {self.experiment}"
            )
        logger.info("%s is already in the queue as job %s", folder.stage, entry.job)
        return True

    def _submit(self, folder: JobFolder, task: Task, digest: str) -> None:
        dependency_of(folder, task.after)  # an error before anything is written
        folder.path.mkdir(parents=True, exist_ok=True)
        before = folder.read()
        record = JobRecord(
            stage=task.stage,
            name=new_name(folder),
            after=list(task.after),
            command=_with_copies(task.command, folder.path),
            options=self.options,
            slurm_conf=os.path.abspath(self.slurm_conf),
            place=os.getcwd(),
            digest=digest,
            attempts=self.attempts,
            submitted=time.time(),
            ids=before.ids if before else [],
        )
        submit_record(folder, record)


def submit_record(folder: JobFolder, record: JobRecord) -> JobRecord:
    """Call sbatch for a record whose name is new."""
    dependency = dependency_of(folder, record.after)
    script = write_script(folder, record)
    folder.write(record)  # the name is on disk before the job exists
    log = os.path.abspath(folder.log).replace("%", "%%")
    words = [
        *submission_words(Path(record.slurm_conf), record.options),
        "--parsable", "--requeue", "--open-mode=append", "--kill-on-invalid-dep=no",
        f"--signal=USR2@{notice_s(record.options.get('time'))}",
        f"--job-name={record.name}", f"--output={log}",
    ]  # fmt: skip
    if dependency:
        words.append(f"--dependency={dependency}")
    job = slurm.submit([*words, script], record.name)
    record = replace(record, ids=[*record.ids, job], complete=True)
    folder.write(record)
    logger.info("%s: job %s%s", folder.stage, job, f", {dependency}" if dependency else "")
    return record


def dependency_of(folder: JobFolder, after: Sequence[str]) -> str:
    """``afterok:ID…`` of the predecessors that are alive; the others must be done.

    Raises:
        ConfigError: if one is neither.
    """
    states = status.job_states([JobFolder(folder.experiment, stage) for stage in after])
    waited_for = []
    for state in states:
        if state.state in (status.QUEUED, status.RUNNING, status.STOPPED, status.BLOCKED):
            waited_for.append(state.job)
        elif state.state not in (status.DONE, status.NOT_NEEDED):
            if not (state.state == status.FAILED and state.folder.is_done()):
                raise ConfigError(
                    f"{folder.stage} needs {state.folder.stage}, which is {state}; run it first"
                )
    return "afterok:" + ":".join(waited_for) if waited_for else ""


def resubmit(folder: JobFolder, options: dict[str, str]) -> list[str]:
    """Submit a stage again as it was, with some options changed; it resumes.

    Stages that wait for it in the queue wait for the new job from now on.

    Returns:
        Names of those stages.

    Raises:
        ConfigError: if it is still alive.
    """
    record = folder.read()
    assert record is not None
    state = status.job_states([folder])[0]
    status.require_not_live(state)
    if state.state == status.BLOCKED:
        slurm.cancel(state.job)
    options = {**record.options, **options}
    again = replace(
        record, name=new_name(folder), options=options, submitted=time.time(), complete=False
    )
    submit_record(folder, again)
    return [waiting.stage for waiting in job_folders(folder.experiment) if _repair(waiting, folder)]


def _repair(waiting: JobFolder, source: JobFolder) -> bool:
    """Let a job that waits for the source's old one wait for its new one."""
    record = waiting.read()
    assert record is not None
    if source.stage not in record.after:
        return False
    entry = (slurm.queue([record.name]) or {}).get(record.name)
    if entry is None or not entry.waits:
        return False
    slurm.change_dependency(entry.job, dependency_of(waiting, record.after))
    return True


def new_name(folder: JobFolder) -> str:
    """A job name that nobody has used, by which a job can be found."""
    return f"{folder.experiment.name}.{folder.stage}.{secrets.token_hex(4)}"


def _values(command: Sequence[str], options: Sequence[str]) -> list[str]:
    return [command[index + 1] for index, word in enumerate(command[:-1]) if word in options]


def _with_copies(command: Sequence[str], folder: Path) -> list[str]:
    """The command with copies of its configurations, which later edits do not reach."""
    words = list(command)
    for index, word in enumerate(words[:-1]):
        if word in CONFIGURATIONS:
            copy = folder / f"{word[2:]}.yaml"
            shutil.copyfile(words[index + 1], copy)
            words[index + 1] = str(copy)
    return words
