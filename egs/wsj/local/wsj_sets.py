"""The sets of WSJ: the index files that list them, and the errors in these."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from wsj_discs import Corpus

from cascade_asr.data.audio.corpus_files import read_lines
from cascade_asr.errors import DataError

AUDIO_SUFFIX = ".wv1"  # the first microphone; .wv2 is the second
ENTRY = re.compile(r"(\d+)[-_](\d+)[-_.](\d+)\s*:\s*/*(\S.*?)\s*")
UTTERANCE = re.compile(r"[0-9a-z]{8}")
# Listed in tr_s_wv1.ndx, but this speaker is not on the disc.
ABSENT_SPEAKER = ("11-2.1", "wsj0/si_tr_s/401/")


class Index(NamedTuple):
    """A file that lists utterances, on a disc."""

    disc: str
    path: str


class Folder(NamedTuple):
    """A folder on a disc whose audio is a set."""

    disc: str
    path: str


@dataclass(frozen=True)
class SetDefinition:
    """How a set is made.

    Attributes:
        sources: where its utterances are listed, or where they are.
        expected: number of utterances on LDC's discs.
        is_training: utterances without text are dropped instead of being an error.
        moved: discs that an index names wrongly, and the correct ones.
    """

    sources: tuple[Index | Folder, ...]
    expected: int
    is_training: bool = False
    moved: tuple[tuple[str, str], ...] = ()


_SI84 = Index("11-13.1", "wsj0/doc/indices/train/tr_s_wv1.ndx")
_SI200 = Index("13-34.1", "wsj1/doc/indices/si_tr_s.ndx")
_NOVEMBER_92 = "wsj0/doc/indices/test/nvp"
_NOVEMBER_93 = "wsj1/doc/indices/wsj1/eval"
_MOVED = (("13-32.1", "13-33.1"),)

SETS = {
    "train_si84": SetDefinition((_SI84,), 7138, is_training=True),
    "train_si284": SetDefinition((_SI84, _SI200), 37416, is_training=True),
    "test_dev93": SetDefinition((Index("13-34.1", "wsj1/doc/indices/h1_p0.ndx"),), 503),
    "test_dev93_5k": SetDefinition((Index("13-34.1", "wsj1/doc/indices/h2_p0.ndx"),), 513),
    "test_eval92": SetDefinition((Index("11-13.1", f"{_NOVEMBER_92}/si_et_20.ndx"),), 333),
    "test_eval92_5k": SetDefinition((Index("11-13.1", f"{_NOVEMBER_92}/si_et_05.ndx"),), 330),
    "test_eval93": SetDefinition(
        (Index("13-32.1", f"{_NOVEMBER_93}/h1_p0.ndx"),), 213, moved=_MOVED
    ),
    "test_eval93_5k": SetDefinition(
        (Index("13-32.1", f"{_NOVEMBER_93}/h2_p0.ndx"),), 215, moved=_MOVED
    ),
    "dev_dt_20": SetDefinition((Folder("13-16.1", "wsj1/si_dt_20"),), 503),
    "dev_dt_05": SetDefinition((Folder("13-16.1", "wsj1/si_dt_05"),), 913),
}


class Entry(NamedTuple):
    """An utterance of a set.

    Attributes:
        utterance: its id: speaker (3), type (1), session (2) and utterance (2).
        audio: the file, or None if the disc does not have it.
        name: disc and path as in the index.
        place: file and line that list it.
    """

    utterance: str
    audio: Path | None
    name: str
    place: str


def read_set(corpus: Corpus, name: str) -> Iterator[Entry]:
    """List the utterances of a set, including those without audio.

    Raises:
        DataError: for a missing disc or index, and for a line that is not an index entry.
    """
    definition = SETS[name]
    for source in definition.sources:
        if isinstance(source, Folder):
            paths = corpus.files_in(source.disc, source.path, AUDIO_SUFFIX)
            if not paths:
                raise DataError(f"{name}: no audio in {source.path} of WSJ disk {source.disc}")
            for path in paths:
                yield Entry(_utterance_of(path.name, str(path)), path, str(path), str(path.parent))
        else:
            yield from _read_index(corpus, source, dict(definition.moved), name)


def _read_index(
    corpus: Corpus, source: Index, moved: dict[str, str], needed_by: str
) -> Iterator[Entry]:
    index = corpus.require(source.disc, source.path, needed_by)
    for number, line in enumerate(read_lines(index), start=1):
        if not line.strip() or line.lstrip().startswith(";"):
            continue
        place = f"{index.name}:{number}"
        match = ENTRY.fullmatch(line.strip())
        if not match:
            raise DataError(
                f"{index}:{number}: expected 'DISC: PATH' such as 11_1_1:wsj0/si_tr_s/01i/01ic0201."
                f"wv1, found '{line[:60]}'"
            )
        disc = "{}-{}.{}".format(*match.groups()[:3])
        disc = moved.get(disc, disc)
        path = match[4]
        if disc == ABSENT_SPEAKER[0] and path.lower().startswith(ABSENT_SPEAKER[1]):
            continue
        if PurePosixPath(path).suffix.lower() != AUDIO_SUFFIX:
            path += AUDIO_SUFFIX
        utterance = _utterance_of(path.rpartition("/")[2], f"{index}:{number}")
        yield Entry(utterance, corpus.find(disc, path, place), f"{disc}/{path}", place)


def _utterance_of(file_name: str, place: str) -> str:
    utterance = file_name.lower().removesuffix(AUDIO_SUFFIX)
    if not UTTERANCE.fullmatch(utterance):
        raise DataError(f"{place}: '{utterance}' is not an utterance id; expected 8 letters and digits")
    return utterance
