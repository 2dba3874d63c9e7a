"""From the text of one utterance to the words that are compared.

Text is bytes throughout: sclite splits only at ASCII white space, folds only A-Z
and sorts by byte, which is what Python's ``bytes`` methods do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from cascade_asr.errors import DataError
from cascade_asr.scoring.options import ScoringOptions

NULL = b"@"
SPACE = b"<space>"  # between two words, if characters are scored with spaces
DEEPEST_ALTERNATES = 100  # nesting of alternates; more is a recogniser's garbage
_TAG = re.compile(rb"(?<!\\);.*", re.DOTALL)
_MARKED = re.compile(rb"[{}@;\\*]")
_BRACE = re.compile(rb"[{}]")

Report = Callable[[str], None]


class Word(NamedTuple):
    """A word of a transcript that needs more than comparing its bytes.

    Attributes:
        value: as reports print it, such as ``(uh)``.
        match: as it is compared, such as ``uh``.
        optional: it may be missing or extra without an error.
        fragment: it may match a word by its beginning or end.
        null: it stands for nothing; it takes part in the alignment, never in the counts.
    """

    value: bytes
    match: bytes
    optional: bool = False
    fragment: bool = False
    null: bool = False


def ascii_words(text: str) -> list[str]:
    """Words as sclite splits them: a no-break space is part of a word.

    >>> ascii_words("10\\u00a0000 dollars\\t")
    ['10\\xa0000', 'dollars']
    """
    return [word.decode("utf-8", "surrogateescape") for word in
            text.encode("utf-8", "surrogateescape").split()]  # fmt: skip


def clean(token: bytes) -> bytes:
    """The word of a token: without ``;tag``, backslashes and a final ``*``.

    >>> clean(b"read;verb"), clean(b"a\\\\;b"), clean(b"word*"), clean(b"*")
    (b'read', b'a;b', b'word', b'*')
    """
    word = _TAG.sub(b"", token).replace(b"\\", b"")
    return word[:-1] if len(word) > 1 and word.endswith(b"*") else word


def make_word(token: bytes, options: ScoringOptions) -> Word:
    """Classify one cleaned token under ``-D`` and ``-F``."""
    optional = (
        options.optional_deletable
        and len(token) > 1
        and token.startswith(b"(")
        and token.endswith(b")")
    )
    match = token[1:-1] if optional else token
    fragment = options.fragments and (
        token.startswith(b"-") or token.endswith(b"-") or (optional and match.endswith(b"-"))
    )
    return Word(token, match, optional, fragment, token == NULL)


def plain_words(text: bytes, options: ScoringOptions) -> list[bytes] | None:
    """Words (or characters) that match only when equal, the common case.

    Returns:
        The words, or None if the text has alternates, null words, optional words
        or fragments and must be read as a network.
    """
    words = text.split()
    if _MARKED.search(text):
        if b"{" in text or b"}" in text:
            return None
        words = [clean(word) for word in words]
        if NULL in words:
            return None
    if (options.optional_deletable and b"(" in text) or (options.fragments and b"-" in text):
        if any(word.optional or word.fragment for word in (make_word(w, options) for w in words)):
            return None
    if not options.characters:
        return words
    pieces: list[bytes] = []
    for position, word in enumerate(words):
        if options.spaces and position:
            pieces.append(SPACE)
        pieces += split_characters(word, options)
    return pieces


def split_characters(word: bytes, options: ScoringOptions) -> list[bytes]:
    """Split a word into what ``-c`` scores: bytes, or characters with UTF-8.

    A one-byte word is kept even if hyphens are deleted, as in sclite.

    >>> split_characters("née-x".encode(), ScoringOptions("rm", encoding="utf-8",
    ...     characters=True, no_ascii=True, delete_hyphen=True))
    [b'n', b'\\xc3\\xa9', b'ex']
    """
    if len(word) <= 1:
        return [word]
    if options.encoding:
        characters = [character.encode() for character in word.decode()]
    else:
        characters = [word[i : i + 1] for i in range(len(word))]
    if options.delete_hyphen:
        characters = [character for character in characters if character != b"-"]
    if not options.no_ascii:
        return characters
    pieces: list[bytes] = []
    for character in characters:
        joins = not options.encoding or (len(character) == 1 and pieces and pieces[-1][-1] < 0x80)
        if pieces and joins:
            pieces[-1] += character
        else:
            pieces.append(character)
    if pieces == [word]:
        return pieces
    # sclite reads the pieces of a split word as words again, which drops another final *.
    return [clean(piece) if piece.endswith(b"*") else piece for piece in pieces]


def tokens(
    text: bytes, where: str, report: Report, recognised: bool = False
) -> list[bytes | list[bytes]]:
    """Split a text into tokens; an alternation becomes the list of its branches' texts.

    An unmatched ``}`` is a word, or part of one, as in sclite. A ``{`` that is never
    closed, or is inside a word, is a fault in a reference. In a hypothesis it is a word
    too: a recogniser may print anything, and one utterance must not spoil the scoring
    of all (sclite crashes, or drops the rest of the line).

    Args:
        recognised: whether the text is a hypothesis.

    Raises:
        DataError: in a reference, for a ``{`` that is unmatched or inside a word.
    """
    found: list[bytes | list[bytes]] = []
    closing = _closing_braces(text)
    position, length = 0, len(text)
    while position < length:
        character = text[position : position + 1]
        if character.isspace():
            position += 1
        elif position in closing:
            end = closing[position]
            branches = _branches(text[position + 1 : end])
            if not branches:
                report(f"{where}: '{{ }}' holds no word; read as nothing (sclite crashes)")
            found.append(branches or [NULL])
            position = end + 1
        else:
            end = position
            while end < length and not text[end : end + 1].isspace():
                end += 1
            token = text[position:end]
            if b"{" in token:
                _judge_open_brace(text[position:], token, where, report, recognised)
            found.append(token)
            position = end
    return found


def _judge_open_brace(
    rest: bytes, token: bytes, where: str, report: Report, recognised: bool
) -> None:
    if recognised:
        report(
            f"{where}: '{{' in '{_show(token)}' opens no alternates; it is a word of the "
            "hypothesis here (sclite crashes, or drops the rest of the line)"
        )
        return
    fault = (
        f"'{{' is never closed in '{_show(rest)}'"
        if token.startswith(b"{")
        else f"'{{' inside the word '{_show(token)}'"
    )
    raise DataError(
        f"{where}: {fault}; in a reference, braces are only for alternates, as in "
        "'{ word / other words / @ }'; write others as words, or remove them"
    )


def _closing_braces(text: bytes) -> dict[int, int]:
    """Where each matched ``{`` is closed; empty for a text that is nested too deeply."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACE.finditer(text):
        if match[0] == b"{":
            opened.append(match.start())
            if len(opened) > DEEPEST_ALTERNATES:
                return {}
        elif opened:
            closing[opened.pop()] = match.start()
    return closing


def _branches(text: bytes) -> list[bytes]:
    """Split the inside of an alternation at ``/``; empty branches are ignored."""
    branches, depth, begin = [], 0, 0
    for position, byte in enumerate(text):
        if byte == 0x7B:
            depth += 1
        elif byte == 0x7D:
            depth -= 1
        elif byte == 0x2F and depth == 0:
            branches.append(text[begin:position])
            begin = position + 1
    branches.append(text[begin:])
    return [branch for branch in branches if branch.strip()]


def _show(text: bytes) -> str:
    shown = text.decode("utf-8", "backslashreplace").strip()
    return shown if len(shown) <= 40 else shown[:37] + "..."
