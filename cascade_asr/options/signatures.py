"""Binds a configuration block to a constructor's signature, without building."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union

from cascade_asr.errors import nearest

FILLED_IN = ("params", "optimizer")  # what optimizers and schedules get from the program


def constructor_signature(target: Callable) -> dict[str, inspect.Parameter]:
    """Parameters of a function, or of a class's constructor.

    A class may wrap another with ``__init__(*args, **kwargs)``: then the
    parameters are those of the first constructor among its ancestors that
    names them.
    """
    return _named_parameters(_constructor(target))


def check_conf(
    target: Callable, conf: Mapping[str, Any], where: str, given: Sequence[str] = FILLED_IN
) -> list[str]:
    """Compare a configuration block with the constructor that it is for.

    Args:
        target: the class to be built, or the function to be called. Two
            attributes refine the check, where a class has them:
            ``unsupported`` maps a key to (accepted values, reason), and
            ``nested`` maps a key to the function that its block is for and the
            names that the program fills in there.
        conf: keyword arguments from the user's YAML.
        where: name of the block for the messages, such as ``"encoder_conf"``.
        given: parameters that the program fills in itself; in ``conf`` they are
            an error.

    Returns:
        All problems, each one sentence; empty when the block fits.
    """
    constructor = _constructor(target)
    parameters = _named_parameters(constructor)
    hints = _type_hints(constructor)
    allowed = [name for name in parameters if name not in given]
    nested = getattr(target, "nested", {})
    problems = []
    for key, value in conf.items():
        place = f"{where}.{key}"
        if key in parameters and key in given:
            problems.append(f"{place}: set by the program; remove it")
        elif key not in parameters:
            suggestion = nearest(str(key), allowed) or f"; there are: {', '.join(allowed)}"
            problems.append(f"{place}: no such option{suggestion}")
        elif key in nested and isinstance(value, Mapping):
            function, filled_in = nested[key]
            problems += check_conf(function, value, place, filled_in)
        else:
            hint = hints.get(key, _hint_of_default(parameters[key].default))
            problems += _check_value(value, hint, place) or _check_supported(
                target, key, value, place
            )
    for name in allowed:
        if parameters[name].default is inspect.Parameter.empty and name not in conf:
            problems.append(f"{where}.{name}: missing")
    return problems


def _constructor(target: Callable) -> Callable:
    if not isinstance(target, type):
        return target
    constructors = [vars(ancestor).get("__init__") for ancestor in target.__mro__]
    for constructor in constructors:
        if constructor is not None and not _is_variadic(constructor):
            return constructor
    return target.__init__


def _is_variadic(function: Callable) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)


def _named_parameters(function: Callable) -> dict[str, inspect.Parameter]:
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self" and parameter.kind not in variadic
    }


def _type_hints(function: Callable) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(function))
    except NameError:  # an annotation that exists for type checkers alone
        return {}


def _hint_of_default(default: Any) -> Any:
    return type(default) if isinstance(default, (bool, int, float, str)) else Any


def _check_supported(target: Callable, key: str, value: Any, place: str) -> list[str]:
    accepted, reason = getattr(target, "unsupported", {}).get(key, ((value,), ""))
    return [] if value in accepted else [f"{place}: {value!r} is not supported: {reason}"]


def _check_value(value: Any, hint: Any, place: str) -> list[str]:
    if _fits(value, hint):
        return []
    remedy = ""
    if isinstance(value, float) and value.is_integer() and _fits(int(value), hint):
        remedy = f"; write {int(value)}"
    return [f"{place}: expected {_describe(hint)}, got {value!r}{remedy}"]


def _fits(value: Any, hint: Any) -> bool:
    """Whether a YAML value fits a type annotation; unfamiliar annotations fit all."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in arguments)
    if origin is Literal:
        return value in arguments
    if hint in (None, type(None)):
        return value is None
    if {origin, hint} & {list, tuple, Sequence}:
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        return is_list and all(_fits(item, hint) for item in value for hint in arguments[:1])
    if {origin, hint} & {dict, Mapping}:
        return isinstance(value, Mapping)
    if hint in (int, float) and isinstance(value, bool):
        return False
    if hint is float:
        return isinstance(value, (int, float))
    return isinstance(value, hint) if isinstance(hint, type) else True


def _describe(hint: Any) -> str:
    names = {
        int: "a whole number",
        float: "a number",
        str: "a word",
        bool: "true or false",
        dict: "a block of options",
        type(None): "null",
    }
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        known = [option for option in arguments if option in names or typing.get_origin(option)]
        return " or ".join(_describe(option) for option in known)
    if origin is Literal:
        return " or ".join(str(argument) for argument in arguments)
    if origin in (list, tuple, Sequence) and arguments:
        return f"a list, each {_describe(arguments[0])}"
    return names.get(hint, getattr(hint, "__name__", str(hint)))
