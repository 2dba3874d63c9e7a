"""Command-line options that override a YAML file: ``optim_conf.lr=3e-3 max_epoch=10``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cascade_asr.errors import ConfigError
from cascade_asr.yaml_file import value_of

_KEY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Assignments:
    """Dotted keys and their values, as written.

    Attributes:
        option: the command-line option, such as ``--train-args``.
        values: the values by dotted key, in the order given.
        words: the words as written, by dotted key.
    """

    option: str
    values: dict[str, Any]
    words: dict[str, str]

    @classmethod
    def parse(cls, text: str | None, option: str = "--train-args") -> Assignments:
        """Read ``KEY=VALUE`` words; values are YAML, quoting is as in a shell.

        >>> Assignments.parse("optim_conf.lr=3e-3 scheduler=null").values
        {'optim_conf.lr': 0.003, 'scheduler': None}

        Raises:
            ConfigError: listing all words that are not assignments, or assign a key again.
        """
        try:
            words = shlex.split(text or "")
        except ValueError as error:
            raise ConfigError(f"{option} '{text}': {error}; close the quotation") from error
        values: dict[str, Any] = {}
        written: dict[str, str] = {}
        problems = []
        for word in words:
            key, equals, value = word.partition("=")
            if not equals or not _KEY.fullmatch(key):
                problems.append(
                    f"{option}: expected KEY=VALUE such as optim_conf.lr=3e-3, found '{word}'"
                )
            elif key in values:
                problems.append(f"{option} {word}: {key} is also given as {written[key]}")
            else:
                try:
                    values[key] = value_of(value)
                except ConfigError as error:
                    problems.append(f"{option} {word}: {error}")
                written[key] = word
        if problems:
            raise ConfigError("\n".join(problems))
        return cls(option, values, written)

    def __bool__(self) -> bool:
        return bool(self.values)

    def __str__(self) -> str:
        return " ".join(self.words.values())

    def put_into(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return the content of a YAML file with these values put in.

        Switching a part off (``scheduler=null``) also removes its block of options.

        Raises:
            ConfigError: if a dotted key passes through something that is not a block.
        """
        result = _copied(content)
        for key, value in self.values.items():
            *blocks, leaf = key.split(".")
            inside, passed = result, []
            for block in blocks:
                passed.append(block)
                if inside.get(block) is None:
                    inside[block] = {}
                inside = inside[block]
                if not isinstance(inside, dict):
                    raise ConfigError(
                        f"{self.option} {self.words[key]}: {'.'.join(passed)} is {inside!r}, "
                        "not a block of options"
                    )
            inside[leaf] = _copied(value)
            if value is None and not blocks and f"{leaf}_conf" in result:
                del result[f"{leaf}_conf"]
        return result

    @contextmanager
    def named(self, where: str) -> Iterator[None]:
        """Make errors raised inside about options given here name the option, not a file line.

        Args:
            where: the YAML file, as it appears in the messages.

        Raises:
            ConfigError: the same error, with ``--train-args KEY=VALUE`` as the place.
        """
        try:
            yield
        except ConfigError as error:
            lines = str(error).splitlines()
            told = [self._renamed(line, where) for line in lines]
            if told == lines:
                raise
            raise ConfigError("\n".join(told)) from error

    def _renamed(self, line: str, where: str) -> str:
        match = re.match(rf"{re.escape(where)}(:\d+)?: ", line)
        if match is None:
            return line
        problem = line[match.end() :]
        for key in sorted(self.words, key=len, reverse=True):
            if _is_about(problem, key):
                return f"{self.option} {self.words[key]}: {problem}"
        return line


def _is_about(problem: str, key: str) -> bool:
    """Whether a problem names a dotted key, or a block followed by its option."""
    names = re.findall(r"[A-Za-z_][\w.]*\w|[A-Za-z_]", problem)
    block, _, leaf = key.rpartition(".")
    if any(name == key or name.startswith(f"{key}.") for name in names):
        return True
    return bool(block) and block in names and leaf in names


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value
