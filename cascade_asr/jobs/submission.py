"""Submit trainings as a chain of jobs, and repair the chain after a failure."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cascade_asr.errors import ConfigError
from cascade_asr.jobs import slurm, status
from cascade_asr.jobs.options import SlurmConf, gpus, notice_s
from cascade_asr.jobs.record import JobFolder, JobRecord, job_folders, submission_digest
from cascade_asr.jobs.script import write_script
from cascade_asr.jobs.tasks import TrainingJob

logger = logging.getLogger(__name__)

CONFIGURATIONS = ("--train-config", "--cascade-config")


class Submitter:
    """Submits the tasks of one experiment.

    Args:
        experiment: ``exp/TAG``.
        options: options of all jobs, such as ``{"mem": "32G"}``.
        conf: turns them into options of sbatch.
        attempts: how often a job may start before it gives up.
    """

    def __init__(
        self,
        experiment: Path,
        options: dict[str, str],
        conf: SlurmConf,
        attempts: int = 50,
    ) -> None:
        self.experiment = experiment
        self.options = options
        self.conf = conf
        self.attempts = attempts

    def submit(self, tasks: list[TrainingJob]) -> list[JobFolder]:
        """Submit tasks in order; one that is already queued or running is left alone.

        Raises:
            ConfigError: if a predecessor is neither done nor submitted, or a job
                with other options is still alive.
            SlurmError: if Slurm refuses.
        """
        self.conf.submission_words(self.options)  # an error before the first job, not after
        folders = []
        for task in tasks:
            folder = JobFolder(self.experiment, task.training)
            files = [Path(path) for path in _values(task.command, CONFIGURATIONS)]
            digest = submission_digest(list(task.command), self.options, files)
            folders.append(folder)
            if not self._is_alive(folder, digest):
                self._submit(folder, task, digest)
        return folders

    def _is_alive(self, folder: JobFolder, digest: str) -> bool:
        """Whether this very submission is queued or running; adopts one whose sbatch died."""
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
                f"{folder.training} is in the queue as job {entry.job} with other options; cancel it "
                f"first: python -m cascade_asr.cli.jobs cancel {folder.training} "
                f"--exp {self.experiment}"
            )
        logger.info("%s is already in the queue as job %s", folder.training, entry.job)
        return True

    def _submit(self, folder: JobFolder, task: TrainingJob, digest: str) -> None:
        dependency_of(folder, task.after)  # an error before anything is written
        folder.path.mkdir(parents=True, exist_ok=True)
        before = folder.read()
        record = JobRecord(
            branch=task.branch,
            training=task.training,
            name=new_name(folder),
            after=list(task.after),
            command=_with_copies(task.command, folder.path),
            options=self.options,
            slurm_conf=os.path.abspath(self.conf.path),
            place=os.getcwd(),
            digest=digest,
            attempts=self.attempts,
            submitted=time.time(),
            ids=before.ids if before else [],
        )
        submit_record(folder, record)


def submit_record(folder: JobFolder, record: JobRecord) -> JobRecord:
    """Call sbatch for a record with a new name."""
    dependency = dependency_of(folder, record.after)
    script = write_script(folder, record)
    folder.write(record)  # the name is on disk before the job exists
    log = os.path.abspath(folder.log).replace("%", "%%")
    conf = SlurmConf.read(Path(record.slurm_conf))
    words = [
        *conf.submission_words(record.options),
        "--parsable", "--requeue", "--open-mode=append", "--kill-on-invalid-dep=no",
        f"--signal=USR2@{notice_s({**conf.defaults, **record.options}.get('time'))}",
        f"--job-name={record.name}", f"--output={log}",
    ]  # fmt: skip
    if dependency:
        words.append(f"--dependency={dependency}")
    job = slurm.submit([*words, script], record.name)
    record = replace(record, ids=[*record.ids, job], complete=True)
    folder.write(record)
    logger.info("%s: job %s%s", folder.training, job, f", {dependency}" if dependency else "")
    return record


def dependency_of(folder: JobFolder, after: Sequence[str]) -> str:
    """``afterok:ID…`` with the predecessors that are alive; the others must be done.

    Raises:
        ConfigError: if one is neither.
    """
    states = status.job_states([JobFolder(folder.experiment, name) for name in after])
    waited_for = []
    for state in states:
        if state.state in (status.QUEUED, status.RUNNING, status.STOPPED, status.BLOCKED):
            waited_for.append(state.job)
        elif state.state in (status.DONE, status.NOT_NEEDED):
            continue
        elif state.state != status.FAILED or not state.folder.is_done():
            raise ConfigError(
                f"{folder.training} needs {state.folder.training}, which is {state}; run it first"
            )
    return "afterok:" + ":".join(waited_for) if waited_for else ""


def resubmit(folder: JobFolder, options: dict[str, str]) -> list[str]:
    """Submit a training again as before, with some options changed; it resumes.

    Trainings in the queue that wait for it will wait for the new job.

    Returns:
        Names of those trainings.

    Raises:
        ConfigError: if it is still alive, or would not use the GPUs asked for.
    """
    record = folder.read()
    assert record is not None
    _require_same_gpus(record, options)
    state = status.job_states([folder])[0]
    status.require_not_live(state)
    if state.state == status.BLOCKED:
        slurm.cancel(state.job)
    options = {**record.options, **options}
    again = replace(
        record, name=new_name(folder), options=options, submitted=time.time(), complete=False
    )
    submit_record(folder, again)
    return [waiting.training for waiting in job_folders(folder.experiment) if _repair(waiting, folder)]


def _require_same_gpus(record: JobRecord, options: dict[str, str]) -> None:
    """Require the same number of GPUs, which the training command fixes, not only its job."""
    used = _values(record.command, ("--ngpu",))
    if "gpu" in options and used and gpus(options["gpu"]) != int(used[-1]):
        raise ConfigError(
            f"--gpu {options['gpu']}: {record.training} was submitted with --ngpu {used[-1]}; to use "
            "another number, run its stage again with that --ngpu"
        )


def _repair(waiting: JobFolder, source: JobFolder) -> bool:
    """Let a job that waits for the source's old job wait for its new one."""
    record = waiting.read()
    assert record is not None
    if source.training not in record.after:
        return False
    entries = slurm.queue_once_it_answers([record.name])
    if entries is None:
        logger.warning(
            "Slurm does not answer: %s may still wait for the old job of %s; once status says that "
            "it is blocked: python -m cascade_asr.cli.jobs resubmit %s",
            waiting.training, source.training, waiting.training,
        )  # fmt: skip
        return False
    entry = entries.get(record.name)
    if entry is None or not entry.waits:
        return False
    slurm.change_dependency(entry.job, dependency_of(waiting, record.after))
    return True


def new_name(folder: JobFolder) -> str:
    """An unused job name, by which a job can be found."""
    return f"{folder.experiment.name}.{folder.training}.{secrets.token_hex(4)}"


def _values(command: Sequence[str], options: Sequence[str]) -> list[str]:
    return [command[index + 1] for index, word in enumerate(command[:-1]) if word in options]


def _with_copies(command: Sequence[str], folder: Path) -> list[str]:
    """The command with copies of its configurations, which later edits do not affect."""
    words = list(command)
    for index, word in enumerate(words[:-1]):
        if word in CONFIGURATIONS:
            copy = folder / f"{word[2:]}.yaml"
            shutil.copyfile(words[index + 1], copy)
            words[index + 1] = str(copy)
    return words
