"""Typed configuration: dataclasses filled from mappings, every problem reported with its line."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import field
from typing import Any, get_args, get_origin

from cascade_asr.errors import ConfigError, nearest


def option(default: Any, meaning: str) -> Any:
    """A field with its meaning and unit, for error messages and documents."""
    if isinstance(default, (dict, list)):
        return field(default_factory=lambda: type(default)(default), metadata={"help": meaning})
    return field(default=default, metadata={"help": meaning})


def from_mapping(kind: type, content: dict[str, Any], where: str, lines: dict[str, int]) -> Any:
    """Fill a dataclass from a mapping and check every name and type.

    Args:
        kind: the dataclass; fields that are dataclasses take nested mappings.
        content: keys and values.
        where: the file, for the messages.
        lines: line of each dotted key.

    Raises:
        ConfigError: with all problems, one a line.
    """
    problems: list[str] = []
    result = _fill(kind, content, where, lines, "", problems)
    if problems:
        raise ConfigError("\n".join(problems))
    return result


def _fill(
    kind: type, content: Any, where: str, lines: dict[str, int], prefix: str, problems: list[str]
) -> Any:
    hints = typing.get_type_hints(kind)
    values = {}
    for key, value in (content or {}).items():
        place = f"{where}:{lines.get(prefix + str(key), 0)}"
        if key not in hints:
            problems.append(f"{place}: unknown key '{prefix}{key}'{nearest(str(key), hints)}")
            continue
        if dataclasses.is_dataclass(hints[key]):
            if value is not None and not isinstance(value, dict):
                problems.append(f"{place}: '{prefix}{key}' expects a mapping, found {value!r}")
                continue
            values[key] = _fill(hints[key], value, where, lines, f"{prefix}{key}.", problems)
            continue
        if get_origin(hints[key]) is dict and value is None:
            value = {}
        ok, converted = _convert(value, hints[key])
        if ok:
            values[key] = converted
        else:
            meaning = {each.name: each for each in dataclasses.fields(kind)}[key].metadata["help"]
            problems.append(
                f"{place}: '{prefix}{key}' expects {_type_name(hints[key])} ({meaning}), "
                f"found {value!r}"
            )
    return kind(**values)


def _convert(value: Any, hint: Any) -> tuple[bool, Any]:
    """Does ``value`` fit the type, and what is it then? Integers are good floats."""
    origin = get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        for member in get_args(hint):
            ok, converted = _convert(value, member)
            if ok:
                return True, converted
        return False, value
    if hint is Any:
        return True, value
    if hint is type(None):
        return value is None, value
    if hint is float:
        ok = isinstance(value, (int, float)) and not isinstance(value, bool)
        return ok, float(value) if ok else value
    if hint is int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return isinstance(value, int) and not isinstance(value, bool), value
    if origin is list:
        if not isinstance(value, (list, tuple)):
            return False, value
        converted = [_convert(item, get_args(hint)[0]) for item in value]
        return all(ok for ok, _ in converted), [item for _, item in converted]
    if origin is dict:
        return isinstance(value, dict), value
    return isinstance(value, hint), value


def _type_name(hint: Any) -> str:
    if get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(_type_name(member) for member in get_args(hint))
    if hint is type(None):
        return "null"
    names = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
    origin = get_origin(hint) or hint
    return names.get(hint, {list: "a list", dict: "a mapping"}.get(origin, str(hint)))
