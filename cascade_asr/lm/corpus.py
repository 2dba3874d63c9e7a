"""Text for a language model: where corpora keep it, its vocabulary, its token ids.

A token is a word between white space; every line, including blank ones, ends in
one ``<eos>``.
"""

from __future__ import annotations

import codecs
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cascade_asr.data.kaldi.blanks import odd_character, words
from cascade_asr.errors import DataError
from cascade_asr.files import atomic_write

logger = logging.getLogger(__name__)

EOS, UNKNOWN = "<eos>", "<unk>"
PARTS = ("train", "valid", "test")

# Names of the files of WikiText-2 and of similar corpora.
_PART_NAMES = {"train": ("train",), "valid": ("valid", "validation", "dev"), "test": ("test",)}
_FILE_NAMES = ("wiki.{}.tokens", "wiki.{}.txt", "{}.txt", "{}.tokens")
_FOLDERS = ("", "wikitext-2", "wikitext-2-v1")


@dataclass(frozen=True)
class TextSizes:
    """Size of a corpus: tokens in each part, including ``<eos>``, and different tokens in all."""

    train: int
    valid: int
    test: int
    vocabulary: int


WIKITEXT2 = TextSizes(train=2_088_628, valid=217_646, test=245_569, vocabulary=33_278)


def find_parts(directory: Path, parts: tuple[str, ...] = PARTS) -> dict[str, Path]:
    """Find the training, dev and test text in a folder, whatever they are called.

    They may be named ``wiki.train.tokens``, ``train.txt`` and the like, here or in a folder
    ``wikitext-2``; the dev part may be ``valid``, ``validation`` or ``dev``.

    Raises:
        DataError: if a part is missing, or exists only as a ``raw`` variant.
    """
    if not directory.is_dir():
        raise DataError(f"{directory}: no such folder")
    for folder in (directory / name for name in _FOLDERS):
        found = {}
        for part in parts:
            names = [form.format(name) for form in _FILE_NAMES for name in _PART_NAMES[part]]
            path = next((folder / name for name in names if (folder / name).is_file()), None)
            if path is not None:
                found[part] = path
        if len(found) == len(parts):
            return found
        if found:
            break
    _refuse_raw(directory)
    missing = ", ".join(part for part in parts if part not in found)
    present = ", ".join(sorted(path.name for path in directory.iterdir())) or "nothing"
    raise DataError(
        f"{directory}: no text for {missing}; expected {parts[0]}.txt and so on, or "
        f"wiki.{parts[0]}.tokens and so on; found: {present}"
    )


def _refuse_raw(directory: Path) -> None:
    raw = [*directory.glob("*.raw"), *directory.glob("*-raw*"), *directory.glob("*/*.raw")]
    if raw:
        raise DataError(
            f"{raw[0]}: this is the raw variant of WikiText-2, without <unk> and with a "
            "vocabulary more than twice as large; its perplexities cannot be compared: "
            "use wikitext-2-v1"
        )


def read_lines(path: Path) -> Iterator[list[str]]:
    """The tokens of each line, without ``<eos>``.

    Words are separated by ASCII white space. Line ends are LF; a CR before it is removed
    with a warning. Other blanks, and invisible characters, count as part of a word; a
    warning names the first line with one.

    Raises:
        DataError: for text that is not UTF-8, with the byte offset, that begins with a
            byte order mark, or that contains ``<eos>`` itself.
    """
    content = path.read_bytes()
    if content.startswith(codecs.BOM_UTF8):
        raise DataError(
            f"{path}:1: the file begins with a byte order mark (U+FEFF), which would be part of "
            "its first word; save it without one"
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}:{line}: not UTF-8 (byte offset {error.start}); convert it, for example "
            "with iconv -t UTF-8"
        ) from error
    if "\r\n" in text:
        logger.warning("%s: lines end in CR LF; the CR is ignored", path)
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    _refuse_eos(path, lines)
    _warn_of_odd_characters(path, lines)
    return (words(line) for line in lines)


def _refuse_eos(path: Path, lines: list[str]) -> None:
    """A second one would be easy to predict, and lower the perplexity."""
    for number, line in enumerate(lines, start=1):
        if EOS in line and EOS in words(line):
            raise DataError(
                f"{path}:{number}: {EOS} stands in the text, but is added to the end of every line; "
                "remove it, and where it is not at the end of a line, put a line end in its place"
            )


def _warn_of_odd_characters(path: Path, lines: list[str]) -> None:
    for number, line in enumerate(lines, start=1):
        odd = "" if line.isascii() and line.isprintable() else odd_character(line.rstrip("\r"))
        if odd:
            logger.warning("%s:%d: %s; for sclite and this model this is not a blank", path, number, odd)
            return


def count_tokens(lines: Iterable[list[str]]) -> Counter[str]:
    """How often each token occurs, ``<eos>`` included."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(line)
        counts[EOS] += 1
    return counts


def check_wikitext2(counts: dict[str, Counter[str]], directory: Path, strict: bool) -> None:
    """Compare the counts of a corpus with WikiText-2's.

    Args:
        counts: token counts of each part.
        directory: folder of the corpus, for messages.
        strict: stop if they differ; else warn.

    Raises:
        DataError: if it is the raw variant, and with ``strict`` for any difference.
    """
    if UNKNOWN not in counts["train"]:
        raise DataError(
            f"{directory}: the training text has no {UNKNOWN} and {len(counts['train'])} "
            f"different tokens: this is the raw variant of WikiText-2, whose perplexities cannot "
            "be compared; use wikitext-2-v1, or pass the folder with --text"
        )
    found = TextSizes(
        *(counts[part].total() for part in PARTS),
        vocabulary=len(set().union(*(counts[part] for part in PARTS))),
    )
    problems = [
        f"{name}: {getattr(found, name)}, expected {getattr(WIKITEXT2, name)}"
        for name in (*PARTS, "vocabulary")
        if getattr(found, name) != getattr(WIKITEXT2, name)
    ]
    if problems and strict:
        raise DataError(f"{directory}: not WikiText-2: {'; '.join(problems)} tokens")
    if problems:
        logger.warning("%s: not the whole WikiText-2: %s tokens", directory, "; ".join(problems))


class Vocabulary:
    """Tokens and their ids.

    Args:
        tokens: tokens in the order of their ids, including ``<unk>`` and an end-of-line token.
        eos: the end-of-line token: ``<eos>``, or ``<sos/eos>`` of an ASR token list.

    Raises:
        DataError: if one of the two is missing or a token occurs twice.
    """

    def __init__(self, tokens: list[str], eos: str = EOS) -> None:
        self.tokens = tokens
        self.ids = {token: index for index, token in enumerate(tokens)}
        if len(self.ids) != len(tokens):
            twice = next(token for token, n in Counter(tokens).items() if n > 1)
            raise DataError(f"vocabulary: '{twice}' occurs twice")
        for token in (eos, UNKNOWN):
            if token not in self.ids:
                raise DataError(f"vocabulary: no {token}")
        self.eos = self.ids[eos]
        self.unknown = self.ids[UNKNOWN]

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def from_counts(cls, counts: Counter[str], min_count: int = 1) -> Vocabulary:
        """``<eos>``, ``<unk>`` and all other tokens that are frequent enough, by frequency."""
        ordinary = [
            token
            for token, count in counts.items()
            if count >= min_count and token not in (EOS, UNKNOWN)
        ]
        return cls([EOS, UNKNOWN, *sorted(ordinary, key=lambda token: (-counts[token], token))])

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """Read ``tokens.txt``, one token per line.

        Raises:
            DataError: if it is missing or not a vocabulary.
        """
        if not path.is_file():
            raise DataError(f"{path}: no vocabulary; run stage 1")
        tokens = path.read_text(encoding="utf-8").split("\n")
        if tokens[-1] == "":
            tokens.pop()
        try:
            return cls(tokens, EOS if EOS in tokens else "<sos/eos>")
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    def write(self, path: Path) -> None:
        """Write ``tokens.txt``."""
        with atomic_write(path) as stream:
            stream.writelines(f"{token}\n" for token in self.tokens)

    def encode(self, lines: Iterable[list[str]]) -> np.ndarray:
        """Ids (N,) int32 of all tokens, with one ``<eos>`` after each line."""
        ids = []
        for line in lines:
            ids += [self.ids.get(word, self.unknown) for word in line]
            ids.append(self.eos)
        return np.array(ids, dtype=np.int32)
