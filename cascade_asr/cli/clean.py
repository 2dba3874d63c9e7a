"""Free disk space: list what can be removed, ask, and remove it.

Examples:
    cascade-asr clean --dry-run           # list what can be removed, with sizes; remove nothing
    cascade-asr clean                     # remove replaced folders and leftovers; ask first
    cascade-asr clean exp/rnn --what all  # everything that can be removed from one experiment
    cascade-asr clean --what replaced,features --yes   # without asking

What can be removed:
    replaced    trainings that were set aside, with their models: STAGE.replaced.N
    leftovers   what finished trainings no longer need (optimizer state, weights of single
                epochs), and temporary files of killed processes
    state       checkpoints of unfinished trainings, which then cannot resume but start
                from scratch
    features    feature archives in dump/: stage 1 computes them again; those that a data
                folder names in its own feats.scp stay

A model.pth is removed only with a replaced folder; models in use, records, scores and reports
stay. Running trainings are not touched, nor is the state of those whose jobs are waiting, nor
the features of a recipe that has such a training, nor a replaced folder from which another
training started. Sizes are those on disk (1 MB is 1,000,000 bytes).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cascade_asr import command
from cascade_asr.errors import ConfigError, nearest
from cascade_asr.jobs import status as job_status
from cascade_asr.jobs.record import job_folders
from cascade_asr.jobs.slurm import SlurmError
from cascade_asr.jobs.status import job_states
from cascade_asr.results.columns import table
from cascade_asr.results.experiments import find_experiments, size_words, survey
from cascade_asr.results.removable import KINDS, LEFTOVERS, REPLACED, Item, items_of, remove
from cascade_asr.training.lock import Locked

USUAL = f"{REPLACED},{LEFTOVERS}"


def parse_kinds(text: str) -> tuple[str, ...]:
    """Parse a list of kinds such as ``replaced,features``, or ``all``.

    Raises:
        ConfigError: for an unknown kind.
    """
    if text == "all":
        return KINDS
    names = tuple(each.strip() for each in text.split(","))
    for name in names:
        if name not in KINDS:
            raise ConfigError(
                f"--what {text}: no '{name}'{nearest(name, KINDS)}; choose all, or some of "
                f"{','.join(KINDS)}"
            )
    return names


def has_jobs(experiment: Path) -> bool:
    """Whether an experiment's jobs are running or waiting on Slurm, as far as is known."""
    folders = job_folders(experiment)
    live = (job_status.QUEUED, job_status.RUNNING, job_status.STOPPED, job_status.UNKNOWN)
    try:
        return any(each.state in live for each in job_states(folders)) if folders else False
    except SlurmError:  # this machine is not part of the cluster: assume that they are
        return True


def agreed(question: str) -> bool:
    """Whether the user types yes; end of input means no."""
    print(f"{question} [y/N] ", end="", flush=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        print()
    return answer.strip().lower() in ("y", "yes")


def in_words(items: list[Item]) -> str:
    """Number of items and the space they take."""
    many = f"{len(items)} entries" if len(items) > 1 else "1 entry"
    return f"{many}, {size_words(sum(each.size for each in items))}"


def remove_all(items: list[Item]) -> int:
    """Remove what was agreed to; leave alone any training that has started meanwhile."""
    freed, status = 0, 0
    for item in items:
        size = item.size
        try:
            remove(item)
        except Locked as error:
            print(f"left alone: {error}", file=sys.stderr)
            status = 1
        else:
            freed += size
    print(f"removed; {size_words(freed)} freed")
    return status


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folders", type=Path, nargs="*", metavar="FOLDER",
        help="experiments, exp folders, recipes or a clone; default: exp, else egs/*/exp",
    )  # fmt: skip
    parser.add_argument(
        "--what", default=USUAL, metavar="KINDS",
        help=f"what to remove: all, or some of {','.join(KINDS)}; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="list only; default: list, ask, remove"
    )
    parser.add_argument("--yes", action="store_true", help="remove without asking; default: ask")
    arguments = parser.parse_args()
    kinds = parse_kinds(arguments.what)
    if arguments.yes and arguments.dry_run:
        raise ConfigError("--yes and --dry-run contradict each other; give one of them")
    found = list(
        items_of([survey(each) for each in find_experiments(arguments.folders)], has_jobs)
    )
    chosen = [each for each in found if each.kind in kinds]
    if not found:
        print("nothing can go")
        return 0
    print(table(["kind", "what", "size", "goes"], [
        [each.kind, each.name, size_words(each.size),
         "yes" if each.kind in kinds else f"with --what {each.kind}"]
        for each in found
    ]))  # fmt: skip
    if not chosen:
        print(f"nothing of {arguments.what} can go")
        return 0
    if arguments.dry_run:
        print(f"would remove {in_words(chosen)}; nothing was removed")
        return 0
    if not arguments.yes and not agreed(f"remove {in_words(chosen)}?"):
        print("nothing was removed")
        return 1
    return remove_all(chosen)


if __name__ == "__main__":
    command.run(main)
