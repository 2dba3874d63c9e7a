"""Results as JSON lines: one per training, appended when an experiment is finished."""

from __future__ import annotations

import json
import operator
import platform
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cascade_asr.errors import DataError
from cascade_asr.files import atomic_write, read_json
from cascade_asr.training.finished import code_version

IDENTIFYING = ("task", "condition", "seed")


class Lines:
    """A file of JSON lines, to which complete experiments are appended.

    Args:
        path: the file; created if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[tuple, list[dict[str, Any]]] = {}
        self._remember(read_lines(path) if path.is_file() else [])

    def has(self, key: dict[str, Any]) -> bool:
        """Whether the file has results of an experiment."""
        return _key(key) in self._known

    def missing(self, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those lines of an experiment whose trainings the file does not have yet.

        Raises:
            DataError: if it has a training of that name with another metric on dev or on a test set.
        """
        missing = []
        for line in found:
            same = [each for each in self._known.get(_key(line), []) if each["training"] == line["training"]]
            if not same:
                missing.append(line)
                continue
            known, given = ({"dev": each["dev"]} | each["test"] for each in (same[0], line))
            for name in known:
                if given.get(name, known[name]) != known[name]:
                    raise DataError(
                        f"{self.path}: {line['training']} of {line['condition']}, seed {line['seed']}, has "
                        f"{known[name]} on {name}, but {given[name]} in the folder given; these are two "
                        "experiments, or two ways of decoding, which need two names of conditions"
                    )
        return missing

    def add(self, found: list[dict[str, Any]]) -> None:
        """Append results of one experiment at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write("".join(map(_as_line, found)))
        self._remember(found)

    def complete(self, found: list[dict[str, Any]]) -> int:
        """Give lines that the file has already what they lack of the same trainings' lines.

        Args:
            found: lines of an experiment; `missing` has found their trainings to be the same.

        Returns:
            Number of lines changed.
        """
        named = {(*_key(line), line["training"]): line for line in found}
        lines = read_lines(self.path)
        completed = [named.get((*_key(line), line["training"]), {}) | line for line in lines]
        changed = sum(map(operator.ne, lines, completed))
        if changed:
            with atomic_write(self.path, "w") as stream:
                stream.writelines(map(_as_line, completed))
        return changed

    def _remember(self, lines: list[dict[str, Any]]) -> None:
        for each in lines:
            self._known.setdefault(_key(each), []).append(each)


def _as_line(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":")) + "\n"


def _key(line: dict[str, Any]) -> tuple:
    return tuple(line[name] for name in IDENTIFYING)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read all lines of a file.

    Raises:
        ValueError: if a line is not JSON; the message gives its number.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: no JSON ({error}); remove the line") from error
    return found


def training_line(folder: Path, branch: str, metric: str) -> dict[str, Any]:
    """Collect what one line says about a finished training.

    Args:
        folder: the folder of the training.
        branch: the branch it belongs to.
        metric: the dev metric used for selection.
    """
    lineage = read_json(folder / "lineage.json")
    verdict = lineage["convergence"]
    return {
        "branch": branch,
        "training": folder.name,
        "metric": metric,
        "dev": round(lineage["metrics"][metric], 4),
        "converged": verdict["converged"],
        "reason": verdict["reason"],
        "epochs": lineage["epochs"],
        "updates": lineage["updates"],
        "frames": lineage["frames"],
        "seconds": lineage["seconds"],
        "cpu_seconds": lineage["cpu_seconds"],
    }


@cache
def machine() -> dict[str, str]:
    """Describe the machine and the software versions behind a result."""
    return {
        "processor": _processor(),
        "threads": str(torch.get_num_threads()),
        "versions": f"cascade_asr {code_version()}, torch {torch.__version__}, "
        f"numpy {np.__version__}, Python {platform.python_version()}",
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
