"""Make Kaldi data folders from others: fix, subset, combine."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from pathlib import Path

from cascade_asr.data.kaldi.blanks import first_word, words
from cascade_asr.data.kaldi.data_dir import (
    DERIVED_TABLES,
    TABLES,
    UTTERANCE_TABLES,
    DataDir,
    load_data_dir,
    read_frame_shift,
)
from cascade_asr.data.kaldi.tables import (
    Table,
    invert,
    parse_segment,
    read_table,
    scan_table,
    table_lines,
)
from cascade_asr.data.kaldi.validate import DEFAULT_FRAME_SHIFT_S, value_fault
from cascade_asr.errors import DataError, nearest

MOST_COMPARED = 2000  # ids among which a similar one is looked for


def fix(
    path: Path | str, utterance_files: Sequence[str] = (), speaker_files: Sequence[str] = ()
) -> list[str]:
    """Repair a data folder in place, after copying it to its folder ``.backup``.

    A folder with nothing to repair is left as it is, and so is an earlier copy.

    Sorts tables, drops blank and repeated lines, segments that are malformed or whose
    recording is missing, and utterances that not all tables have; writes spk2utt.
    Durations and numbers of frames that are incomplete or wrong are removed, and so
    is a spk2gender that lacks a speaker.

    Args:
        path: the folder.
        utterance_files, speaker_files: names of further tables by utterance or by speaker,
            if the folder has them: they are sorted and lose ids that are dropped elsewhere,
            but gaps in them drop no utterance.

    Returns:
        What was done, one sentence each; empty if nothing had to be done.

    Raises:
        DataError: on faults that only a person can repair (text that is not UTF-8,
            an id with two values, an utterance with two speakers), and if no
            utterance would be left or a table would be empty. Nothing is changed
            then.
    """
    path = Path(path)
    if not (path / "utt2spk").is_file():
        raise DataError(f"{path}/utt2spk: missing; a data folder names each utterance's speaker")
    scanned = {name: scan_table(path / name) for name in TABLES if (path / name).is_file()}
    extra = {
        name: scan_table(path / name)
        for name in (*utterance_files, *speaker_files)
        if name not in TABLES and (path / name).is_file()
    }
    hopeless = _hopeless(path, scanned, extra)
    if hopeless:
        raise DataError("\n".join(hopeless))
    before = {name: table.path.read_bytes() for name, table in (scanned | extra).items()}
    if (path / "spk2utt").is_file():
        before["spk2utt"] = (path / "spk2utt").read_bytes()

    notes = [f"dropped {len(table.faults)} malformed or repeated lines of {table.path}"
             for table in (*scanned.values(), *extra.values()) if table.faults]  # fmt: skip
    tables = {name: table.values for name, table in scanned.items()}
    data = DataDir(path, tables, read_frame_shift(path))
    _drop_bad_segments(scanned, notes)
    common = _common_utterances(data, notes)
    _drop_unusable_tables(data, common, notes)
    fixed = data.select(common)
    speakers = set(fixed.tables["utt2spk"].values())
    for name, table in extra.items():
        known = speakers if name in speaker_files else common
        fixed.tables[name] = {key: value for key, value in table.values.items() if key in known}
        if table.values and not fixed.tables[name]:
            raise DataError(
                f"{table.path}: none of its {len(table.values)} ids is one of the "
                f"{'speakers' if name in speaker_files else 'utterances'} that stay"
            )

    return notes + _write_fixed(path, fixed, before)


def _write_fixed(path: Path, fixed: DataDir, before: dict[str, bytes]) -> list[str]:
    """Write a repaired folder where it differs from its files ``before``, which are kept.

    Returns:
        What was written.
    """
    after = {
        name: "".join(table_lines(table)).encode()
        for name, table in (*fixed.tables.items(), ("spk2utt", invert(fixed.tables["utt2spk"])))
    }
    if after == before:
        return []
    backup = path / ".backup"
    backup.mkdir(exist_ok=True)
    for name, content in before.items():
        (backup / name).write_bytes(content)
    fixed.write(path)
    return [
        f"wrote {path}/{name}" + (f": {len(fixed.tables[name])} lines" if name in fixed.tables else "")
        for name, content in after.items()
        if content != before.get(name)
    ]


def _hopeless(path: Path, scanned: dict[str, Table], extra: dict[str, Table]) -> list[str]:
    """List the faults that only a person can repair."""
    faults = [
        fault
        for table in (*scanned.values(), *extra.values())
        for fault in table.faults
        if fault in table.conflicts or "not UTF-8" in fault
    ]
    speakers = scanned["utt2spk"]
    return faults + [
        f"{path}/utt2spk:{line}: expected 'utterance speaker', found {len(words(speaker)) + 1} "
        f"words for '{name}'"
        for (name, speaker), line in zip(
            speakers.values.items(), speakers.line_numbers, strict=True
        )
        if len(words(speaker)) != 1
    ]


def _drop_bad_segments(scanned: dict[str, Table], notes: list[str]) -> None:
    """Remove malformed lines of ``segments`` and those without their recording."""
    if "segments" not in scanned:
        return
    values = scanned["segments"].values
    recordings = scanned["wav.scp"].values if "wav.scp" in scanned else None
    for utterance in list(values):
        try:
            segment = parse_segment(values[utterance])
        except ValueError as error:
            notes.append(f"removed the segment of '{utterance}': {error}")
            del values[utterance]
            continue
        if recordings is not None and segment.recording not in recordings:
            notes.append(f"removed the segment of '{utterance}': no '{segment.recording}' in wav.scp")
            del values[utterance]


def _drop_unusable_tables(data: DataDir, utterances: set[str], notes: list[str]) -> None:
    """Remove tables that can be computed again, or are informative only, if they are faulty."""
    utt2spk, segments = data.tables["utt2spk"], data.tables.get("segments")
    recordings = {first_word(segments[name]) for name in utterances} if segments else utterances
    speakers = {utt2spk[name] for name in utterances}
    expected = dict.fromkeys(DERIVED_TABLES, utterances)
    expected |= {"reco2dur": recordings, "spk2gender": speakers}
    for name, ids in expected.items():
        table = data.tables.get(name)
        if table is None:
            continue
        missing = ids - table.keys()
        wrong = next((key for key in sorted(ids & table.keys()) if value_fault(name, table[key])), "")
        if missing:
            notes.append(f"removed the incomplete {data.path}/{name}: no '{min(missing)}'")
        elif name in DERIVED_TABLES and wrong:
            notes.append(
                f"removed {data.path}/{name}: '{wrong}': {value_fault(name, table[wrong])}"
            )
        else:
            continue
        del data.tables[name]


def _common_utterances(data: DataDir, notes: list[str]) -> set[str]:
    names = [name for name in UTTERANCE_TABLES if name in data.tables and name not in DERIVED_TABLES]
    if "segments" not in data.tables and "wav.scp" in data.tables:
        names.append("wav.scp")
    common = set(data.tables["utt2spk"]).intersection(*(data.tables[name] for name in names))
    if not common:
        raise DataError(f"{data.path}: no utterance is in all of {', '.join(names)}")
    for name in names:
        dropped = len(data.tables[name]) - len(common)
        if dropped:
            notes.append(f"kept {len(common)} utterances of {data.path}/{name}, dropped {dropped}")
    return common


def select_utterances(data: DataDir, count: int, how: str, seed: int = 0) -> list[str]:
    """Choose utterances of a data folder.

    Args:
        data: the folder.
        count: how many, or with ``per-spk`` how many at most per speaker.
        how: ``random`` (by seed), ``first``, ``last``, ``shortest`` (by
            utt2num_frames, utt2dur or segments), ``per-spk`` (random), or ``speakers``
            (whole speakers, random, until there are at least ``count``).
        seed: the same seed gives the same choice on every machine.

    Raises:
        DataError: if there are fewer utterances than wanted.
    """
    names = sorted(data.utterances)
    if count < 1:
        raise DataError(f"cannot choose {count} utterances; expected 1 or more")
    if how != "per-spk" and count > len(names):
        raise DataError(f"{data.path} has {len(names)} utterances, fewer than the {count} wanted")
    generator = random.Random(seed)
    if how == "random":
        return generator.sample(names, count)
    if how == "first":
        return names[:count]
    if how == "last":
        return names[-count:]
    if how == "shortest":
        length = _lengths(data)
        return sorted(names, key=lambda name: (length[name], name))[:count]
    groups = by_speaker(data)
    if how == "per-spk":
        return [name for group in groups.values()
                for name in generator.sample(group, min(count, len(group)))]  # fmt: skip
    assert how == "speakers", how
    chosen: list[str] = []
    for speaker in generator.sample(list(groups), len(groups)):
        if len(chosen) >= count:
            break
        chosen += groups[speaker]
    return chosen


def by_speaker(data: DataDir) -> dict[str, list[str]]:
    """Utterances of each speaker, both in sorted order."""
    utt2spk = data.tables["utt2spk"]
    groups: dict[str, list[str]] = {speaker: [] for speaker in sorted(set(utt2spk.values()))}
    for name in sorted(utt2spk):
        groups[utt2spk[name]].append(name)
    return groups


def _lengths(data: DataDir) -> dict[str, float]:
    utterances = data.tables["utt2spk"].keys()
    for name in ("utt2num_frames", "utt2dur"):
        table = data.tables.get(name, {})
        if utterances <= table.keys() and not any(value_fault(name, table[key]) for key in utterances):
            return {key: float(table[key]) for key in utterances}
    segments = {name: data.segment(name) for name in data.utterances}
    if any(segment.end_s is None for segment in segments.values()):
        raise DataError(
            f"{data.path}: no utt2num_frames, utt2dur or segments to give the lengths; "
            f"utils/get_utt2dur.sh {data.path} makes utt2dur"
        )
    return {name: segment.end_s - segment.start_s for name, segment in segments.items()}


def listed_utterances(data: DataDir, list_path: Path | str, speakers: bool = False) -> list[str]:
    """Utterances whose id, or whose speaker's id, is the first word of a line in a file.

    Raises:
        DataError: naming file and line of ids that the folder does not have, or if there
            are no ids.
    """
    listed = scan_table(Path(list_path))
    if not listed.values:
        raise DataError(f"{list_path}: empty; expected an id on each line")
    known = set(data.tables["utt2spk"].values()) if speakers else set(data.utterances)
    kind = "speaker" if speakers else "utterance"
    missing = listed.lines_of(listed.values.keys() - known)
    if missing:
        # one comparison with 264,000 ids takes 20 s
        near = nearest(missing[0][0], known) if len(known) <= MOST_COMPARED else ""
        faults = [
            f"{list_path}:{line}: {kind} '{name}' is not in {data.path}/utt2spk" for name, line in missing[:20]
        ]
        faults[0] += near
        table = "spk2utt" if speakers else "utt2spk"
        raise DataError(
            "\n".join(faults) + f"\n{len(missing)} of {len(listed.values)} are not there; to leave them out: "
            f"utils/filter_scp.pl {data.path}/{table} {list_path} > LIST"
        )
    if not speakers:
        return list(listed.values)
    return [name for name, spk in data.tables["utt2spk"].items() if spk in listed.values]


def combine(sources: Sequence[Path | str], extra: Sequence[str] = ()) -> DataDir:
    """Combine data folders.

    A table that not all folders have is left out with a warning, except
    ``segments`` (folders without it get one segment per recording) and
    ``utt2uniq`` (without it, each utterance is its own original). An id may appear
    in several folders with the same value. Statistics in ``cmvn.scp`` are left out where
    those of a speaker differ: they are not those of all of the speaker's utterances.

    Args:
        sources: the folders.
        extra: names of further tables to combine.

    Raises:
        DataError: listing every id that has different values.
    """
    folders = [load_data_dir(source) for source in sources]
    for data in folders:
        for name in extra:
            if (data.path / name).is_file():
                data.tables[name] = read_table(data.path / name)
    if any("segments" in data.tables for data in folders):
        for data in folders:
            data.tables.setdefault("segments", _whole_recordings(data))
    if any("utt2uniq" in data.tables for data in folders):
        for data in folders:
            data.tables.setdefault("utt2uniq", {name: name for name in data.utterances})
    tables: dict[str, dict[str, str]] = {}
    conflicts = []
    for name in dict.fromkeys((*TABLES, *extra)):
        lacking = [data.path for data in folders if name not in data.tables]
        if lacking:
            if len(lacking) < len(folders):
                logging.warning("%s left out: %s has none", name, ", ".join(map(str, lacking)))
            continue
        tables[name], contradictions = _united([(data.path / name, data.tables[name]) for data in folders])
        if name == "cmvn.scp" and contradictions:
            logging.warning("%s left out: %s", name, contradictions[0])
            del tables[name]
        else:
            conflicts += contradictions
    frame_shift = _common_frame_shift(folders, conflicts) if "feats.scp" in tables else ""
    if conflicts:
        raise DataError("\n".join(conflicts))
    return DataDir(folders[0].path, tables, frame_shift)


def _united(sources: Sequence[tuple[Path, dict[str, str]]]) -> tuple[dict[str, str], list[str]]:
    """One table of several, and what contradicts the first value of an id."""
    united: dict[str, str] = {}
    conflicts = []
    for path, table in sources:
        for key, value in table.items():
            if united.setdefault(key, value) != value:
                conflicts.append(
                    f"{path}: '{key}' has the value '{value}', but '{united[key]}' in another folder"
                )
    return united, conflicts


def _common_frame_shift(folders: Sequence[DataDir], conflicts: list[str]) -> str:
    """The frame shift of all folders; a folder that tells none has the default."""
    first = folders[0].frame_shift or str(DEFAULT_FRAME_SHIFT_S)
    conflicts += [
        f"{data.path}: features have a frame shift of {data.frame_shift or DEFAULT_FRAME_SHIFT_S} s, "
        f"but of {first} s in {folders[0].path} (file frame_shift)"
        for data in folders[1:]
        if not _same_number(data.frame_shift or str(DEFAULT_FRAME_SHIFT_S), first)
    ]
    return next((data.frame_shift for data in folders if data.frame_shift), "")


def _same_number(one: str, other: str) -> bool:
    """Whether two texts are the same, or the same number."""
    try:
        return float(one) == float(other)
    except ValueError:
        return one == other


def _whole_recordings(data: DataDir) -> dict[str, str]:
    durations = data.tables.get("utt2dur", {})
    return {name: f"{name} 0 {durations.get(name, '-1')}" for name in data.utterances}
