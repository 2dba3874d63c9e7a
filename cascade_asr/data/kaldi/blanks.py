"""White space in text: one rule for tables, tokens, language models and scores.

Words are separated by ASCII white space and nothing else, as in sclite and Kaldi.
Python's ``str.split`` also splits at Unicode blanks, which would turn what sclite
counts as one word into two.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from cascade_asr.errors import CascadeError, ConfigError

BLANKS = " \t\n\v\f\r"  # C's isspace
_WORD = re.compile(f"[^{BLANKS}]+")
_TO_SPACES = str.maketrans(dict.fromkeys(BLANKS, " "))

# Blanks that exist only in Unicode, and characters of zero width.
_SEPARATORS = "\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_INVISIBLE = "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u202a-\u202e"
_INVISIBLE += "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
_CONTROLS = "\x00-\x08\x0e-\x1f\x7f-\x9f"
# Joiners (U+200C, U+200D) belong to the spelling in Arabic and many Indic scripts.
_JOINERS = "(?<![\u0590-\U0010ffff])[\u200c\u200d]"
_ODD = re.compile(f"[\r\v\f{_SEPARATORS}{_INVISIBLE}]|{_JOINERS}")
_ODD_OR_CONTROL = re.compile(f"[\r\v\f{_CONTROLS}{_SEPARATORS}{_INVISIBLE}]|{_JOINERS}")


def words(text: str) -> list[str]:
    """The words of a text, between ASCII white space.

    >>> words("10\\u00a0000 marks\\tor less")
    ['10\\xa0000', 'marks', 'or', 'less']
    """
    return _WORD.findall(text)


def first_word(text: str) -> str:
    """The first word, or an empty string."""
    found = _WORD.search(text)
    return found[0] if found else ""


def split_first(line: str) -> tuple[str, str]:
    """The first word of a line, empty if the line begins with a blank, and the rest."""
    found = _WORD.match(line)
    end = found.end() if found else 0
    return line[:end], line[end + 1 :].strip(" \t") if found else line.strip(BLANKS)


def with_spaces(text: str) -> str:
    """The text with tabs and the like replaced by spaces, so that none is a separate character."""
    return text.translate(_TO_SPACES)


def odd_character(text: str, controls: bool = True) -> str:
    """Describe the first character that looks like a blank but is not one, or is invisible.

    Args:
        text: one line.
        controls: whether control characters count too.

    Returns:
        Such as ``U+00A0 NO-BREAK SPACE in column 3``; empty if there is none.
    """
    found = (_ODD_OR_CONTROL if controls else _ODD).search(text)
    if not found:
        return ""
    character = found[0]
    names = {"\r": " CARRIAGE RETURN", "\v": " LINE TABULATION", "\f": " FORM FEED", "\a": " BELL"}
    name = names.get(character, f" {unicodedata.name(character, 'control character')}")
    return f"U+{ord(character):04X}{name} in column {found.start() + 1}"


def read_user_lines(path: Path, error: type[CascadeError] = ConfigError) -> list[str]:
    """Lines of a text file written by a user, without their ends (LF or CR LF).

    Raises:
        error: with file and line, if it cannot be read, is not UTF-8, begins with a
            byte order mark or has a carriage return inside a line.
    """
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise error(f"{path}: cannot be read: {fault.strerror}") from fault
    if content.startswith(b"\xef\xbb\xbf"):
        raise error(f"{path}:1: the file begins with a byte order mark (U+FEFF); save it without one")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        raise error(
            f"{path}:{line}: not UTF-8 (byte offset {fault.start}); convert it, for example with "
            "iconv -t UTF-8"
        ) from fault
    lines = text.replace("\r\n", "\n").split("\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, start=1):
        if "\r" in line:
            raise error(
                f"{path}:{number}: a carriage return inside the line; lines end in LF or CR LF"
            )
    return lines
