"""Train a finished stage again; the old one is set aside as STAGE.replaced.N.

Examples:
    cascade-asr redo exp/rnn/stage2               # as it was trained, from exp/rnn/stage1
    cascade-asr redo exp/rnn/longer1 --ngpu 0     # other options are passed to the training
    cascade-asr redo exp/rnn/stage2 --aside-only  # the next ./run.sh --stage 4 trains it,
                                                  # on Slurm too

Data, configurations and seed are those the experiment was last trained or checked with
(arguments.json in its folder). The old folder is renamed only once the new training has
its network and its source's weights. A stage that is not finished resumes where it stopped.
Stages that started from it are trained again by the recipe's stage 4.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from cascade_asr import command
from cascade_asr.cascade.names import CASCADE, CONTROLS
from cascade_asr.cli.recorded_arguments import EXPERIMENT, RESOURCES, Recorded, recorded_arguments
from cascade_asr.errors import ConfigError, nearest
from cascade_asr.files import read_json
from cascade_asr.training.finished import imported_from, set_aside, source_within
from cascade_asr.training.lock import held


def branch_and_number(experiment: Path, name: str) -> tuple[str, int]:
    """Branch of a training and its number in the branch; full training is number 0.

    Raises:
        ConfigError: if the plan has no training of that name.
    """
    if name == "full":
        return CASCADE, 0
    path = experiment / "plan.json"
    if not path.is_file():  # an older experiment; names of trainings say which they are
        parts = re.fullmatch(r"(.+?)([1-9]\d*)", name)
        branch = CASCADE if parts and parts[1] == "stage" else parts and parts[1]
        if branch not in (CASCADE, *CONTROLS):
            raise ConfigError(f"{experiment}: '{name}' is no training of a cascade or of a control")
        return branch, int(parts[2])
    plan = read_json(path)
    known = {}
    for branch, stages in {**plan["controls"], CASCADE: plan["stages"]}.items():
        for stage in stages:
            known[stage["name"]] = (branch, stage["number"])
    if name not in known:
        raise ConfigError(
            f"{experiment} has no training '{name}'{nearest(name, known)}; its plan has: "
            f"{', '.join(known)}"
        )
    return known[name]


def descendants(experiment: Path, name: str) -> Iterator[str]:
    """Finished trainings whose weights come from a training, directly or not."""
    folder = (experiment / name).resolve()
    for path in sorted(experiment.glob("*/lineage.json")):
        if ".replaced." in path.parent.name:
            continue
        if source_within(experiment, read_json(path)) == folder.name:
            yield path.parent.name
            yield from descendants(experiment, path.parent.name)


def training_words(recorded: Recorded, experiment: str, name: str, more: list[str]) -> list[str]:
    """The command line that trains it."""
    branch, number = branch_and_number(recorded.recipe / experiment, name)
    what = ["full"] if number == 0 else ["cascade", f"--branch={branch}"]
    stages = [] if number == 0 else [f"--cascade-stages={number}"]
    given = {word.partition("=")[0] for word in more}
    own = [word for word in recorded.words(*EXPERIMENT, *RESOURCES)
           if word.partition("=")[0] not in given]  # fmt: skip
    log = [] if "--log" in given else [f"--log={experiment}/log/redo.log"]
    return [*what, f"--exp={experiment}", *own, *stages, *log, f"--again={name}", *more]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="cascade-asr redo [-h] [--aside-only] EXP/STAGE [options of the training]",
        allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument(
        "stage", type=Path, metavar="EXP/STAGE", help="folder of the training, such as exp/rnn/stage2"
    )
    parser.add_argument(
        "--aside-only", action="store_true",
        help="rename the old folder and train nothing; default: train at once",
    )  # fmt: skip
    arguments, more = parser.parse_known_args()
    folder = arguments.stage
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: no such training; name its folder, such as exp/rnn/stage2 "
            "('cascade-asr list' shows them)"
        )
    folder = folder.resolve()
    if ".replaced." in folder.name:
        raise ConfigError(f"{arguments.stage} was set aside already; redo the stage itself")
    if weights := imported_from(folder):
        raise ConfigError(
            f"{arguments.stage} was imported from {weights}, not trained; import it into another "
            "folder instead: cascade-asr espnet2 import --exp ..."
        )
    recorded = recorded_arguments(folder.parent)
    branch_and_number(folder.parent, folder.name)
    if arguments.aside_only:
        with held(folder.with_name(f".{folder.name}.lock"), str(arguments.stage)):
            print(f"{arguments.stage} is now {set_aside(folder).name}; ./run.sh trains it again")
        return
    if (recorded.values.get("nodes") or 1) > 1:
        raise ConfigError(
            f"{arguments.stage} was trained on {recorded.values['nodes']} machines: use "
            "--aside-only, then ./run.sh --stage 4 --cmd slurm"
        )
    later = list(dict.fromkeys(descendants(folder.parent, folder.name)))
    if later:
        print(
            f"{', '.join(later)} started from the old {folder.name}: ./run.sh --stage 4 trains "
            "them again", file=sys.stderr,
        )  # fmt: skip
    experiment = os.path.relpath(folder.parent, recorded.recipe)
    words = training_words(recorded, experiment, folder.name, more)
    os.chdir(recorded.recipe)
    sys.stderr.flush()
    # a new process: training starts its ranks by running its own command line again
    os.execv(sys.executable, [sys.executable, "-m", "cascade_asr.cli.training", *words])


if __name__ == "__main__":
    command.run(main)
