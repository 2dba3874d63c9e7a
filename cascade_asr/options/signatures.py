"""Checks a configuration block against a constructor's signature, without building anything."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cascade_asr.errors import nearest
from cascade_asr.options.schema import bounds_problem
from cascade_asr.options.types import (
    contains_unusable_number,
    convert,
    describe,
    hints_of,
    short,
)

Bounds = Mapping[str, tuple[float | None, float | None]]  # option -> (least, most)
FILLED_IN = ("params", "optimizer")  # arguments that the program gives optimizers and schedules


def constructor_signature(target: Callable) -> dict[str, inspect.Parameter]:
    """Parameters of a function, or of a class's constructor.

    If a class wraps another with ``__init__(*args, **kwargs)``, the parameters
    are those of the first constructor among its ancestors that names them.
    """
    return _named_parameters(_constructor(target))


def check_conf(
    target: Callable,
    conf: Mapping[str, Any],
    where: str,
    given: Sequence[str] = FILLED_IN,
    bounds: Bounds | None = None,
) -> list[str]:
    """Compare a configuration block with the constructor that it is for.

    Args:
        target: the class to be built, or the function to be called. Four
            optional attributes of a class refine the check:
            ``unsupported`` maps a key to (accepted values, reason),
            ``nested`` maps a key to the function that its block is for and the
            names that the program fills in there, ``bounds`` maps a key to
            (least, most), and the key of a nested block to the bounds in it,
            and ``relations(conf)`` gives (key, problem) for values that are
            incompatible.
        conf: keyword arguments from the user's YAML.
        where: name of the block for the messages, such as ``"encoder_conf"``.
        given: parameters that the program fills in itself; in ``conf`` they are
            an error.
        bounds: used instead of the target's ``bounds`` if it is not a class of ours.

    Returns:
        All problems, one sentence each; empty if the block fits.
    """
    constructor = _constructor(target)
    parameters = _named_parameters(constructor)
    hints = hints_of(inspect.unwrap(constructor))
    bounds = getattr(target, "bounds", {}) if bounds is None else bounds
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
            problems += check_conf(function, value, place, filled_in, bounds.get(key, {}))
        else:
            hint = hints.get(key, _hint_of_default(parameters[key].default))
            problems += (
                _check_value(value, hint, place)
                or _check_supported(target, key, value, place)
                or _check_bounds(place, value, bounds.get(key))
            )
    if not problems and hasattr(target, "relations"):
        problems += [f"{where}.{key}: {text}" for key, text in target.relations(conf)]
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


def _hint_of_default(default: Any) -> Any:
    return type(default) if isinstance(default, (bool, int, float, str)) else Any


def _check_supported(target: Callable, key: str, value: Any, place: str) -> list[str]:
    accepted, reason = getattr(target, "unsupported", {}).get(key, ((value,), ""))
    if value in accepted:
        return []
    if reason.startswith("expected"):
        return [f"{place}: unknown {key}: {short(value).strip(chr(39))}; {reason}"]
    return [f"{place}: {short(value)} is not supported: {reason}"]


def _check_bounds(
    place: str, value: Any, bounds: tuple[float | None, float | None] | None
) -> list[str]:
    problem = bounds_problem(place, value, *bounds) if bounds else None
    return [problem] if problem else []


def _check_value(value: Any, hint: Any, place: str) -> list[str]:
    if contains_unusable_number(value):
        return [f"{place}: expected finite numbers of at most 64 bits, got {short(value)}"]
    if convert(value, hint, exact=True)[0]:
        return []
    fits, converted = convert(value, hint)
    remedy = f"; write {converted}" if fits else ""
    words = describe(hint).replace("an integer", "a whole number")
    return [f"{place}: expected {words}, got {short(value)}{remedy}"]
