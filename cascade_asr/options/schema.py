"""Typed configuration: fills dataclasses from mappings, reports every problem with its line."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Any, get_origin

from cascade_asr.errors import ConfigError, nearest
from cascade_asr.options.places import place, with_places
from cascade_asr.options.types import contains_unusable_number, convert, describe, short


def option(
    default: Any,
    meaning: str,
    least: float | None = None,
    most: float | None = None,
    items: tuple[int, int] | None = None,
    infinite: bool = False,
) -> Any:
    """A field with its meaning and unit, for error messages and documentation.

    Args:
        default: the value if the file gives none.
        meaning: what it is, with its unit.
        least: smallest number allowed; in a list, for each of its numbers.
        most: largest number allowed.
        items: smallest and largest number of items of a list.
        infinite: infinity is allowed, as it is for no other option.
    """
    metadata = {
        "help": meaning, "least": least, "most": most, "items": items, "infinite": infinite,
    }  # fmt: skip
    if isinstance(default, type):  # a dataclass, whose own fields are options
        return field(default_factory=default, metadata=metadata)
    if isinstance(default, (dict, list)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def from_mapping(
    kind: type,
    content: dict[str, Any],
    where: str,
    lines: dict[str, int],
    relations: Callable[[Any], list[str]] = lambda config: [],
) -> Any:
    """Fill a dataclass from a mapping and check every name, type and bound.

    Args:
        kind: the dataclass; fields that are dataclasses take nested mappings.
        content: keys and values.
        where: the file, for the messages.
        lines: line of each dotted key.
        relations: problems of values that are incompatible; each names an option.

    Raises:
        ConfigError: with all problems, one per line.
    """
    problems: list[str] = []
    result = _fill(kind, content, where, lines, "", problems)
    problems += [
        f"{place(where, lines, key)}: {problem}" for key, problem in _beyond_bounds(result)
    ]
    problems += with_places(where, lines, relations(result))
    if problems:
        raise ConfigError("\n".join(problems))
    return result


def out_of_bounds(config: Any) -> list[str]:
    """Problems with values of a filled dataclass that lie outside its fields' bounds."""
    return [problem for _, problem in _beyond_bounds(config)]


def bounds_problem(
    name: str, value: Any, least: float | None, most: float | None = None
) -> str | None:
    """Message about a number, or a list of numbers, outside its bounds; None if inside."""
    for number in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            continue
        too_small = least is not None and not number >= least
        if too_small or (most is not None and not number <= most):
            expected = f"{least} or more" if too_small else f"{most} or less"
            if (least, most) == (0, 1):
                expected = "0 to 1"
            return f"{name} is {short(value)}, expected {expected}"
    return None


def _beyond_bounds(config: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key and problem of each value outside its bounds."""
    for each in dataclasses.fields(config):
        value, key = getattr(config, each.name), prefix + each.name
        if dataclasses.is_dataclass(value):
            yield from _beyond_bounds(value, f"{key}.")
            continue
        least, most = each.metadata.get("least"), each.metadata.get("most")
        problem = bounds_problem(key, value, least, most)
        items = each.metadata.get("items")
        if items and isinstance(value, list) and not items[0] <= len(value) <= items[1]:
            problem = f"{key} is {short(value)}, expected {_number_of_items(*items)}"
        if problem:
            yield key, f"{problem} ({each.metadata['help']})"


def _number_of_items(least: int, most: int) -> str:
    if least == most:
        return f"a list of {least}"
    return f"a list of {least} or more"


def _fill(
    kind: type, content: Any, where: str, lines: dict[str, int], prefix: str, problems: list[str]
) -> Any:
    hints = typing.get_type_hints(kind)
    fields = {each.name: each for each in dataclasses.fields(kind)}
    values = {}
    for key, value in (content or {}).items():
        at = place(where, lines, f"{prefix}{key}")
        if key not in fields:
            problems.append(f"{at}: unknown key '{prefix}{key}'{nearest(str(key), fields)}")
            continue
        if dataclasses.is_dataclass(hints[key]):
            if value is not None and not isinstance(value, Mapping):
                problems.append(f"{at}: '{prefix}{key}' expects a mapping, found {short(value)}")
                continue
            values[key] = _fill(hints[key], value, where, lines, f"{prefix}{key}.", problems)
            continue
        if get_origin(hints[key]) is dict and value is None:
            value = {}
        metadata = fields[key].metadata
        if metadata.get("infinite") and value == math.inf:
            values[key] = value
            continue
        fits, converted = convert(value, hints[key])
        problem = None
        if not fits:
            problem = (
                f"'{prefix}{key}' expects {describe(hints[key])} ({metadata['help']}), "
                f"found {short(value)}"
            )
        elif contains_unusable_number(value):
            at, problem = _unusable_number(f"{prefix}{key}", value, where, lines)
        if problem:
            problems.append(f"{at}: {problem}")
        else:
            values[key] = converted
    return kind(**values)


def _unusable_number(key: str, value: Any, where: str, lines: Mapping[str, int]) -> tuple[str, str]:
    """Place and message of a NaN or similar value inside a block of options."""
    while isinstance(value, Mapping):
        name, value = next(each for each in value.items() if contains_unusable_number(each[1]))
        key = f"{key}.{name}"
    return (
        place(where, lines, key),
        f"'{key}' expects finite numbers of at most 64 bits, found {short(value)}",
    )
