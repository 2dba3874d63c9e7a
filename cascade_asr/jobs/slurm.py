"""Slurm's commands, and what is known about their answers.

Nothing here needs accounting: sacct is asked last, and believed only if it
works. The facts are those of Slurm 22.05.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass

from cascade_asr.errors import CascadeError

logger = logging.getLogger(__name__)

TIMEOUT_S = 60
FIND_FOR_S = 120  # how long to look for a job that sbatch may have submitted
REQUEUE_FOR_S = 280  # of the 300 s between the warning of a time limit and its end
ASK_AGAIN_S = 5
ANSWERS_TO_BELIEVE = 7  # answers needed to believe that there is no such job
UNREACHABLE = re.compile(r"timed out|unable to contact|connect|communication", re.IGNORECASE)
# Variables that a user or a site sets for all jobs; every other variable of Slurm
# describes the job that this process runs in, or is an option of sbatch, which
# conf/slurm.conf sets.
OF_THE_USER = re.compile(
    r"SLURM_(CONF|CONF_SERVER|JWT|CLUSTERS|TIME_FORMAT)"
    r"|SBATCH_(ACCOUNT|PARTITION|QOS|RESERVATION|CLUSTERS|CONSTRAINT|WCKEY)"
)
OF_A_JOB = re.compile(r"(SLURM|SLURMD|SBATCH|SRUN|SALLOC|PMI|PMIX|PMI2)_.*|CASCADE_ASR_ATTEMPT")
DEVICES = ("CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES")
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT")
ACTIVE = (
    "RUNNING", "COMPLETING", "CONFIGURING", "EXPEDITING", "POWER_UP_NODE", "RESIZING", "SIGNALING",
    "STAGE_OUT", "STOPPED", "SUSPENDED", "UPDATE_DB",
)  # fmt: skip
CAUSES = {
    "TIMEOUT": "time limit",
    "DEADLINE": "deadline",
    "OUT_OF_MEMORY": "memory",
    "CANCELLED": "cancelled",
    "NODE_FAIL": "node lost",
    "PREEMPTED": "preempted",
    "BOOT_FAIL": "node did not boot",
}


class SlurmError(CascadeError):
    """Slurm refused, or does not answer."""


@dataclass(frozen=True)
class QueueEntry:
    """A job that the controller knows.

    Attributes:
        job: its id.
        name: our unique name.
        state: such as ``PENDING``.
        reason: why it waits, such as ``Dependency``; else its node.
    """

    job: str
    name: str
    state: str
    reason: str

    @property
    def waits(self) -> bool:
        """Whether it has not started, or will start again."""
        return self.state in WAITING

    @property
    def lives(self) -> bool:
        """Whether it may still change something."""
        return self.waits or self.state in ACTIVE


def submission_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the variables of an interactive or other job around this process.

    A job inherits its submitter's environment, and another job's ``SLURM_MEM_PER_CPU``
    together with the job's own ``--mem`` makes it fail at once.
    """
    in_a_job = "SLURM_JOB_ID" in environment
    return {
        name: value
        for name, value in environment.items()
        if (OF_THE_USER.fullmatch(name) or not OF_A_JOB.fullmatch(name))
        and not (in_a_job and name in DEVICES)
    }


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command that Ctrl-C does not reach: a submission must not be interrupted."""
    try:
        return subprocess.run(
            words, capture_output=True, text=True, timeout=TIMEOUT_S, start_new_session=True,
            check=False, stdin=subprocess.DEVNULL, env=submission_environment(os.environ),
        )  # fmt: skip
    except FileNotFoundError as error:
        raise SlurmError(f"{words[0]}: not found; is this a login node of a cluster?") from error
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"{words[0]} timed out")


def submit(words: list[str], name: str) -> str:
    """Submit a job and return its id.

    sbatch may fail although the controller has taken the job: it is then found by
    its name, which must be unique.

    Raises:
        SlurmError: with Slurm's own reason.
    """
    done = _run(words)
    match = re.search(r"^(\d+)(;\S+)?$", done.stdout, re.MULTILINE)
    if done.returncode == 0 and match:
        return match[1]
    message = (done.stderr or done.stdout).strip()
    if not UNREACHABLE.search(message):
        raise SlurmError(f"cannot submit {name}: {message}")
    logger.warning("%s; looking for the job", message)
    job = find(name, FIND_FOR_S)
    if job is None:
        raise SlurmError(f"cannot submit {name}: {message}")
    return job


def find(name: str, seconds: float = 0.0) -> str | None:
    """Id of the job with a unique name; None if there is none.

    Args:
        name: name of the job.
        seconds: how long to wait for a controller that does not answer, and for one
            that is recovering, which answers before it has processed its queued requests.

    Raises:
        SlurmError: if it does not answer in that time.
    """
    deadline = time.monotonic() + seconds
    answers = 0
    while True:
        done = _run(["squeue", "-h", "-t", "all", "-o", "%A", f"--name={name}"])
        if done.returncode == 0:
            ids = re.findall(r"^\d+$", done.stdout, re.MULTILINE)
            answers += 1
            if ids or not seconds or answers >= ANSWERS_TO_BELIEVE:
                return ids[-1] if ids else None
        if time.monotonic() > deadline:
            raise SlurmError(
                f"Slurm does not answer ({done.stderr.strip()}); it is not known whether job {name} "
                "exists; running the same command again will find it"
            )
        time.sleep(2)


def queue(names: list[str]) -> dict[str, QueueEntry] | None:
    """What the controller knows about jobs, by name; None if it does not answer."""
    if not names:
        return {}
    done = _run(["squeue", "-h", "-t", "all", "-o", "%A|%j|%T|%r|%N", f"--name={','.join(names)}"])
    if done.returncode != 0:
        return None
    entries = {}
    for line in done.stdout.splitlines():
        if line.count("|") < 4:  # with SLURM_CLUSTERS, a line names the cluster
            continue
        job, name, state, reason, node = line.split("|", 4)
        reason = node if state in ACTIVE else reason
        entries[name] = QueueEntry(job, name, state, reason)
    return entries


def queue_once_it_answers(names: list[str]) -> dict[str, QueueEntry] | None:
    """The same, asking again for `FIND_FOR_S`, because a busy controller may not answer at once."""
    deadline = time.monotonic() + FIND_FOR_S
    while True:
        entries = queue(names)
        if entries is not None or time.monotonic() > deadline:
            return entries
        time.sleep(ASK_AGAIN_S)


def accounting(job: str) -> str | None:
    """State of a job that the controller has forgotten; None without accounting.

    Asks the accounting database, then the file of completed jobs
    (``JobCompType=jobcomp/filetxt``).
    """
    if shutil.which("sacct") is None:
        return None
    for source in ([], ["--completion"]):
        done = _run(["sacct", *source, "-X", "-n", "-P", "-o", "State", "-j", job])
        states = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
        if done.returncode == 0 and states:
            return states[-1]  # of "CANCELLED by 1000" the first word
    return None


def cancel(job: str) -> None:
    """Cancel a job; a training saves before it ends.

    Raises:
        SlurmError: with Slurm's own reason.
    """
    done = _run(["scancel", job])
    if done.returncode != 0 and "Invalid job id" not in done.stderr:
        raise SlurmError(f"scancel {job}: {done.stderr.strip()}")


def requeue(job: str, seconds: float = REQUEUE_FOR_S) -> None:
    """Let a job start again; inside the job this is the last thing that happens.

    Args:
        job: its id.
        seconds: how long to try while the controller does not answer, as when it is restarted.

    Raises:
        SlurmError: with Slurm's own reason.
    """
    deadline = time.monotonic() + seconds
    while True:
        done = _run(["scontrol", "requeue", job])
        if done.returncode == 0:
            return
        message = f"scontrol requeue {job}: {(done.stderr or done.stdout).strip()}"
        if not UNREACHABLE.search(message) or time.monotonic() > deadline:
            raise SlurmError(message)
        logger.warning("%s; trying again", message)
        time.sleep(ASK_AGAIN_S)


def change_dependency(job: str, dependency: str) -> None:
    """Let a waiting job wait for others; ``afterok:ID:ID``, or empty.

    Raises:
        SlurmError: with Slurm's own reason.
    """
    done = _run(["scontrol", "update", f"jobid={job}", f"dependency={dependency}"])
    if done.returncode != 0:
        raise SlurmError(f"scontrol update jobid={job}: {done.stderr.strip()}")
