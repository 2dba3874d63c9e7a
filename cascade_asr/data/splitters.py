"""From text to token strings and back: characters, or sentencepiece's pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

SPACE = "<space>"


class Splitter(Protocol):
    """Splits a text into token strings; it does not deal with ids or the token list."""

    def text2tokens(self, text: str) -> list[str]:
        """The tokens of ``text``."""

    def tokens2text(self, tokens: Iterable[str]) -> str:
        """The text that ``tokens`` were cut from."""


class CharacterSplitter:
    """One token per character; ``<space>`` stands for a space.

    Args:
        symbols: strings such as ``<noise>`` that are one token each. If one is the
            beginning of another, the longest that matches is used.
    """

    def __init__(self, symbols: Iterable[str] = ()) -> None:
        longest_first = sorted(set(symbols), key=lambda symbol: (-len(symbol), symbol))
        self._token = re.compile("|".join([*map(re.escape, longest_first), "."]), re.DOTALL)

    def text2tokens(self, text: str) -> list[str]:
        """The tokens of ``text``."""
        return [SPACE if token == " " else token for token in self._token.findall(text)]

    def tokens2text(self, tokens: Iterable[str]) -> str:
        """The text that ``tokens`` were cut from."""
        return "".join(" " if token == SPACE else token for token in tokens)


class PieceSplitter:
    """Pieces of a sentencepiece model.

    Args:
        model: path of the model. It is read at first use, so that a splitter can
            be sent to another process before that.
    """

    def __init__(self, model: Path) -> None:
        self._model = model
        self._processor = None

    def __getstate__(self) -> dict:
        return {"_model": self._model, "_processor": None}

    def text2tokens(self, text: str) -> list[str]:
        """The tokens of ``text``."""
        return self._pieces.encode(text, out_type=str)

    def tokens2text(self, tokens: Iterable[str]) -> str:
        """The text that ``tokens`` were cut from."""
        return self._pieces.decode_pieces(list(tokens))

    @property
    def _pieces(self):  # sentencepiece is imported at first use
        if self._processor is None:
            import sentencepiece

            self._processor = sentencepiece.SentencePieceProcessor(model_file=str(self._model))
        return self._processor
