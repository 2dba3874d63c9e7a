"""What a job leaves on disk, in EXP/jobs/TRAINING.

The folder is not inside the training's folder, because that is set aside as a whole
when the training is repeated with other options.

    job.json      what was submitted, under which names and ids
    attempt       token of the latest attempt (see `cascade_asr.training.fencing`)
    state.json    the last report of the latest attempt
    log           log of all attempts
    job.sh        what Slurm runs
    *.yaml        the configurations as they were at submission
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade_asr.cascade.names import CASCADE
from cascade_asr.errors import ConfigError, nearest
from cascade_asr.files import read_json, write_json
from cascade_asr.training.finished import read_done

FULL = "full"


@dataclass
class JobRecord:
    """A submission, as stored in job.json.

    Attributes:
        branch: chain of trainings that it belongs to, such as ``cascade``.
        training: ``full``, ``stage2``, or another folder of the experiment.
        name: unique, written before sbatch is called.
        ids: ids of all submissions, the latest last; that of ``name`` is missing
            if sbatch did not return.
        after: trainings that must be done first.
        command: training command, as words.
        options: options of the job, such as ``{"mem": "32G"}``.
        slurm_conf: file that turns them into options of sbatch.
        place: working folder.
        digest: digest of command, options and configurations.
        attempts: how often the job may start before it gives up.
        submitted: time of submission, in seconds since 1970.
        complete: sbatch has returned.
    """

    branch: str
    training: str
    name: str
    after: list[str]
    command: list[str]
    options: dict[str, str]
    slurm_conf: str
    place: str
    digest: str
    attempts: int
    submitted: float
    ids: list[str] = field(default_factory=list)
    complete: bool = False

    @property
    def job(self) -> str:
        """Id of the latest submission; empty if sbatch did not return."""
        return self.ids[-1] if self.complete else ""


@dataclass(frozen=True)
class JobFolder:
    """The files of one training's job.

    Attributes:
        experiment: ``exp/TAG``.
        training: its folder inside it.
    """

    experiment: Path
    training: str

    @property
    def path(self) -> Path:
        """Folder of the job."""
        return self.experiment / "jobs" / self.training

    @property
    def log(self) -> Path:
        """File with what the job printed, over all attempts."""
        return self.path / "log"

    @property
    def attempt(self) -> Path:
        """The fence's file."""
        return self.path / "attempt"

    @property
    def done_marker(self) -> Path:
        """The training's completion marker."""
        return self.experiment / self.training / "done.json"

    @classmethod
    def at(cls, path: Path) -> JobFolder:
        """The job folder at ``EXP/jobs/TRAINING``."""
        return cls(path.parent.parent, path.name)

    def read(self) -> JobRecord | None:
        """Read the submission; None if there was none."""
        path = self.path / "job.json"
        return JobRecord(**read_json(path)) if path.is_file() else None

    def write(self, record: JobRecord) -> None:
        """Store a submission."""
        write_json(self.path / "job.json", dataclasses.asdict(record))

    def read_state(self) -> dict[str, Any]:
        """The last report of the latest attempt; empty if there was none."""
        path = self.path / "state.json"
        return read_json(path) if path.is_file() else {}

    def write_state(self, **state: Any) -> None:
        """Report the state of the attempt."""
        write_json(self.path / "state.json", {**state, "written": time.time()})

    def last_word(self) -> str:
        """The state that the latest attempt reported last; ``done`` if finished since then.

        A training whose job failed, or was killed, may have been finished without a job.
        """
        said = self.read_state()
        if not said:
            return ""
        marker = self.done_marker
        finished_since = marker.is_file() and marker.stat().st_mtime > said["written"]
        return "done" if finished_since else said["state"]

    def is_done(self) -> bool:
        """Whether the training is finished, with the weights that its marker names."""
        try:
            return read_done(self.done_marker.parent, verify=True) is not None
        except ConfigError:
            return False

    def log_tail(self, characters: int = 20_000) -> str:
        """The end of the log, of the latest attempt only."""
        if not self.log.is_file():
            return ""
        with self.log.open("rb") as stream:
            stream.seek(max(0, self.log.stat().st_size - characters))
            return stream.read().decode(errors="replace").rpartition(": attempt ")[2]


def job_folders(experiment: Path) -> list[JobFolder]:
    """All trainings of an experiment with a job: full, the cascade, other branches.

    Within a branch they are ordered by the numbers at the end of their names.
    """

    def order(folder: JobFolder) -> tuple[int, str, int, str]:
        record = folder.read()
        assert record is not None
        rank = {FULL: 0, CASCADE: 1}.get(record.branch, 2)
        number = re.search(r"\d*$", folder.training)
        assert number is not None
        return rank, record.branch, int(number[0] or 0), folder.training

    folders = [JobFolder.at(path.parent) for path in experiment.glob("jobs/*/job.json")]
    return sorted(folders, key=order)


def find_folder(experiment: Path, training: str) -> JobFolder:
    """The job of a training, by its name or the number of a stage; 0 is full training.

    Raises:
        ConfigError: if it has none; it lists those that have one.
    """
    name = FULL if training == "0" else f"stage{training}" if training.isdigit() else training
    folder = JobFolder(experiment, name)
    if not (folder.path / "job.json").is_file():
        known = [each.training for each in job_folders(experiment)]
        raise ConfigError(
            f"no job of '{training}' in {experiment}; "
            f"there are: {', '.join(known) or 'none'}{nearest(name, known)}"
        )
    return folder


def submission_digest(command: list[str], options: dict[str, str], files: list[Path]) -> str:
    """A digest that differs between submissions that would do different things."""
    content = [command, options, [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
