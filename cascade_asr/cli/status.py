"""Show running and waiting trainings: epoch, update and time left, here and on Slurm.

Examples:
    cascade-asr status               # those in exp/ here, or in all recipes of a clone
    cascade-asr status exp/rnn
    cascade-asr status --all         # finished ones too

The time left is until the last epoch, at the pace of the last few minutes, dev passes
included; patience may end a training sooner. Trainings on other hosts are known by what
they write to the experiment's folder every 10 seconds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cascade_asr import command
from cascade_asr.jobs import status as job_status
from cascade_asr.jobs.record import job_folders
from cascade_asr.jobs.slurm import SlurmError
from cascade_asr.jobs.status import JobState, job_states
from cascade_asr.results.columns import table
from cascade_asr.results.experiments import (
    BEGUN,
    DONE,
    KILLED,
    STOPPED,
    TrainingFolder,
    duration_words,
    find_experiments,
    survey,
)
from cascade_asr.training.standing import Standing

HEADER = ["training", "state", "where", "epoch", "update", "left", "last sign"]
REMEDY = {
    KILLED: "its process is gone; run the same command again to resume",
    STOPPED: "run the same command again to resume",
    BEGUN: "it has no checkpoint yet",
}


def row(training: Path, state: str, where: str, standing: Standing | None) -> list[str]:
    """One row of the table."""
    if standing is None:
        return [str(training), state, where, "-", "-", "-", "-"]
    left = standing.seconds_left
    return [
        str(training),
        state,
        where or standing.host,
        str(standing.epoch or "-"),
        f"{standing.update}/{standing.total_updates}",
        "-" if left is None or state == KILLED else duration_words(left),
        f"{duration_words(standing.age_s)} ago",
    ]


def rows_of(directory: Path, every: bool) -> list[list[str]]:
    """Rows of an experiment's trainings, with their jobs if they have any."""
    folders = job_folders(directory)
    try:
        states = job_states(folders)
    except SlurmError:  # this machine is not part of the cluster
        states = job_states(folders, asks=False)
    jobs: dict[str, JobState] = {each.folder.training: each for each in states}
    rows = []
    for training in survey(directory).trainings:
        job = jobs.pop(training.directory.name, None)
        if job is not None and training.state != DONE:
            rows.append(
                row(training.directory, str(job), f"job {job.job or '-'}", training.standing)
            )
        elif every or training.state != DONE:
            rows.append(_local(training))
    for name, job in jobs.items():
        if every or job.state not in (job_status.DONE, job_status.NOT_NEEDED):
            rows.append(row(directory / name, str(job), f"job {job.job or '-'}", None))
    return rows


def _local(training: TrainingFolder) -> list[str]:
    remedy = REMEDY.get(training.state)
    state = f"{training.state} ({remedy})" if remedy else training.state
    return row(training.directory, state, "", training.standing)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folders", type=Path, nargs="*", metavar="FOLDER",
        help="experiments, exp folders, recipes or a clone; default: exp, else egs/*/exp",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="show finished trainings too")
    arguments = parser.parse_args()
    found = find_experiments(arguments.folders)
    rows = [each for directory in found for each in rows_of(directory, arguments.all)]
    if rows:
        print(table(HEADER, rows))
    else:
        print("nothing is running or waiting; 'cascade-asr list' shows what is there")


if __name__ == "__main__":
    command.run(main)
