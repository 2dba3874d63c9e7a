"""Names of branches and stages, for commands that do not build a network."""

from __future__ import annotations

from collections.abc import Sequence

from cascade_asr.errors import ConfigError, nearest

CASCADE = "cascade"
CONTROLS = (
    "longer",
    "longer-early-stop",
    "continue",
    "best-of-n",
    "bottom-up",
    "random-top",
    "keep",
)
INSIDE = ("previous", "best", "full")  # sources that are trainings of the same branch
# controls whose trainings start from new weights, so that none waits for another
FROM_NEW_WEIGHTS = ("longer", "longer-early-stop", "best-of-n")
# Without these a gain cannot be attributed: it may come from more training (longer), from
# warm restarts (continue) or from choosing among several trainings (best-of-n).
ATTRIBUTING = ("longer", "continue", "best-of-n")


def parse_controls(text: str, known: Sequence[str]) -> list[str]:
    """Names of controls from ``longer,continue``, ``all`` or ``none``.

    Args:
        text: value of ``--controls``.
        known: controls of the plan, without those that equal the cascade.

    Raises:
        ConfigError: for a name that does not exist or that the plan does not have.
    """
    if text in ("", "none"):
        return []
    names = known if text == "all" else [part.strip() for part in text.split(",")]
    for name in names:
        if name not in CONTROLS:
            raise ConfigError(
                f"--controls {text}: no control '{name}'{nearest(name, CONTROLS)}; "
                f"there are: {', '.join(CONTROLS)}, or all"
            )
        if name not in known:
            raise ConfigError(
                f"--controls {text}: this cascade has no control {name}: it would be the cascade "
                f"itself{_or_longer(name)}, or there is nothing to mirror; there are: "
                f"{', '.join(known)}"
            )
    return list(dict.fromkeys(names))


def _or_longer(name: str) -> str:
    """Why a plan may lack `longer-early-stop`."""
    return " or longer (patience is null)" if name == "longer-early-stop" else ""


def parse_stage_numbers(text: str, last: int) -> list[int]:
    """Stage numbers from ``all``, ``none``, ``2``, ``2,3`` or ``2-4``.

    Args:
        text: value of ``--cascade-stages``.
        last: number of the plan's last stage.

    Raises:
        ConfigError: for anything else and for a stage that the plan lacks.
    """
    if text in ("", "all"):
        return list(range(1, last + 1))
    if text == "none":
        return []
    numbers = set()
    for part in text.split(","):
        first, dash, second = part.strip().partition("-")
        if not first.isdecimal() or (dash and not second.isdecimal()):
            raise ConfigError(
                f"--cascade-stages {text}: expected all, none, or numbers such as 2,3 or 2-4"
            )
        low, high = int(first), int(second or first)
        for number in (low, high):
            if not 1 <= number <= last:
                raise ConfigError(
                    f"--cascade-stages {text}: no stage {number}; this plan has stages 1 to {last}"
                )
        if low > high:
            raise ConfigError(f"--cascade-stages {text}: {low} comes after {high}; write {high}-{low}")
        numbers.update(range(low, high + 1))
    return sorted(numbers)
