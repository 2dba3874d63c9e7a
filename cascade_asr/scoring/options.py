"""Options of the scorer; the choices are those of sclite's flags."""

from __future__ import annotations

from dataclasses import dataclass

from cascade_asr.errors import ConfigError, nearest

ID_TYPES = ("rm", "spu_id", "swb", "wsj", "sp")
ENCODINGS = ("", "utf-8")


@dataclass(frozen=True)
class ScoringOptions:
    """How words are read, matched and counted.

    Attributes:
        id_type: how an utterance id names its speaker (sclite ``-i``).
        case_sensitive: compare A-Z and a-z as different (``-s``).
        encoding: ``"utf-8"``, or empty for bytes (``-e``).
        characters: score characters instead of words (``-c``).
        spaces: with ``characters``, count the space between two words as a character,
            as ESPnet's CER and the CER in training do; sclite's ``-c`` leaves it out.
        no_ascii: with ``characters``, keep runs of ASCII whole (``-c NOASCII``).
        delete_hyphen: with ``characters``, drop hyphens (``-c DH``).
        optional_deletable: ``(word)`` may be missing without an error (``-D``).
        fragments: ``wh-`` matches any word that begins with ``wh`` (``-F``).

    Raises:
        ConfigError: for an unknown name or incompatible options.
    """

    id_type: str = "rm"
    case_sensitive: bool = False
    encoding: str = ""
    characters: bool = False
    no_ascii: bool = False
    delete_hyphen: bool = False
    optional_deletable: bool = False
    fragments: bool = False
    spaces: bool = False

    def __post_init__(self) -> None:
        if self.id_type not in ID_TYPES:
            raise ConfigError(
                f"--id-type {self.id_type}: no such type; choose one of "
                f"{', '.join(ID_TYPES)}{nearest(self.id_type, ID_TYPES)}"
            )
        if self.encoding not in ENCODINGS:
            raise ConfigError(f"--encoding {self.encoding}: only utf-8 is supported")
        if not self.characters and (
            self.no_ascii or self.delete_hyphen or self.spaces
        ):
            raise ConfigError("--no-ascii, --delete-hyphen and --spaces need --char")

    def fold(self, text: bytes) -> bytes:
        """Turn A-Z, and nothing else, into lower case, unless case matters."""
        return text if self.case_sensitive else text.lower()
