"""NIST's evaluations of telephone speech of 2000 (Hub5) and 2003 (rt03)."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from swbd_audio import AUDIO_SUFFIX, find_recordings
from swbd_transcripts import Utterance, check_length, utterance_id
from swbd_words import WordMap

from cascade_asr.data.audio.corpus_files import find_files, read_lines, warn_of_file
from cascade_asr.errors import DataError
from cascade_asr.scoring.hub5.ctm import channel_name
from cascade_asr.scoring.hub5.hub5 import IGNORED, Stm, read_stm

EXTENSION_S = 0.1  # added at both ends of an eval2000 segment, if there is room
PEM, EVAL2000_STM, EVAL2000_GLM = (
    "hub5e_00.pem", "hub5e00.english.000405.stm", "en20000405_hub5.glm",
)  # fmt: skip
RT03_FOLDER, RT03_GLM = "eval03/english/cts/", "en20030506.glm"
EVAL2000_RECORDING = re.compile(r"(en|sw)_\d{4}")
RT03_RECORDING = re.compile(r"(fsh|sw)_\d{5}")
GAP = "inter_segment_gap"

_LABEL = re.compile(r"<([^<>]*)>\s*")
_ALTERNATIVES = re.compile(r"\{([^{}/]*)/[^{}]*\}")
_NO_WORD = re.compile(r"<[be]_aside>|[(){}@]", re.IGNORECASE)
_MARKER = re.compile(r"\[[^\[\]]*\]|<[^<>]*>|\S*[\[\]<>]\S*")
_HESITATION = re.compile(r"%hesitation", re.IGNORECASE)


@dataclass(frozen=True)
class Evaluation:
    """A set as described by its files.

    Attributes:
        utterances: utterances by id, with the evaluation's times.
        ignored: segments that are not scored.
        genders: ``m`` or ``f`` by recording, for recordings of a single gender.
        stm: the reference, ready for hubscr.pl.
        glm: lines of the word mapping rules.
        recordings: audio by file name.
    """

    utterances: dict[str, Utterance]
    ignored: dict[str, Utterance]
    genders: dict[str, str]
    stm: Stm
    glm: list[str]
    recordings: dict[str, Path]


def read_eval2000(folders: Iterable[Path]) -> Evaluation:
    """Read eval2000 from the folders of its speech (LDC2002S09) and text (LDC2002T43).

    Raises:
        DataError: for a missing or damaged file, and for segments that differ between
            the pem and the stm.
    """
    folders = list(folders)
    files = find_files(folders, (AUDIO_SUFFIX, ".pem", ".stm", ".glm"))
    pem = _only(files, PEM, folders, "LDC2002S09")
    stm = _only(files, EVAL2000_STM, folders, "LDC2002T43")
    glm = _only(files, EVAL2000_GLM, folders, "LDC2002T43")
    evaluation = _read([stm], glm, find_recordings(files, EVAL2000_RECORDING))
    _compare(pem, stm, _read_pem(pem), evaluation)
    return evaluation


def read_rt03(folders: Iterable[Path]) -> Evaluation:
    """Read the English telephone part of rt03 (LDC2007S10).

    Raises:
        DataError: for a missing or damaged file.
    """
    folders = list(folders)
    files = find_files(folders, (AUDIO_SUFFIX, ".stm", ".glm"))
    glm = _only(files, RT03_GLM, folders, "LDC2007S10")
    chosen = [path for path in files if RT03_FOLDER in path.as_posix().lower()]
    stms = [path for path in chosen if path.suffix.lower() == ".stm"]
    if not stms:
        raise DataError(f"{_shown(folders)} has no {RT03_FOLDER}*.stm: is this LDC2007S10?")
    return _read(stms, glm, find_recordings(chosen, RT03_RECORDING))


def extend(
    utterances: Mapping[str, Utterance],
    ignored: Mapping[str, Utterance],
    durations: Mapping[str, float],
) -> dict[str, Utterance]:
    """Lengthen segments at both ends, or by half of the gap to the next one if that is short.

    Overlapping segments stay as they are.

    Args:
        utterances: utterances by id.
        ignored: segments that are not scored; they also count as neighbours.
        durations: durations of the recordings in seconds.
    """
    sides: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for name, each in {**ignored, **utterances}.items():
        sides[each.recording].append((each.start_s, each.end_s, name))
    extended: dict[str, Utterance] = {}
    for segments in sides.values():
        segments.sort()
        ends = [end for _, end, _ in segments]
        starts = [start for start, _, _ in segments]
        for place, (start, end, name) in enumerate(segments):
            if name not in utterances:
                continue
            each = utterances[name]
            before = (start - ends[place - 1]) / 2 if place else start
            last = place + 1 == len(segments)
            after = durations[each.file] - end if last else (starts[place + 1] - end) / 2
            extended[name] = each._replace(
                start_s=start - min(EXTENSION_S, max(0.0, before)),
                end_s=end + min(EXTENSION_S, max(0.0, after)),
            )
    return {name: extended[name] for name in utterances}


def _only(files: Iterable[Path], name: str, folders: list[Path], catalogue: str) -> Path:
    """The file of that name; several with the same content count as one."""
    found = [path for path in files if path.name.lower() == name.lower()]
    if not found:
        raise DataError(f"{_shown(folders)} has no {name}: is this {catalogue}?")
    for other in found[1:]:
        if other.read_bytes() != found[0].read_bytes():
            raise DataError(f"{found[0]} and {other} differ; name the folder of one of them")
    return found[0]


def _shown(folders: Iterable[Path]) -> str:
    return " and ".join(map(str, folders))


def _read(stms: list[Path], glm: Path, recordings: dict[str, Path]) -> Evaluation:
    words = WordMap({})
    utterances: dict[str, Utterance] = {}
    ignored: dict[str, Utterance] = {}
    genders: dict[str, set[str]] = defaultdict(set)
    for path in stms:
        for each, label in _read_segments(path, words):
            chosen = ignored if IGNORED.lower() in each.text else utterances
            name = utterance_id(each.recording, each.start_s, each.end_s)
            first = chosen.setdefault(name, each)
            if first is not each and first.text != each.text:
                places = f"{first.shown_place} and {each.shown_place}"
                raise DataError(f"'{name}' in {places} with different texts; remove the wrong one")
            if len(label) > 2 and label[2].lower() in ("m", "f"):
                genders[each.recording].add(label[2].lower())
    return Evaluation(
        {name: utterances[name] for name in sorted(utterances)},
        ignored,
        {side: min(known) for side, known in genders.items() if len(known) == 1},
        _join([read_stm(path) for path in stms]),
        read_lines(glm),
        recordings,
    )


def _seconds(text: str) -> float:
    """A time of an stm or a pem.

    Raises:
        ValueError: if it is not a time.
    """
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError(f"'{text}' is not a time")
    return value


def _read_segments(path: Path, words: WordMap) -> Iterator[tuple[Utterance, list[str]]]:
    """Utterances of an stm with the fields of their labels; gaps are skipped."""
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip() or line.startswith(";;") or GAP in line.lower():
            continue
        place = f"{path}:{number}"
        try:
            file, channel, _, start, end, *rest = line.split(None, 5)
            start_s, end_s = _seconds(start), _seconds(end)
        except ValueError:
            raise DataError(
                f"{place}: expected 'file channel speaker begin end <label> words', found "
                f"'{line[:60]}'"
            ) from None
        side = channel_name(channel)
        if side not in ("A", "B"):
            raise DataError(f"{place}: channel '{channel}'; expected A or B, or 1 or 2")
        text = rest[0] if rest else ""
        label = _LABEL.match(text)
        raw = text[label.end() :] if label else text
        spoken, markers = _plain_words(raw, words)
        if markers:
            warn_of_file(f"no word: {' '.join(markers)}", place)
        each = Utterance(file, side, start_s, end_s, spoken, (path, number))
        check_length(each.recording, start_s, end_s, place)
        yield each, label[1].split(",") if label else []


def _plain_words(text: str, words: WordMap) -> tuple[str, list[str]]:
    """Lower-case words of a reference, and everything in it that is not a word.

    hubscr.pl reads the reference itself; these words are for other comparisons of texts.
    """
    plain = _HESITATION.sub("uh", _NO_WORD.sub(" ", _ALTERNATIVES.sub(r"\1", text)))
    try:
        return words(plain), []
    except ValueError:
        return words(_MARKER.sub(" ", plain)), _MARKER.findall(plain)


def _join(stms: list[Stm]) -> Stm:
    """Merge several references into one, sorted like a ctm, with each header line once."""
    header = dict.fromkeys(line for stm in stms for line in stm.header)
    lines = [line for stm in stms for line in stm.lines]
    lines.sort(key=lambda each: (each[0], each[1], float(each[2].split()[3])))
    return Stm(list(header), lines)


def _read_pem(path: Path) -> dict[str, str]:
    """Ids of the segments in a pem, with file and line."""
    found: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip() or line.startswith(";;"):
            continue
        place = f"{path}:{number}"
        try:
            file, channel, _, start, end = line.split()
            times = _seconds(start), _seconds(end)
        except ValueError:
            raise DataError(
                f"{place}: expected 'file channel speaker begin end', found '{line[:60]}'"
            ) from None
        recording = f"{file}-{channel_name(channel)}"
        check_length(recording, *times, place)
        found.setdefault(utterance_id(recording, *times), place)
    return found


def _compare(pem: Path, stm: Path, listed: dict[str, str], evaluation: Evaluation) -> None:
    """Require the same segments in both, so that exactly what is decoded is scored."""
    scored = {
        name: each.shown_place
        for name, each in (evaluation.utterances | evaluation.ignored).items()
    }
    different = listed.keys() ^ scored.keys()
    if different:
        first = min(different)
        place = listed.get(first) or scored[first]
        raise DataError(
            f"{pem} and {stm} differ: the first segment that only one has is '{first}' ({place}); "
            f"{len(listed)} segments in the pem, {len(scored)} in the stm"
        )
