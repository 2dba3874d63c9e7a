"""Trainings as Slurm jobs: submit, inspect, restart, cancel.

A TRAINING is the name of its folder, such as full or stage2, or the number of a stage;
0 is full training.

Examples:
    python -m cascade_asr.cli.jobs status
    python -m cascade_asr.cli.jobs resubmit 2 --mem 32G --time 8:00:00
    python -m cascade_asr.cli.jobs log 2 --follow
    python -m cascade_asr.cli.jobs cancel all
    python -m cascade_asr.cli.jobs submit full --exp exp/rnn --job-options "--mem 8G" \\
        --dump dump --train-set train --dev-set dev --train-config conf/train.yaml
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
from pathlib import Path

from cascade_asr import command
from cascade_asr.errors import ConfigError
from cascade_asr.jobs import slurm, status
from cascade_asr.jobs.attempt import begin, end
from cascade_asr.jobs.following import LogReader, follow
from cascade_asr.jobs.options import SlurmConf, find_slurm_conf, parse_job_options
from cascade_asr.jobs.record import FULL, JobFolder, find_folder, job_folders
from cascade_asr.jobs.status import DONE, NOT_NEEDED, JobState, job_states
from cascade_asr.jobs.submission import Submitter, resubmit
from cascade_asr.jobs.tasks import TRAINING, full_task, planned_tasks, with_devices

logger = logging.getLogger(__name__)

LOG_LINES = 50


def parse_arguments() -> tuple[argparse.Namespace, list[str]]:
    """The command line, and the words that this parser does not know."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--exp", type=Path, help="experiment folder; default: the only one in exp")

    one = verbs.add_parser(
        "submit", parents=[common], help="submit trainings as a chain of jobs", allow_abbrev=False
    )
    one.add_argument("what", choices=("full", "cascade"))
    one.add_argument(
        "--cascade-stages", default="all", help="all, none, or numbers such as 2,3 or 2-4"
    )
    one.add_argument(
        "--controls", default="none", help="controls to train as well: all, none, or a list such as longer,continue"
    )
    one.add_argument("--job-options", default="", help='for example "--mem 8G --time 4:00:00"')
    one.add_argument("--slurm-conf", type=Path, help="default: conf/slurm.conf, here or shipped")
    one.add_argument("--attempts", type=int, default=50, help="number of times a job is started before it gives up")
    one.add_argument("--follow", action="store_true", help="wait, and show what the jobs print")

    verbs.add_parser("status", parents=[common], help="state of all jobs")
    for name, text in (
        ("resubmit", "restart a training; it resumes, and its successors wait for it"),
        ("cancel", "cancel a training, or all; each saves its state first"),
        ("log", "show the end of a training's log"),
    ):
        one = verbs.add_parser(name, parents=[common], help=text, description=text)
        one.add_argument("training")
    one.add_argument("--follow", action="store_true", help="keep printing as the log grows")
    one.add_argument("--lines", type=int, default=LOG_LINES, help="number of lines to show")

    for name in ("begin", "end"):  # called by the job's own script
        one = verbs.add_parser(name, description="for job.sh only")
        one.add_argument("folder", type=Path)
    one.add_argument("--code", type=int, required=True)
    one.add_argument("--terminated", choices=("yes", "no"), required=True)

    arguments, rest = parser.parse_known_args()
    if rest and arguments.verb not in ("submit", "resubmit"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return arguments, [word for word in rest if word != "--"]


def experiments(given: Path | None) -> list[Path]:
    """The experiment asked for, or all in ./exp that have jobs."""
    if given is not None:
        return [given]
    return sorted({path.parents[2] for path in Path("exp").glob("*/jobs/*/job.json")})


def only_experiment(given: Path | None) -> Path:
    """The only experiment with jobs, or the one that was given.

    Raises:
        ConfigError: if there is not exactly one.
    """
    found = experiments(given)
    if len(found) != 1:
        names = ", ".join(map(str, found)) or "none in ./exp"
        raise ConfigError(f"which experiment? name it with --exp; experiments with jobs: {names}")
    return found[0]


def submit(arguments: argparse.Namespace, training_options: list[str]) -> int:
    """Check the configurations, then submit."""
    experiment = arguments.exp
    if experiment is None:
        raise ConfigError("submit needs --exp, the folder of the experiment")
    conf = SlurmConf.read(find_slurm_conf(arguments.slurm_conf))
    given = parse_job_options(arguments.job_options.split())
    training_options, options = with_devices(training_options, {**conf.defaults, **given})
    training = [*TRAINING, "--exp", str(experiment), *training_options]
    plan = ["--controls", arguments.controls, "--cascade-stages", arguments.cascade_stages]
    check = [*TRAINING, "check", *training[3:], *plan]
    checked = subprocess.run(check, check=False, stdout=subprocess.DEVNULL)
    if checked.returncode != 0:
        return checked.returncode
    submitter = Submitter(experiment, {**options, **given}, conf, arguments.attempts)
    if arguments.what == FULL:
        tasks = [full_task(training)]
    else:
        tasks = planned_tasks(
            experiment, arguments.cascade_stages, arguments.controls, training
        )
    folders = submitter.submit(tasks)
    if arguments.follow:
        return follow_until_end(experiment, folders)
    print(
        f"the jobs go on without this terminal; python -m cascade_asr.cli.jobs status "
        f"--exp {experiment} shows their state",
        file=sys.stderr,
    )
    return 0


def follow_until_end(experiment: Path, folders: list[JobFolder]) -> int:
    """Return 0 when all are done; Ctrl-C leaves the jobs alone and says how to cancel them."""
    try:
        states = follow(folders)
    except KeyboardInterrupt:
        records = [record for folder in folders if (record := folder.read())]
        ids = ", ".join(f"{record.training} {record.job}" for record in records)
        print(
            f"\nthe jobs keep running: {ids}; to cancel them: python -m cascade_asr.cli.jobs cancel all "
            f"--exp {experiment}",
            file=sys.stderr,
        )
        return 130
    return 0 if all(state.state in (DONE, NOT_NEEDED) for state in states) else 1


def show_status(given: Path | None) -> int:
    """Print a table of all jobs of one experiment, or of all experiments."""
    for experiment in experiments(given):
        states = job_states(job_folders(experiment))
        print(experiment)
        width = max((len(state.folder.training) for state in states), default=0)
        for state in states:
            print(f"  {state.folder.training:{width}} {state.job or '-':>8}  {state}")
        for line in remedies(experiment, states):
            print(f"  {line}")
    return 0


def remedies(experiment: Path, states: list[JobState]) -> list[str]:
    """What to do about the first failure; this also restarts the stages after it."""
    failed = [state for state in states if state.state == status.FAILED]
    if not failed:
        return []
    first = failed[0]
    return [
        f"log: {first.folder.log}",
        f"resume: python -m cascade_asr.cli.jobs resubmit {first.folder.training} --exp {experiment}",
    ]


def cancel(experiment: Path, training: str) -> int:
    """Cancel one job, or all that are alive."""
    every = training == "all"
    folders = job_folders(experiment) if every else [find_folder(experiment, training)]
    states = job_states(folders)
    alive = (status.QUEUED, status.RUNNING, status.STOPPED, status.BLOCKED, status.UNKNOWN)
    for state in states:
        if state.state in alive and state.job:
            slurm.cancel(state.job)
            print(f"{state.folder.training}: cancelled job {state.job}")
        elif not every:
            print(f"{state.folder.training}: nothing to cancel; it is {state}")
    return 0


def show_log(folder: JobFolder, lines: int, going_on: bool) -> int:
    """Print the end of a log and, if asked, what is added to it."""
    print(folder.log, file=sys.stderr)
    content = folder.log.read_bytes() if folder.log.is_file() else b""
    every = content.splitlines(keepends=True)
    last = b"".join(every[max(0, len(every) - lines) :])
    print(last.decode(errors="replace"), end="", flush=True)
    if going_on:
        follow([folder], [LogReader(folder, sys.stdout, len(content))])
    return 0


def main() -> int:
    arguments, rest = parse_arguments()
    if arguments.verb == "submit":
        return submit(arguments, rest)
    if arguments.verb == "status":
        return show_status(arguments.exp)
    if arguments.verb == "begin":
        print(begin(JobFolder.at(arguments.folder)))
        return 0
    if arguments.verb == "end":
        return end(JobFolder.at(arguments.folder), arguments.code, arguments.terminated == "yes")
    experiment = only_experiment(arguments.exp)
    if arguments.verb == "cancel":
        return cancel(experiment, arguments.training)
    folder = find_folder(experiment, arguments.training)
    if arguments.verb == "log":
        return show_log(folder, arguments.lines, arguments.follow)
    for waiting in resubmit(folder, parse_job_options(rest)):
        print(f"{waiting} waits for the new job")
    return 0


if __name__ == "__main__":
    command.run(main)
