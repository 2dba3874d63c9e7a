"""Binds a configuration block to a constructor's signature, without building."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Union

from cascade_asr.errors import nearest


def constructor_signature(cls: type) -> dict[str, inspect.Parameter]:
    """Parameters of the first constructor in the class's order that names them.

    A wrapper's own ``__init__(*args, **kwargs)`` is passed over.
    """
    for ancestor in cls.__mro__:
        constructor = ancestor.__dict__.get("__init__")
        if constructor is None:
            continue
        parameters = dict(list(inspect.signature(constructor).parameters.items())[1:])
        kinds = {parameter.kind for parameter in parameters.values()}
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            return parameters
    return {}


def check_conf(
    cls: type, conf: Mapping[str, Any], where: str, given: Sequence[str] = ()
) -> list[str]:
    """Compare a configuration block with the constructor that it is for.

    Args:
        cls: the class to be built. Its attribute ``unsupported``, if there is
            one, maps a key to (accepted values, reason).
        conf: keyword arguments from the user's YAML.
        where: name of the block for the messages, such as ``"encoder_conf"``.
        given: parameters that the program fills in itself; in ``conf`` they are
            an error.

    Returns:
        All problems, each one sentence; empty when the block fits.
    """
    parameters = constructor_signature(cls)
    hints = _type_hints(cls)
    allowed = [name for name in parameters if name not in given]
    problems = []
    for key, value in conf.items():
        if key in given:
            problems.append(f"{where}.{key}: set by the program; remove it")
        elif key not in allowed:
            suggestion = nearest(str(key), allowed) or f"; it has: {', '.join(allowed)}"
            problems.append(f"{where}.{key}: no such option{suggestion}")
        else:
            problems += _check_value(value, hints.get(key, Any), f"{where}.{key}")
            problems += _check_supported(cls, key, value, where)
    for name in allowed:
        if parameters[name].default is inspect.Parameter.empty and name not in conf:
            problems.append(f"{where}.{name}: missing")
    return problems


def _type_hints(cls: type) -> dict[str, Any]:
    for ancestor in cls.__mro__:
        constructor = ancestor.__dict__.get("__init__")
        if constructor is None:
            continue
        hints = typing.get_type_hints(inspect.unwrap(constructor))
        if set(constructor_signature(ancestor)) & set(hints):
            return hints
    return {}


def _check_supported(cls: type, key: str, value: Any, where: str) -> list[str]:
    accepted, reason = getattr(cls, "unsupported", {}).get(key, ((value,), ""))
    return [] if value in accepted else [f"{where}.{key}: {value!r} is not supported: {reason}"]


def _check_value(value: Any, hint: Any, where: str) -> list[str]:
    if _fits(value, hint):
        return []
    remedy = ""
    if isinstance(value, float) and value.is_integer() and _fits(int(value), hint):
        remedy = f"; write {int(value)}"
    return [f"{where}: expected {_describe(hint)}, got {value!r}{remedy}"]


def _fits(value: Any, hint: Any) -> bool:
    """Whether a YAML value fits a type annotation; unknown annotations fit all."""
    origin = typing.get_origin(hint)
    if hint is Any or hint is inspect.Parameter.empty:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    if hint in (None, type(None)):
        return value is None
    if origin in (list, tuple, Sequence) or hint in (list, tuple):
        if isinstance(value, str) or not isinstance(value, Sequence):
            return False
        return all(_fits(item, typing.get_args(hint)[0]) for item in value if origin)
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is dict or origin is dict:
        return isinstance(value, Mapping)
    return isinstance(value, hint) if isinstance(hint, type) else True


def _describe(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}
    if typing.get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_describe(option) for option in typing.get_args(hint))
    if hint is type(None):
        return "null"
    if typing.get_origin(hint) in (list, tuple, Sequence):
        return f"a list of {_describe(typing.get_args(hint)[0])}"
    if hint is dict:
        return "a block of options"
    return names.get(hint, str(hint))
