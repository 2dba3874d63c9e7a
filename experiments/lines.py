"""Results as JSON lines: one a training, appended when an experiment is finished."""

from __future__ import annotations

import json
import platform
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cascade_asr.files import read_json
from cascade_asr.training.finished import code_version

IDENTIFYING = ("task", "condition", "seed")


class Lines:
    """A file of JSON lines that grows by whole experiments.

    Args:
        path: the file; made where it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = {_key(each) for each in read_lines(path)} if path.is_file() else set()

    def has(self, key: dict[str, Any]) -> bool:
        """Whether the results of an experiment are there."""
        return _key(key) in self._known

    def add(self, found: list[dict[str, Any]]) -> None:
        """Append all results of one experiment at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(each, separators=(",", ":")) + "\n" for each in found)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(text)
        self._known |= {_key(each) for each in found}


def _key(line: dict[str, Any]) -> tuple:
    return tuple(line[name] for name in IDENTIFYING)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All lines of a file.

    Raises:
        ValueError: for a line that is no JSON, with its number.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: no JSON ({error}); remove the line") from error
    return found


def training_line(folder: Path, branch: str, metric: str) -> dict[str, Any]:
    """What a finished training left behind, for one line.

    Args:
        folder: of the training.
        branch: it belongs to.
        metric: the dev metric that selects.
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
    """Where and with what a result was made."""
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
