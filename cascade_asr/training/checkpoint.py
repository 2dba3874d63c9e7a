"""Save and load weights so that no fault leaves an incomplete file."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cascade_asr.errors import ConfigError, TrainingError
from cascade_asr.files import atomic_write

StateDict = dict[str, torch.Tensor]


def save(path: Path, content: Any) -> None:
    """Write a checkpoint atomically; the previous one stays until the new one is complete.

    Raises:
        TrainingError: if the disk is full or cannot be written.
    """
    try:
        with atomic_write(path, "wb") as stream:
            torch.save(content, stream)
    except (OSError, RuntimeError) as error:
        reason = str(error)
        cause = error if isinstance(error, OSError) else error.__context__
        if isinstance(cause, OSError) and cause.errno is not None:
            reason = errno_text(cause)
        kept = f"; the previous {path} is kept" if path.exists() else ""
        raise TrainingError(f"cannot write {path}: {reason}{kept}") from error


def errno_text(error: OSError) -> str:
    """A file error in words, with the remedy for a full disk."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{error.strerror}; free some space and start again: training resumes"
    return str(error.strerror or error)


def load(path: Path) -> Any:
    """Load a checkpoint to the CPU.

    Raises:
        ConfigError: if it is missing or damaged.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such checkpoint")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"{path}: damaged ({reason}); restore it, or move it away (mv {path} {path}.damaged) "
            "and rerun the same command: what is lost is trained again"
        ) from error


def require_parts(content: Any, names: Iterable[str], path: Path) -> None:
    """Require that a checkpoint is a mapping with these keys.

    Raises:
        ConfigError: if it is a different kind of file.
    """
    missing = [n for n in names if not isinstance(content, Mapping) or n not in content]
    if missing:
        raise ConfigError(
            f"{path}: not a checkpoint of a training ({', '.join(missing)} missing); move it away "
            "to train from the first epoch"
        )


def load_weights(model: nn.Module, weights: Mapping[str, torch.Tensor], source: Path) -> None:
    """Load a state dict that must fit exactly (`check_weights`)."""
    check_weights(model, weights, source)
    model.load_state_dict(dict(weights))


def check_weights(model: nn.Module, weights: Mapping[str, torch.Tensor], source: Path) -> None:
    """Require that a state dict has the names and shapes of a model.

    Raises:
        ConfigError: naming what differs, if it is of another architecture.
    """
    if misfit := describe_misfit(shapes_of(model.state_dict()), shapes_of(weights)):
        raise ConfigError(
            f"{source}: checkpoint of another architecture: {misfit}; use the configuration "
            "that it was trained with, or another --tag"
        )


def shapes_of(weights: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor."""
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def describe_misfit(
    own: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]
) -> str:
    """Names and shapes in which weights do not fit a model; empty if they fit.

    Args:
        own: shapes of the model.
        given: shapes of the weights.
    """
    problems = [f"'{name}' is missing" for name in own if name not in given]
    problems += [f"'{name}' is not in this model" for name in given if name not in own]
    problems += [
        f"'{name}' is {given[name]}, this model has {own[name]}"
        for name in own
        if name in given and given[name] != own[name]
    ]
    more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
    return "; ".join(problems[:4]) + more


def average(states: list[StateDict], unchanged: Iterable[str] = ()) -> StateDict:
    """Average checkpoints, best first.

    The mean of n equal float32 tensors is not always exactly that tensor, so tensors
    that training did not change are copied. Counters are the best checkpoint's.

    Args:
        states: state dicts of one architecture.
        unchanged: names of frozen tensors, equal in all of them.
    """
    unchanged = set(unchanged)
    result = {}
    for name, first in states[0].items():
        if name in unchanged or not first.is_floating_point() or len(states) == 1:
            result[name] = first.clone()
        else:
            total = torch.stack([state[name].double() for state in states]).mean(dim=0)
            result[name] = total.to(first.dtype)
    return result
