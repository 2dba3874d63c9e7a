"""Ids that every tool accepts: ASCII without blanks, no two that differ only in case."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 120  # characters; names of log files and archives are made of ids
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def safe(name: str) -> str:
    """Turn a name into letters, digits, dots, dashes and underscores.

    >>> safe("J\\u00f6rg  M\\u00fcller (2)")
    'Jorg_Muller_2'
    """
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(each for each in plain if not unicodedata.combining(each))
    return _UNSAFE.sub("_", plain)[:LONGEST].strip("_-.") or "x"


class Names:
    """Gives each thing a safe and unique name, in the order in which names are asked for."""

    def __init__(self) -> None:
        self._given: dict[object, str] = {}
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}  # number to try first: there may be a million files audio.wav
        self.changed = 0  # number of names that another thing already had

    def of(self, thing: object, wanted: str) -> str:
        """Name of a thing: the wanted one made safe, with a number appended if it is taken."""
        if thing in self._given:
            return self._given[thing]
        base = name = safe(wanted)
        number = self._next.get(base.lower(), 2)
        while name.lower() in self._taken:
            name = f"{base}_{number}"
            number += 1
        self._next[base.lower()] = number
        self.changed += name != base
        self._taken.add(name.lower())
        self._given[thing] = name
        return name
