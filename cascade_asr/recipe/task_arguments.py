"""The options of every command that trains or plans: experiment, data, configurations."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path

from cascade_asr.cascade.options import CascadeConfig, load_cascade_config
from cascade_asr.cascade.task import Task
from cascade_asr.errors import ConfigError
from cascade_asr.lm.task import TextTask
from cascade_asr.options.assignments import Assignments
from cascade_asr.options.training import TrainingOptions
from cascade_asr.speech.task import SpeechTask
from cascade_asr.training.experiment import Experiment

logger = logging.getLogger(__name__)

TASKS = {"speech": SpeechTask, "text": TextTask}


def add_task_arguments(
    parser: argparse.ArgumentParser, train_config_required: bool = True, recorded: bool = False
) -> None:
    """Options that name an experiment and how it is trained.

    Args:
        parser: parser to add them to.
        train_config_required: whether the configuration has to be given.
        recorded: read what is not given from the experiment's folder, see
            `recorded_arguments.complete`.
    """
    needed = not recorded
    parser.add_argument(
        "--task", choices=tuple(TASKS), default=None if recorded else "speech",
        help="what is trained: a recogniser or a language model",
    )  # fmt: skip
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder, exp/TAG")
    parser.add_argument("--dump", type=Path, required=needed, help="folder of stages 1 and 2")
    parser.add_argument("--train-set", required=needed, help="set to train on")
    parser.add_argument("--dev-set", required=needed, help="dev set, used for model selection")
    parser.add_argument(
        "--train-config", type=Path, required=train_config_required and needed,
        help="training options, YAML",
    )  # fmt: skip
    parser.add_argument("--cascade-config", type=Path, help="cascade options, YAML")
    parser.add_argument(
        "--train-args", default="", metavar='"KEY=VALUE …"',
        help='training options that override the YAML file, such as "optim_conf.lr=3e-3 max_epoch=10"; '
        "values are YAML; default: none",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, help="seed that replaces the configuration's")


def make_task(arguments: argparse.Namespace) -> Task:
    """The task: what is trained, and on which data."""
    return TASKS[arguments.task](
        Experiment(arguments.exp, arguments.dump, arguments.train_set, arguments.dev_set)
    )


def read_configs(
    task: Task, arguments: argparse.Namespace
) -> tuple[TrainingOptions, CascadeConfig]:
    """Both configurations, checked as far as possible without a model.

    Raises:
        ConfigError: with every problem of the first file that has any.
    """
    given = Assignments.parse(arguments.train_args)
    if "seed" in given.values and arguments.seed is not None:
        raise ConfigError(
            f"--train-args {given.words['seed']} and --seed {arguments.seed}: give one of them"
        )
    with given.named(str(arguments.train_config)):
        config, notes = task.load_config(arguments.train_config, given)
        for note in notes:
            logger.warning(note)
        if arguments.seed is not None:
            config = dataclasses.replace(config, seed=arguments.seed)
        task.check_config(config, str(arguments.train_config))
    cascade = CascadeConfig()
    if arguments.cascade_config:
        cascade = load_cascade_config(arguments.cascade_config)
    return config, cascade
