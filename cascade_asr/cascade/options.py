"""The options of a cascade, as in conf/cascade.yaml."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cascade_asr.errors import ConfigError
from cascade_asr.networks.layer import TYINGS, Layering
from cascade_asr.options.places import place
from cascade_asr.options.schema import from_mapping, option
from cascade_asr.options.training import TrainingOptions
from cascade_asr.yaml_file import read_yaml

Options = TypeVar("Options", bound=TrainingOptions)

CHOICES = {
    "direction": ("top-down", "bottom-up", "unfreeze", "reset"),
    "grain": ("layer", "module", "fine"),
    "below": ("reinitialise", "keep"),
    "top": ("trained", "random"),
    "stop": ("exhaustive", "patience"),
}


@dataclass
class CascadeConfig:
    """A cascade; defaults are the paper's algorithm as we read it."""

    direction: str = option(
        "top-down",
        "freeze the upper layers first; bottom-up: the lower; unfreeze: the lower, fewer in each "
        "stage; reset: freeze nothing, re-initialise the upper layers",
    )
    cuts: str | list[str] = option("auto", "auto, or the lowest frozen layer of each stage")
    grain: str = option("layer", "what a layer is: layer, module (encoder, classifier), or fine")
    tying: str | None = option(None, "tied weights in the stages: untie, freeze or train")
    repeats: int = option(1, "number of passes through the cuts, for direction reset")
    source: str = option("previous", "previous, best, full, or a folder with a trained model")
    first_source: str | None = option(None, "source of stage 1, if it is a different one")
    below: str = option("reinitialise", "reinitialise or keep the layers that are trained")
    top: str = option("trained", "trained, or random: a frozen classifier that learnt nothing")
    frozen_dropout: bool = option(True, "dropout inside frozen layers")
    stop: str = option("exhaustive", "exhaustive, or patience")
    patience: int = option(1, "stages without improvement before stop: patience ends it")
    select: list[str] = option([], "dev metric and min or max; empty: wer_ctc, or acc without CTC")
    finetune: bool = option(False, "add a last stage that trains all layers from their current weights")
    probe: list[str] = option([], "what cli.probe replaces single layers with; nothing is trained")
    train: dict[str, Any] = option(
        {},
        "training options that differ in all stages; another optim or scheduler has its own "
        "defaults, not the optim_conf or scheduler_conf of full training",
    )
    stages: dict[str, Any] = option({}, "training options of single stages, by number")

    @property
    def layering(self) -> Layering:
        """How to divide the model into layers."""
        return Layering(self.grain, self.tying)

    def digest(self) -> str:
        """A hash of the options."""
        content = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def load_cascade_config(path: Path) -> CascadeConfig:
    """Read a cascade configuration.

    Raises:
        ConfigError: listing every unknown key and every value that is not allowed.
    """
    return cascade_config_from(*read_yaml(path), str(path))


def cascade_config_from(
    content: dict[str, Any], lines: dict[str, int], path: str
) -> CascadeConfig:
    """A cascade configuration from a mapping; as `load_cascade_config`.

    Args:
        content: keys and values; changed in place.
        lines: line of each dotted key.
        path: where they come from, for the messages.
    """
    if isinstance(content.get("stages"), dict):
        content["stages"] = {str(key): value or {} for key, value in content["stages"].items()}
    config = from_mapping(CascadeConfig, content, path, lines)
    problems = []
    if config.tying not in (None, *TYINGS):
        problems.append(
            f"{place(path, lines, 'tying')}: tying is '{config.tying}', expected "
            f"{', '.join(TYINGS[:-1])} or {TYINGS[-1]}"
        )
    for name, allowed in CHOICES.items():
        value = getattr(config, name)
        if value not in allowed:
            problems.append(
                f"{place(path, lines, name)}: {name} is '{value}', expected {' or '.join(allowed)}"
            )
    for number, changes in config.stages.items():
        if not isinstance(changes, dict):
            problems.append(
                f"{place(path, lines, f'stages.{number}')}: stages.{number} expects training "
                f"options such as {{max_epoch: 5}}, found {changes!r}"
            )
    if config.repeats < 1 or (config.repeats > 1 and config.direction != "reset"):
        problems.append(
            f"{place(path, lines, 'repeats')}: repeats is {config.repeats}, expected 1"
            + (" or more" if config.direction == "reset" else "; more is for direction reset")
        )
    if config.patience < 1:
        problems.append(
            f"{place(path, lines, 'patience')}: patience is {config.patience}, expected 1 or more"
        )
    elif config.patience > 1 and config.stop != "patience":
        problems.append(
            f"{place(path, lines, 'patience')}: patience is {config.patience}, but all stages are run; "
            "add stop: patience"
        )
    for name, usual in (("below", "reinitialise"), ("top", "trained")):
        if config.direction == "reset" and getattr(config, name) != usual:
            problems.append(
                f"{place(path, lines, name)}: {name} is '{getattr(config, name)}', but direction reset "
                f"freezes nothing; leave {name} out"
            )
    if isinstance(config.cuts, str) and config.cuts != "auto":
        config.cuts = [config.cuts]
    if config.select and (len(config.select) != 2 or config.select[1] not in ("min", "max")):
        problems.append(
            f"{place(path, lines, 'select')}: select expects a metric and min or max, "
            f"such as [wer_ctc, min], found {config.select}"
        )
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def override(config: Options, changes: dict[str, Any], where: str) -> Options:
    """A training configuration with some keys changed; blocks are merged, at any depth.

    Another kind of a part (``optim: sgd``), or none (``scheduler: null``), does not take over
    the block of options of the former one: those that ``changes`` does not give have their
    defaults.

    Raises:
        ConfigError: for an unknown key or a value of the wrong type.
    """
    if not changes:
        return config
    content = dataclasses.asdict(config)
    usual = dataclasses.asdict(type(config)())
    for key, value in changes.items():
        block = f"{key}_conf"
        if block in content and _kind(value) != _kind(content[key]):
            content[block] = usual[block] if _kind(value) == _kind(usual[key]) else {}
    return from_mapping(type(config), _merged(content, changes), where, {})


def _kind(name: Any) -> Any:
    """The name of an optimizer, a schedule and the like, which may be written in any case."""
    return name.lower() if isinstance(name, str) else name


def _merged(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``content`` with the leaves of ``changes`` put in."""
    result = dict(content)
    for key, value in changes.items():
        both = isinstance(result.get(key), dict) and isinstance(value, dict)
        result[key] = _merged(result[key], value) if both else value
    return result


def stage_seed(seed: int, stage: int) -> int:
    """The seed of a cascade stage; stage 0, full training, has the user's seed.

    Every stage needs a different one: rebuilding a network with the same seed
    gives the "fresh" weights that it already had.
    """
    if stage == 0:
        return seed
    return int(np.random.SeedSequence([seed, stage]).generate_state(1)[0] % 2**31)
