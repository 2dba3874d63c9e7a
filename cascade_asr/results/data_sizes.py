"""Sizes of the data sets of a recipe, for the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def speech_sizes(dump: Path) -> dict[str, dict[str, int]]:
    """Utterances, speakers, frames and tokens of every set that stage 2 wrote."""
    found = {}
    for path in sorted(dump.glob("*/manifest.tsv")):
        with path.open(encoding="utf-8") as stream:
            rows = [line.rstrip("\n").split("\t") for line in stream]
        rows = [row for row in rows if len(row) >= 5]
        found[path.parent.name] = {
            "utterances": len(rows),
            "speakers": len({row[1] for row in rows}),
            "frames": sum(int(row[2]) for row in rows),
            "tokens": sum(len(row[4].split()) for row in rows),
        }
    return found


def text_sizes(dump: Path) -> dict[str, dict[str, int]]:
    """Tokens of every text that stage 2 wrote."""
    return {
        path.parent.name: {"tokens": int(np.load(path, mmap_mode="r").shape[0])}
        for path in sorted(dump.glob("*/tokens.npy"))
    }
