"""Check a recipe's option files before its first stage, so that typing errors show at once.

Whatever needs a network, such as layers named by a cascade, is checked by stage 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from cascade_asr.cascade.names import CONTROLS, parse_controls, parse_stage_numbers
from cascade_asr.data.features.extraction import read_extractor
from cascade_asr.errors import ConfigError
from cascade_asr.lm.evaluation_config import load_evaluation_config
from cascade_asr.options.assignments import Assignments
from cascade_asr.speech.config import load_train_config
from cascade_asr.speech.decode_config import load_decode_config

MOST_STAGES = 999  # the plan's number of stages is not known yet


def check_option_files(kind: str, values: Mapping[str, str]) -> None:
    """Read the option files that can be read without PyTorch, which takes seconds to import.

    Args:
        kind: ``speech`` or ``text``.
        values: values of all options of the recipe.

    Raises:
        ConfigError: with the problems of all files.
    """
    checks: list[Callable[[], object]] = [
        lambda: parse_controls(values["controls"], CONTROLS),
        lambda: parse_stage_numbers(values["cascade_stages"], MOST_STAGES),
    ]
    if kind == "speech":
        checks += [
            lambda: _check_training(Path(values["train_config"]), values["train_args"]),
            lambda: load_decode_config(Path(values["decode_config"])),
            lambda: read_extractor(Path(values["fbank_config"])),
        ]
    else:
        checks += [
            lambda: Assignments.parse(values["train_args"]),
            lambda: load_evaluation_config(Path(values["evaluate_config"])),
        ]
    problems = []
    for check in checks:
        try:
            check()
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))


def _check_training(path: Path, words: str) -> None:
    given = Assignments.parse(words)
    with given.named(str(path)):
        load_train_config(path, given)
