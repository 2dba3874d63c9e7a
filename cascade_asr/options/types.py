"""The one place that knows which YAML or command-line values a type annotation allows."""

from __future__ import annotations

import collections.abc
import contextlib
import math
import sys
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

LARGEST_INTEGER = 2**63 - 1
_UNIONS = (Union, types.UnionType)
_LISTS = {list, tuple, set, Sequence, Iterable, Collection}
_ABSTRACT = {name: getattr(collections.abc, name) for name in collections.abc.__all__}
_NAMES = {
    int: "an integer",
    dict: "a mapping",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
}


def convert(value: Any, hint: Any, exact: bool = False) -> tuple[bool, Any]:
    """Whether ``value`` fits a type annotation, and the converted value.

    Integers fit floats; NaN, infinities and integers of more than 64 bits fit no
    type. An annotation that no file could satisfy (a tensor) or that says
    nothing accepts every finite value.

    Args:
        value: from YAML.
        hint: resolved annotation (`typing.get_type_hints`).
        exact: no float is accepted as an integer, not even 2.0.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if not is_finite(value):
        return False, value
    if origin in _UNIONS:
        return _convert_to_any_of(value, arguments, exact)
    if origin is Literal:
        return value in arguments, value
    if hint in (None, type(None)):
        return value is None, value
    if hint is int and isinstance(value, float) and value.is_integer() and not exact:
        value = int(value)
    if hint in (int, float):
        fits = isinstance(value, (int, hint)) and not isinstance(value, bool)
        return fits, hint(value) if fits else value
    if {origin, hint} & _LISTS:
        return _convert_items(value, origin or hint, arguments, exact)
    if {origin, hint} & {dict, Mapping}:
        return isinstance(value, Mapping), value
    if hint in (bool, str):
        return isinstance(value, hint), value
    return True, value


def _convert_to_any_of(value: Any, hints: Sequence[Any], exact: bool) -> tuple[bool, Any]:
    known = [hint for hint in hints if _is_known(hint)]
    for hint in known or hints:
        fits, converted = convert(value, hint, exact)
        if fits:
            return True, converted
    return False, value


def _is_known(hint: Any) -> bool:
    return hint in (*_NAMES, None, Any, *_LISTS, dict, Mapping) or get_origin(hint) is not None


def _convert_items(
    value: Any, kind: Any, arguments: Sequence[Any], exact: bool
) -> tuple[bool, Any]:
    if not isinstance(value, (list, tuple)):
        return False, value
    fixed = kind is tuple and arguments and arguments[-1] is not Ellipsis
    if fixed and len(value) != len(arguments):
        return False, value
    hints = arguments if fixed else (arguments[:1] or (Any,)) * len(value)
    items = [convert(item, hint, exact) for item, hint in zip(value, hints, strict=True)]
    return all(fits for fits, _ in items), [item for _, item in items]


def is_finite(value: Any) -> bool:
    """False for NaN, infinities and integers of more than 64 bits."""
    if isinstance(value, int):
        return abs(value) <= LARGEST_INTEGER
    return not isinstance(value, float) or math.isfinite(value)


def contains_unusable_number(value: Any) -> bool:
    """Whether lists and mappings contain, at any depth, a number that is not `is_finite`."""
    if isinstance(value, Mapping):
        return any(contains_unusable_number(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(contains_unusable_number(item) for item in value)
    return not is_finite(value)


def describe(hint: Any) -> str:
    """A type annotation in words: ``an integer or null``."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in _UNIONS:
        known = [each for each in arguments if _is_known(each)] or arguments
        return " or ".join(dict.fromkeys(describe(each) for each in known))
    if origin is Literal:
        return " or ".join(str(argument) for argument in arguments)
    if {origin, hint} & _LISTS:
        of = f", each {describe(arguments[0])}" if arguments and arguments[0] is not Any else ""
        return f"a list{of}"
    if {origin, hint} & {dict, Mapping}:
        return _NAMES[dict]
    return _NAMES.get(hint, getattr(hint, "__name__", str(hint)))


def is_nullable(hint: Any) -> bool:
    """Whether null is a value of the type."""
    return convert(None, hint)[0]


def from_text(text: str, hint: Any) -> Any:
    """Convert a word of an option file or a command line to the type of the option.

    ``none``, ``null`` and the empty word mean null if the type allows it.

    Raises:
        ValueError: saying what was expected.
    """
    if is_nullable(hint) and text in ("", "none", "null"):
        return None
    plain = [each for each in get_args(hint) or (hint,) if each is not type(None)]
    for kind in plain:
        if kind is bool and text in ("true", "false"):
            return text == "true"
        if kind is str:
            return text
        if kind in (int, float):
            try:
                value = kind(text)
            except ValueError:
                continue
            if is_finite(value):
                return value
    invalid = "invalid literal: " if {int, float} & set(plain) else ""
    raise ValueError(f"{invalid}expected {describe(hint)}")


def short(value: Any) -> str:
    """A value as messages show it; long ones are truncated."""
    if isinstance(value, int) and not is_finite(value):
        return "an integer of more than 64 bits"
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:100]}…"


def hints_of(function: Any) -> dict[str, Any]:
    """Resolved annotations of a function or class, without those that cannot be resolved.

    A library may import the names in its annotations only for type checkers.
    """
    try:
        return typing.get_type_hints(function)
    except NameError:
        pass
    hints = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        alone = types.SimpleNamespace(__annotations__={name: annotation})
        with contextlib.suppress(NameError):
            hints |= typing.get_type_hints(alone, vars(sys.modules[function.__module__]), _ABSTRACT)
    return hints
