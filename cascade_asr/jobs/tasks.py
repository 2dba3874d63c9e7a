"""Trainings as tasks: which job each one becomes, and which others it runs after."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_asr.cascade.names import CASCADE, parse_controls, parse_stage_numbers
from cascade_asr.files import read_json
from cascade_asr.jobs.options import gpus
from cascade_asr.jobs.record import FULL

logger = logging.getLogger(__name__)

TRAINING = (sys.executable, "-m", "cascade_asr.cli.training")  # what the jobs run


@dataclass(frozen=True)
class Training:
    """One training of a branch, as in the plan.

    Attributes:
        name: folder of the experiment that it fills.
        source: whose weights it starts from: ``previous`` (of its branch), ``full``,
            ``best`` (of all before it in its branch), or a folder elsewhere; empty
            if it starts from new weights.
        words: words that choose it in ``cascade_asr.cli.training``, the verb first.
    """

    name: str
    source: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class TrainingJob:
    """A training that becomes a job.

    Attributes:
        branch: chain of trainings that it belongs to, such as ``cascade``.
        training: its name.
        after: names of the trainings that must be done first.
        command: training command, as words.
    """

    branch: str
    training: str
    after: tuple[str, ...]
    command: tuple[str, ...]


def full_task(command: Sequence[str]) -> TrainingJob:
    """The task of full training; ``command`` is ``cascade_asr.cli.training``'s, without a verb."""
    return TrainingJob(FULL, FULL, (), _with_words(command, ("full",)))


def branch_tasks(
    branch: str, trainings: Sequence[Training], command: Sequence[str], patience: bool = False
) -> list[TrainingJob]:
    """One task for each training of a branch, after those that it starts from.

    Args:
        branch: its name.
        trainings: trainings in the order in which they run, without full training, which
            is the first of every branch.
        command: as for `full_task`.
        patience: the branch may end early, so that only the end of one training shows
            whether the next one that starts from another is needed.
    """
    tasks = []
    before = [FULL]
    for training in trainings:
        sources = {"previous": before[-1:], "full": before[:1], "best": before}
        after = set(sources.get(training.source, []))
        if patience and training.source:
            after.add(before[-1])
        tasks.append(
            TrainingJob(
                branch,
                training.name,
                tuple(sorted(after, key=before.index)),
                _with_words(command, training.words),
            )
        )
        before = [*before, training.name]
    return tasks


def planned_tasks(
    experiment: Path, stages: str, controls: str, command: Sequence[str]
) -> list[TrainingJob]:
    """The chosen stages of the cascade, then all trainings of the chosen controls.

    Args:
        experiment: folder with the plan.json of ``cascade_asr.cli.training check``.
        stages: ``all``, ``none``, or numbers such as ``2,3`` or ``2-4``.
        controls: ``all``, ``none``, or names such as ``longer,continue``.
        command: as for `full_task`.

    Raises:
        ConfigError: for a stage or a control that the plan does not have.
    """
    plan = read_json(experiment / "plan.json")
    patience = plan["stop"] == "patience"
    numbers = parse_stage_numbers(stages, len(plan["stages"]) - 1)
    chain = branch_tasks(CASCADE, _trainings(plan["stages"], ()), command, patience)
    tasks = [chain[number - 1] for number in numbers]
    for name in parse_controls(controls, list(plan["controls"])):
        trainings = _trainings(plan["controls"][name], ("--branch", name))
        tasks += branch_tasks(name, trainings, command, patience)
    return tasks


def _trainings(entries: list[dict[str, Any]], branch: tuple[str, ...]) -> list[Training]:
    """Trainings of one branch of plan.json, whose first entry is full training."""
    return [
        Training(
            entry["name"],
            entry["source"],
            ("cascade", *branch, "--cascade-stages", str(entry["number"])),
        )
        for entry in entries[1:]
    ]


def _with_words(command: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
    """``python -m MODULE`` with a verb and what follows it."""
    return (*command[:3], *words, *command[3:])


def with_devices(
    training_options: list[str], job_options: dict[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Make a training and its job agree on GPUs; srun starts one task per GPU.

    Without a number, a training takes all GPUs that it finds. In a job that asked for
    none these belong to nobody or to another user, so this is reported.

    Returns:
        The options of the training, with ``--ngpu``, and the resulting options of the job.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--ngpu", type=int)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=1)
    wanted = parser.parse_known_args(training_options)[0]
    ngpu = wanted.ngpu
    if ngpu is None:
        ngpu = gpus(job_options.get("gpu", "0"))
        training_options = [*training_options, "--ngpu", str(ngpu)]
        if ngpu == 0:
            logger.warning(
                "--ngpu was not given: these jobs ask for no GPU and train on the CPU. Write "
                "--ngpu 1 for one GPU per machine, or --ngpu 0 if the CPU is intended"
            )
    options = {"gpu": str(ngpu)} if ngpu else {}
    if (tasks := ngpu or wanted.processes) > 1:
        options["tasks"] = str(tasks)
    if wanted.nodes > 1:
        options["nodes"] = str(wanted.nodes)
    return training_options, options
