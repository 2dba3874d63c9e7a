"""Words of Switchboard's and Fisher's transcripts as a recogniser should output them.

The transcripts mark words that were laughed, mispronounced, made up or cut off:
``[laughter-story]``, ``[it'n/isn't]``, ``{yuppiedom}``, ``ab[solute]-``. What was heard
is kept; of the sounds, three markers are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import product

from cascade_asr.errors import DataError

MARKERS = ("[laughter]", "[noise]", "[vocalized-noise]")

_ASIDE = re.compile(r"<[be]_aside>", re.IGNORECASE)
_SOUND = re.compile(r"(\[(?:laughter|noise|vocalized-noise|silence)\])", re.IGNORECASE)
_LAUGHED = re.compile(r"(-?)\[laughter-(.+)\]([^\[\]]*)", re.IGNORECASE)
_MISPRONOUNCED = re.compile(r"(-?)\[(.+)/.+\]([^\[\]/]*)")
# A missing bracket: ex[specially]-/especially]
_HALF_MISPRONOUNCED = re.compile(r"([^/\[\]]+\[[^/\[\]]+\]-?)/[^/\[\]]+\]")
_MADE_UP = re.compile(r"\{([^{}]+)\}")
_UNSPOKEN = re.compile(r"-?\[[^\[\]]+\]-?")
_CUTS = re.compile(r"-{2,}")
_VARIANT = re.compile(r"_\d+")  # them_1: number of the pronunciation variant
_BRACKET = re.compile(r"[\[\]{}<>()]")

_DOTTED = re.compile(r"((?:[a-z]\._?)+)('?s)?", re.IGNORECASE)  # i._b._m.'s
_CAPITALS = re.compile(r"([A-Z]{2,})('?s)?")
_POSSESSIVE = re.compile(r"([A-Z]{2,})('?s)|([a-z]{2,})('s)")
_LETTERS_ALONE = re.compile(r"([A-Za-z]{2,})()")
_LETTERS_AND_S = re.compile(r"([A-Za-z]{2,})('?s)")

# The names of the letters in the transcripts' dictionary.
_LETTERS = {
    "a": ("ey",), "b": ("b iy",), "c": ("s iy",), "d": ("d iy",), "e": ("iy",), "f": ("eh f",),
    "g": ("jh iy",), "h": ("ey ch",), "i": ("ay",), "j": ("jh ey",), "k": ("k ey",),
    "l": ("eh l",), "m": ("eh m",), "n": ("eh n",), "o": ("ow",), "p": ("p iy",),
    "q": ("k y uw",), "r": ("aa r",), "s": ("eh s",), "t": ("t iy",), "u": ("y uw",),
    "v": ("v iy",),
    "w": ("d ah b ax l y uw", "d ah b el y uw", "d ah b l y uw", "d ah b y uw"),
    "x": ("eh k s",), "y": ("w ay",), "z": ("z iy",),
}  # fmt: skip


class WordMap:
    """Maps transcripts to lower-case words, remembering each word seen.

    Args:
        acronyms: words that are spoken letter by letter, with their letters (see
            `read_acronyms`); None without a dictionary: then all words in capitals
            are treated as acronyms.

    >>> WordMap()("[laughter-ab[solute]-] them_1 [noise]- {yuppiedom} [it'n/isn't] IBM")
    "ab- them [noise] yuppiedom it'n i b m"
    """

    def __init__(self, acronyms: dict[str, str] | None = None) -> None:
        self._acronyms = acronyms
        self._known: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """The words of a line, separated by single spaces; empty if none are left.

        Raises:
            ValueError: naming a word with a remaining bracket, for the caller to add
                file and line.
        """
        words = []
        for word in _ASIDE.sub(" ", text.replace("&amp;", "&")).split():
            mapped = self._known.get(word)
            if mapped is None:
                mapped = self._known[word] = " ".join(
                    filter(None, map(self._map, _SOUND.sub(r" \1 ", word).split()))
                )
            if mapped:
                words.append(mapped)
        return " ".join(words)

    def _map(self, word: str) -> str:
        """One word, one marker, or nothing."""
        if _SOUND.fullmatch(word):
            return word.lower() if word.lower() in MARKERS else ""
        heard = _heard(word)
        if _BRACKET.search(heard):
            raise ValueError(f"'{word}': a bracket that is not a marker; correct the transcript")
        if not heard.strip("-"):
            return ""
        return self._spelled(heard) or heard.lower()

    def _spelled(self, word: str) -> str:
        """The letters of an acronym, separated by spaces; empty for other words."""
        dotted = _DOTTED.fullmatch(word)
        if dotted:
            return " ".join(re.findall("[a-z]", dotted[1].lower())) + (dotted[2] or "").lower()
        if self._acronyms is None:
            capitals = _CAPITALS.fullmatch(word)
            return " ".join(capitals[1].lower()) + (capitals[2] or "") if capitals else ""
        if word in self._acronyms:
            return self._acronyms[word]
        possessive = _POSSESSIVE.fullmatch(word)
        if possessive:
            base, ending = filter(None, possessive.groups())
            if base in self._acronyms:
                return self._acronyms[base] + ending
        return ""


def _heard(word: str) -> str:
    """The spoken part of a word, with ``-`` where it was cut off."""
    word = _MADE_UP.sub(r"\1", word)
    laughed = _LAUGHED.fullmatch(word)
    if laughed:
        before, inner, after = laughed.groups()
        if "/" in inner and not inner.endswith("]"):
            inner = f"[{inner}]"  # laughed and mispronounced
        word = f"{before}{inner}{after}"
    mispronounced = _MISPRONOUNCED.fullmatch(word)
    if mispronounced:
        word = "".join(mispronounced.groups())
    half = _HALF_MISPRONOUNCED.fullmatch(word)
    if half:
        word = half[1]
    if _UNSPOKEN.sub("", word).strip("-"):  # more than an unknown marker
        word = _UNSPOKEN.sub("-", word)
    return _CUTS.sub("-", _VARIANT.sub("", word))


def read_acronyms(lines: Iterable[str], place: str) -> dict[str, str]:
    """Words in the dictionary that are spoken letter by letter, with these letters.

    Args:
        lines: of sw-ms98-dict.text: a word and its phones; ``#`` begins a comment.
        place: the file's name.

    Returns:
        ``IBM`` to ``i b m``, ``BBC's`` to ``b b c's``; ``AIDS`` is a word.

    Raises:
        DataError: if the dictionary contains no words.
    """
    acronyms: dict[str, str] = {}
    count = 0
    for line in lines:
        word, *phones = line.split() or ["#"]
        if word.startswith("#") or not phones:
            continue
        count += 1
        for letters, ending in _readings(word, phones):
            acronyms[word] = " ".join(letters) + ending
    if not count:
        raise DataError(f"{place}: contains no words; copy the transcripts again")
    return acronyms


def _readings(word: str, phones: list[str]) -> Iterator[tuple[str, str]]:
    """Letters and ending of a word that sounds like the names of these letters."""
    for pattern, sounds in ((_LETTERS_ALONE, phones), (_LETTERS_AND_S, phones[:-1])):
        match = pattern.fullmatch(word)
        if not match or (match[2] and phones[-1] not in ("s", "z")):
            continue
        letters = match[1].lower()
        if " ".join(sounds) in map(" ".join, product(*(_LETTERS[each] for each in letters))):
            yield letters, match[2]
