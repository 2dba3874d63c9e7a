"""Read YAML so that every mistake can be reported with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from cascade_asr.errors import ConfigError

DEEPEST, MOST_ENTRIES, LONGEST_NUMBER = 30, 200_000, 400


class _Loader(yaml.SafeLoader):
    """Reads ``1e-3``, which is text in YAML 1.1, as the number that its writer meant."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Read a YAML file whose top level is a mapping.

    Returns:
        The content and the line of each key; nested keys are dotted
        (``encoder_conf.dropout``).

    Raises:
        ConfigError: with file and line, if the file is missing, is not YAML, is not
            a mapping, has a key twice, contains itself, or is nested deeper than
            any configuration.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such configuration file")
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader)
        if node is None:
            return {}, {}
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path}: expected 'key: value' lines")
        _Survey(path).visit(node, 1)
        lines: dict[str, int] = {}
        _collect_lines(node, "", lines, path)
        loader = _Loader("")
        return loader.construct_document(node), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        raise ConfigError(f"{path}:{line}: not YAML: {getattr(error, 'problem', error)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from error
    except RecursionError:
        raise ConfigError(
            f"{path}: nested deeper than {DEEPEST} levels; a configuration has two or three"
        ) from None


def value_of(text: str) -> Any:
    """Parse a value as YAML does after a colon: a number, a list, null, text.

    >>> value_of("3e-3"), value_of("[valid, acc, max]"), value_of("")
    (0.003, ['valid', 'acc', 'max'], None)

    Raises:
        ConfigError: if it is not YAML.
    """
    place = Path("the value")
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            return None
        _Survey(place).visit(node, 1)
        return _Loader("").construct_document(node)
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {getattr(error, 'problem', error)}") from error
    except RecursionError:
        raise ConfigError(f"nested deeper than {DEEPEST} levels") from None


class _Survey:
    """Checks a file before Python objects are made from it.

    Args:
        path: the file, for the messages.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = 0

    def visit(self, node: yaml.Node, depth: int) -> None:
        """Refuse content that is nested too deeply, has no end, or has unreadable values.

        An alias inside its own anchor has no end, so it is too deep as well.
        """
        self._seen += 1
        if depth > DEEPEST:
            raise self._refusal(
                node, f"nested deeper than {DEEPEST} levels, or an alias (*) inside its own anchor"
            )
        if self._seen > MOST_ENTRIES:
            raise self._refusal(node, f"aliases (*) expand it to more than {MOST_ENTRIES} entries")
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self.visit(key, depth + 1)
                self.visit(value, depth + 1)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self.visit(item, depth + 1)
        elif node.tag in _Loader.yaml_constructors:
            self._check_scalar(node)

    def _check_scalar(self, node: yaml.ScalarNode) -> None:
        kind = node.tag.rpartition(":")[2]
        if kind in ("int", "float") and len(node.value) > LONGEST_NUMBER:
            raise self._refusal(
                node, f"a number of {len(node.value)} characters; write a shorter one"
            )
        try:
            _Loader("").construct_object(node)
        except (ValueError, OverflowError) as error:  # such as the 31st of February
            raise self._refusal(
                node, f"'{node.value}' is not a valid {kind} ({error}); quote it if it is text"
            ) from error

    def _refusal(self, node: yaml.Node, reason: str) -> ConfigError:
        return ConfigError(f"{self._path}:{node.start_mark.line + 1}: {reason}")


def _collect_lines(node: yaml.MappingNode, prefix: str, lines: dict[str, int], path: Path) -> None:
    for key, value in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for each in merged:
                _add_merged_lines(each, prefix, lines, path)
            continue
        name = f"{prefix}{key.value}"
        if name in lines:
            raise ConfigError(
                f"{path}:{key.start_mark.line + 1}: key '{name}' is also on line {lines[name]}"
            )
        lines[name] = key.start_mark.line + 1
        if isinstance(value, yaml.MappingNode):
            _collect_lines(value, f"{name}.", lines, path)


def _add_merged_lines(node: yaml.Node, prefix: str, lines: dict[str, int], path: Path) -> None:
    """Record lines of keys merged with ``<<``, except those that the block itself has."""
    if isinstance(node, yaml.MappingNode):
        inner: dict[str, int] = {}
        _collect_lines(node, prefix, inner, path)
        for name, line in inner.items():
            lines.setdefault(name, line)
