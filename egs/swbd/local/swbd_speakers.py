"""Who speaks on each side of Switchboard's conversations."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from cascade_asr.data.audio.corpus_files import read_lines, shown
from cascade_asr.errors import ConfigError, DataError

log = logging.getLogger(__name__)


def read_callers(path: Path) -> dict[str, str]:
    """The caller's PIN by side (``sw02001-A``), from LDC's conv_tab.csv.

    A line is ``2001,Y,1020,1044,303,...``: conversation, kind, the PINs of A and B.

    Raises:
        ConfigError: if there is no such file.
        DataError: for a line that is not a conversation, and for a conversation with two
            pairs of callers.
    """
    if not path.is_file():
        raise ConfigError(f"--conv-tab {path}: no such file")
    callers: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), start=1):
        fields = [field.strip(' "') for field in line.split(",")]
        if not any(fields):
            continue
        if len(fields) < 4 or not all(fields[place].isdecimal() for place in (0, 2, 3)):
            raise DataError(
                f"{path}:{number}: expected 'conversation,kind,pin,pin,...', found '{line[:60]}'"
            )
        for side, pin in zip("AB", fields[2:4], strict=True):
            name = f"sw{int(fields[0]):05d}-{side}"
            if callers.setdefault(name, pin) != pin:
                raise DataError(f"{path}:{number}: {name} has callers {callers[name]} and {pin}")
    return callers


def speakers_of(sides: Iterable[str], callers: dict[str, str] | None) -> dict[str, str]:
    """The speaker of each side: its caller if known, else the side itself.

    Args:
        sides: such as ``sw02001-A``.
        callers: from `read_callers`; None if the user gave no table.
    """
    sides = sorted(set(sides))
    if callers is None:
        return {side: side for side in sides}
    unknown = [side for side in sides if side not in callers]
    if unknown:
        log.warning(
            "%d of %d sides are not in the table of callers; each remains a separate speaker: %s",
            len(unknown), len(sides), shown(unknown),
        )  # fmt: skip
    return {side: callers.get(side, side) for side in sides}
