"""LibriSpeech: its parts, and how to read their layout.

Panayotov, Chen, Povey, Khudanpur, "LibriSpeech: an ASR corpus based on public domain audio
books", ICASSP 2015; OpenSLR 12, and OpenSLR 31 for the small parts; CC BY 4.0. A part is a
folder ``LibriSpeech/PART/SPEAKER/CHAPTER`` with ``SPEAKER-CHAPTER-NUMBER.flac`` and
``SPEAKER-CHAPTER.trans.txt``, whose lines are ``ID WORDS`` in capitals.
"""

from __future__ import annotations

import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cascade_asr.data.audio.corpus_files import find_files, read_lines, shown
from cascade_asr.errors import DataError

log = logging.getLogger(__name__)

SAMPLE_RATE = 16000  # Hz
SHOWN_FAULTS = 20
_ID = re.compile(r"(?P<speaker>\d+)-(?P<chapter>\d+)-(?P<number>\d+)")
_SPEAKER = re.compile(r"\s*(?P<speaker>\d+)\s*\|\s*(?P<sex>[MF])\s*\|.*")
_WORDS = re.compile(r"[A-Z' ]+")


@dataclass(frozen=True)
class Part:
    """One archive of the corpus.

    Attributes:
        resource: number of the collection at OpenSLR.
        md5: MD5 of the archive, as in OpenSLR's md5sum.txt.
        utterances: number of utterances.
        gigabytes: size of the archive.
    """

    resource: int
    md5: str
    utterances: int
    gigabytes: float


PARTS = {
    "train-clean-5": Part(31, "5df7d4e78065366204ca6845bb08f490", 1519, 0.34),
    "dev-clean-2": Part(31, "6d7ab67ac6a1d2c993d050e16d61080d", 1089, 0.13),
    "train-clean-100": Part(12, "2a93770f6d5c6c964bc36631d331a522", 28539, 6.4),
    "train-clean-360": Part(12, "c0e676e450a7ff2f54aeade5171606fa", 104014, 23.1),
    "train-other-500": Part(12, "d1a0fd59409feb2c614ce4d30c387708", 148688, 30.6),
    "dev-clean": Part(12, "42e2234ba48799c1f50f24a7926300a1", 2703, 0.34),
    "dev-other": Part(12, "c8d0bcc9cca99d4f8b62fcc847357931", 2864, 0.32),
    "test-clean": Part(12, "32fa31d27d2e1cad72775fee3f4849a9", 2620, 0.35),
    "test-other": Part(12, "fb5a50374b501bb3bac4815ee91d3135", 2939, 0.33),
}


@dataclass(frozen=True)
class Utterance:
    """One utterance: its id, its reader's id, its words and its FLAC file."""

    identifier: str
    speaker: str
    words: str
    audio: Path


def find_part(root: Path, part: str) -> Path | None:
    """The folder of a part: below ``root``, ``root/LibriSpeech``, or one folder deeper."""
    # a download is unpacked to PART/LibriSpeech/PART
    candidates = [root / part / "LibriSpeech", root, root / "LibriSpeech", root / part]
    if root.is_dir():
        below = sorted(each for each in root.iterdir() if each.is_dir())
        candidates += [each / "LibriSpeech" for each in below] + below
    for candidate in candidates:
        if (candidate / part).is_dir():
            return candidate / part
    return root if root.name == part and root.is_dir() else None


def read_part(folder: Path, name: str, strict: bool = False) -> list[Utterance]:
    """All utterances of a part, sorted by id.

    Args:
        folder: folder of the part.
        name: name of the part, such as ``dev-clean``.
        strict: a number of utterances that differs from the corpus's is an error.

    Raises:
        DataError: listing lines that are not ``ID WORDS`` or contradict their file's name,
            ids that occur twice, and utterances without a FLAC file.
    """
    transcripts = find_files([folder], ".trans.txt")
    if not transcripts:
        raise DataError(f"{folder}: no *.trans.txt in it; is this {name} of LibriSpeech, unpacked?")
    with ThreadPoolExecutor(16) as pool:
        read = list(pool.map(_read_chapter, transcripts))
    faults = [fault for _, found in read for fault in found]
    utterances: dict[str, Utterance] = {}
    for chapter, _ in read:
        for each in chapter:
            if each.identifier in utterances:
                faults.append(f"{each.audio.parent}: '{each.identifier}' is in two chapters")
            utterances[each.identifier] = each
    if faults:
        more = f"\nand {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
        raise DataError("\n".join(faults[:SHOWN_FAULTS]) + more)
    expected = PARTS[name].utterances
    if len(utterances) != expected:
        message = f"{folder}: {len(utterances)} utterances, {name} has {expected}"
        if strict:
            raise DataError(f"{message} (--strict)")
        log.warning("%s: results cannot be compared with others'", message)
    return [utterances[key] for key in sorted(utterances)]


def _read_chapter(path: Path) -> tuple[list[Utterance], list[str]]:
    """Utterances of one transcript, and what is wrong with it and its folder."""
    prefix = path.name[: -len(".trans.txt")]
    audio = {name for name in os.listdir(path.parent) if re.fullmatch(r"[^.].*\.flac", name)}
    utterances, faults, seen = [], [], set()
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        identifier, _, words = line.strip().partition(" ")
        match = _ID.fullmatch(identifier)
        if match is None or not identifier.startswith(f"{prefix}-"):
            faults.append(f"{path}:{number}: expected an id such as {prefix}-0000, found '{identifier}'")
            continue
        words = " ".join(words.split())
        if not words or not _WORDS.fullmatch(words):
            faults.append(
                f"{path}:{number}: '{identifier}': expected words in A-Z and ', found '{words[:40]}'"
            )
        if identifier in seen:
            faults.append(f"{path}:{number}: '{identifier}' appears here a second time")
            continue
        if f"{identifier}.flac" not in audio:
            faults.append(f"{path}:{number}: '{identifier}': no {identifier}.flac beside it")
        seen.add(identifier)
        file = path.parent / f"{identifier}.flac"
        utterances.append(Utterance(identifier, match["speaker"], words, file))
    extra = sorted(audio - {f"{name}.flac" for name in seen})
    if extra:
        log.warning("%s: %d files have no transcript and are left out: %s",
                    path.parent, len(extra), shown(extra, 3))  # fmt: skip
    return utterances, faults


def read_genders(path: Path) -> dict[str, str]:
    """``m`` or ``f`` for each reader in SPEAKERS.TXT; empty if there is no such file.

    Raises:
        DataError: naming a line that is not ``ID | SEX | PART | MINUTES | NAME``.
    """
    if not path.is_file():
        log.warning("%s: missing; spk2gender is not made", path)
        return {}
    genders = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip() or line.lstrip().startswith(";"):
            continue
        match = _SPEAKER.fullmatch(line)
        if match is None:
            raise DataError(f"{path}:{number}: expected 'ID | M or F | PART | MINUTES | NAME', found '{line[:40]}'")
        genders[match["speaker"]] = match["sex"].lower()
    return genders
