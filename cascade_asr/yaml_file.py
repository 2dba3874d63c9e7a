"""Read YAML so that every mistake can be told with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from cascade_asr.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads ``1e-3`` as text; people who write it mean a number."""


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
        ConfigError: if the file is missing, is no YAML, is no mapping, or
            holds a key twice; with file and line.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such configuration file")
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader)
        lines: dict[str, int] = {}
        if node is None:
            return {}, lines
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path}: expected 'key: value' lines")
        _collect_lines(node, "", lines, path)
        loader = _Loader("")
        return loader.construct_document(node), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        raise ConfigError(f"{path}:{line}: not YAML: {getattr(error, 'problem', error)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from error


def _collect_lines(node: yaml.MappingNode, prefix: str, lines: dict[str, int], path: Path) -> None:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if name in lines:
            raise ConfigError(
                f"{path}:{key.start_mark.line + 1}: key '{name}' is also in line {lines[name]}"
            )
        lines[name] = key.start_mark.line + 1
        if isinstance(value, yaml.MappingNode):
            _collect_lines(value, f"{name}.", lines, path)
