"""The configuration of trainings, as differences from the defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cascade_asr.options.training import TrainingOptions
from cascade_asr.yaml_file import read_yaml


def differences_to(
    defaults: TrainingOptions, directory: Path, trainings: Sequence[dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """The options that full training sets, and what each other training sets differently.

    Returns:
        By training: ``key``, ``value`` and ``default``. For all other trainings ``default``
        is full training's value. It is None for an option that has no default.
    """
    first = trainings[0]["name"]
    full = flat_options(directory / first)
    plain = dict(_flatten(dataclasses.asdict(defaults)))
    found = {first: _changed(full, plain)}
    for each in trainings[1:]:
        own = flat_options(directory / each["name"])
        if own:
            found[each["name"]] = _changed(own, full)
    return found


def _changed(own: dict[str, Any], other: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": value, "default": other.get(key)}
        for key, value in own.items()
        if value != other.get(key) and value not in ({}, [])
    ]


def flat_options(training: Path) -> dict[str, Any]:
    """The options of a training by dotted key; empty if none are recorded."""
    return dict(_flatten(recorded_options(training)))


def recorded_options(training: Path) -> dict[str, Any]:
    """The options of a training; empty if none are recorded.

    Raises:
        ConfigError: if its ``config.yaml`` is damaged.
    """
    path = training / "config.yaml"
    return read_yaml(path)[0] if path.is_file() else {}


def _flatten(options: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Flatten nested blocks into dotted keys."""
    for key, value in options.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
