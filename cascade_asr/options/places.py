"""The line of a file on which an option stands, for messages about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cascade_asr.errors import ConfigError
from cascade_asr.yaml_file import read_yaml

_OF_A_CASCADE = re.compile(
    r"^cascade option '(?P<block>[\w.]+)': (?P<quote>(?:unknown key )?'?)(?P<key>[A-Za-z_][\w.]*)",
    re.MULTILINE,
)
_ABOUT_A_BLOCK = re.compile(r"([a-z]+_conf|init)\b")


def line_of(lines: Mapping[str, int], key: str) -> int:
    """Line of a dotted key, or of the block that contains it; 0 if neither is known."""
    while key and not lines.get(key):
        key = key.rpartition(".")[0]
    return lines.get(key, 0)


def place(where: str, lines: Mapping[str, int], key: str) -> str:
    """File and line of a key; without a line, if the value does not come from a file.

    >>> place("conf/train.yaml", {"optim_conf": 3}, "optim_conf.lr"), place("training", {}, "optim")
    ('conf/train.yaml:3', 'training')
    """
    line = line_of(lines, key)
    return f"{where}:{line}" if line else where


def located(where: str, problems: Iterable[str]) -> str:
    """Problems, one per line, each preceded by file and line of the option that it names.

    Args:
        where: the YAML file, or a description if the options come from elsewhere.
        problems: each names its option in its first words, before any colon.
    """
    lines: Mapping[str, int] = {}
    try:
        if where.endswith((".yaml", ".yml")) and Path(where).is_file():
            _, lines = read_yaml(Path(where))
    except (ConfigError, OSError):
        pass
    return "\n".join(with_places(where, lines, problems))


def with_places(where: str, lines: Mapping[str, int], problems: Iterable[str]) -> list[str]:
    """As `located`, but with the lines of the options given."""
    return [f"{_place_of(where, lines, each)}: {each}" for each in problems]


@contextmanager
def located_errors(where: str) -> Iterator[None]:
    """Add file and line to errors raised inside about a block of options (``encoder_conf``).

    Raises:
        ConfigError: the same error, with its place before each line that begins with a block
            or ``init``.
    """
    try:
        yield
    except ConfigError as error:
        lines = str(error).splitlines()
        if not any(_ABOUT_A_BLOCK.match(line) for line in lines):
            raise
        told = [located(where, [each]) if _ABOUT_A_BLOCK.match(each) else each for each in lines]
        raise ConfigError("\n".join(told)) from error


@contextmanager
def located_cascade_errors(where: str | None) -> Iterator[None]:
    """Add file and line to errors raised inside about a cascade's training options.

    Args:
        where: the cascade's file, or None if there is none.

    Raises:
        ConfigError: the same error; ``cascade option 'train': `` becomes file and line.
    """
    try:
        yield
    except ConfigError as error:
        if where is None or not _OF_A_CASCADE.search(str(error)):
            raise
        _, lines = read_yaml(Path(where))

        def told(match: re.Match[str]) -> str:
            at = place(where, lines, f"{match['block']}.{match['key']}")
            return f"{at}: {match['block']}: {match['quote']}{match['key']}"

        raise ConfigError(_OF_A_CASCADE.sub(told, str(error))) from error


def _place_of(where: str, lines: Mapping[str, int], problem: str) -> str:
    words = re.findall(r"[A-Za-z_][\w.]*", problem.partition(": ")[0])
    deepest_first = sorted(words, key=lambda word: -word.count("."))
    known = next((word for word in deepest_first if line_of(lines, word)), "")
    return place(where, lines, known)
