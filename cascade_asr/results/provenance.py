"""State what tables were computed from; keep tables of other trainings beside new ones."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cascade_asr.files import atomic_write
from cascade_asr.results.collect import Stage

logger = logging.getLogger(__name__)

_LINE = re.compile(r"- (\S+): options ([0-9a-f]+|\?), model ([0-9a-f]+|\?), ")


def provenance_lines(stages: Sequence[Stage]) -> list[str]:
    """One line per row of the tables: identity, weights, seed and end of its training.

    The first number is the digest in ``done.json`` of everything that determined the
    result, the second the start of the SHA-256 of ``model.pth``.
    """
    lines = ["Computed from:", ""]
    for stage in stages:
        known = stage.lineage
        options, model = (str(known.get(key) or "?") for key in ("config", "model_sha256"))
        lines.append(
            f"- {stage.name}: options {options}, model {model[:12]}, seed {known.get('seed')}, "
            f"finished {known.get('finished', '?')}"
        )
    return lines


def trainings_in(text: str) -> dict[str, tuple[str, str]]:
    """Options and model of each row by name, read from the text of a RESULTS.md."""
    return {match[1]: (match[2], match[3]) for match in map(_LINE.match, text.splitlines()) if match}


def write_results(directory: Path, contents: Mapping[str, str]) -> None:
    """Write RESULTS.md and the files that belong to it; keep tables of other trainings.

    If a row of an existing RESULTS.md was computed from another training, or the file
    does not say from which, its files are renamed ``NAME.replaced.N``.

    Args:
        directory: ``exp/TAG``.
        contents: text by file name, including RESULTS.md.
    """
    path = directory / "RESULTS.md"
    if path.is_file():
        before = trainings_in(path.read_text(encoding="utf-8", errors="replace"))
        now = trainings_in(contents[path.name])
        if not before or any(now.get(name) != each for name, each in before.items()):
            _set_aside(directory, list(contents))
    for name, content in contents.items():
        with atomic_write(directory / name) as stream:
            stream.write(content)


def _set_aside(directory: Path, names: Sequence[str]) -> None:
    number = 1
    names = [name for name in names if (directory / name).exists()]
    while any((directory / f"{name}.replaced.{number}").exists() for name in names):
        number += 1
    for name in names:
        (directory / name).rename(directory / f"{name}.replaced.{number}")
    logger.warning(
        "%s: the existing results were computed from other trainings; they are kept as %s",
        directory,
        ", ".join(f"{name}.replaced.{number}" for name in names),
    )
