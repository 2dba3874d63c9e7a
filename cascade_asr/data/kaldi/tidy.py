"""Repair what is safe to repair in a data folder: the order of its tables, and spk2utt."""

from __future__ import annotations

import os
from pathlib import Path

from cascade_asr.data.kaldi.blanks import words
from cascade_asr.data.kaldi.data_dir import TABLES
from cascade_asr.data.kaldi.tables import Table, invert, scan_table, write_table
from cascade_asr.errors import DataError


def tidy(folder: Path) -> list[str]:
    """Sort tables whose lines are valid but not in order, and make spk2utt from utt2spk.

    No line is dropped or changed; a table with a fault is left as it is, for
    `validate` to report. So is a spk2utt that contradicts utt2spk.

    Returns:
        What was done, one sentence each.
    """
    notes: list[str] = []
    if not os.access(folder, os.W_OK):
        return notes
    tables: dict[str, Table] = {}
    for name in TABLES:
        if not (folder / name).is_file():
            continue
        try:
            table = tables[name] = scan_table(folder / name)
        except DataError:
            continue
        if not table.faults and table.values and list(table.values) != sorted(table.values):
            write_table(folder / name, table.values)
            notes.append(f"{folder}/{name}: its {len(table.values)} lines were not in the order of LC_ALL=C; sorted")
    utt2spk = tables.get("utt2spk")
    if utt2spk is None or utt2spk.faults or not utt2spk.values:
        return notes
    if any(len(words(speaker)) != 1 for speaker in utt2spk.values.values()):
        return notes
    note = _make_spk2utt(folder / "spk2utt", utt2spk.values)
    return [*notes, *([note] if note else [])]


def _make_spk2utt(path: Path, utt2spk: dict[str, str]) -> str:
    expected = invert(utt2spk)
    if not path.exists():
        write_table(path, expected)
        return f"{path}: missing; made from utt2spk, {len(expected)} speakers"
    found = scan_table(path)
    same = {name: sorted(words(value)) for name, value in found.values.items()}
    in_order = list(found.values) == sorted(found.values) and found.values == expected
    if found.faults or in_order or same != {name: words(value) for name, value in expected.items()}:
        return ""
    write_table(path, expected)
    return f"{path}: not in the order of LC_ALL=C; written anew from utt2spk"
