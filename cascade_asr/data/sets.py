"""Write the manifest of a set, which training and decoding read, from its tables and the tokens."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cascade_asr.data.kaldi.blanks import with_spaces, words
from cascade_asr.data.kaldi.tables import read_table
from cascade_asr.data.manifest import write_manifest
from cascade_asr.data.tokens import Tokenizer
from cascade_asr.errors import DataError

logger = logging.getLogger(__name__)

SHOWN_UNKNOWN = 10


@dataclass(frozen=True)
class Limits:
    """Which utterances a training set keeps.

    Attributes:
        min_frames, max_frames: feature frames, both inclusive; None is no limit.
        max_characters: characters of the text, blanks included; None is no limit.
    """

    min_frames: int | None = None
    max_frames: int | None = None
    max_characters: int | None = None

    def keep(self, frames: int, text: str) -> bool:
        """Whether an utterance of this size is within the limits."""
        return (
            (self.min_frames is None or frames >= self.min_frames)
            and (self.max_frames is None or frames <= self.max_frames)
            and (self.max_characters is None or len(text) <= self.max_characters)
        )


NO_LIMITS = Limits()


def write_set(
    directory: Path,
    tokenizer: Tokenizer,
    required: bool,
    limits: Limits = NO_LIMITS,
    keep_empty: bool = False,
) -> None:
    """Write the manifest of one set; text that has unknown tokens is reported.

    Args:
        directory: the set's folder, from stage 1.
        tokenizer: makes the token ids.
        required: every utterance must have text, as in a set that is scored.
        limits: utterances beyond them are left out.
        keep_empty: keep utterances without text, to be decoded: the set is scored
            against another reference.

    Raises:
        DataError: if a table is missing, an utterance of a test set has no text,
            or none is left.
    """
    tables = {
        name: read_table(directory / name)
        for name in ("text", "utt2spk", "utt2num_frames", "feats.scp")
    }
    unknown_id = tokenizer.tokens.index("<unk>")
    rows, with_unknown, empty, beyond = [], 0, [], 0
    unknown: Counter[str] = Counter()
    changed: list[str] = []
    for utterance, entry in tables["feats.scp"].items():
        text = with_spaces(tables["text"][utterance])
        frames = int(tables["utt2num_frames"][utterance])
        if not limits.keep(frames, text):
            beyond += 1
            continue
        ids = tokenizer.encode(text)
        if not ids and not keep_empty:
            empty.append(utterance)
            if not required:
                continue
        if unknown_id in ids:
            with_unknown += 1
            unknown.update(tokenizer.unknown(text))
        elif words(tokenizer.decode(ids)) != words(text):
            changed.append(utterance)
        rows.append((utterance, tables["utt2spk"][utterance], frames, entry, ids))
    if empty:
        shown = " ".join(empty[:5])
        if required:
            raise DataError(f"{directory}/text: {len(empty)} utterances without text: {shown}")
        logger.warning(
            "%s: %d utterances without text are dropped: %s", directory, len(empty), shown
        )
    if beyond:
        logger.info("%s: %d utterances are beyond the limits and left out", directory, beyond)
    if not rows:
        raise DataError(f"{directory}: no utterance is left of {len(tables['feats.scp'])}")
    _warn_of_tokens(directory, len(rows), with_unknown, unknown, changed)
    write_manifest(directory / "manifest.tsv", rows)
    logger.info("%s/manifest.tsv: %d utterances", directory, len(rows))


def _warn_of_tokens(
    directory: Path, count: int, with_unknown: int, unknown: Counter[str], changed: list[str]
) -> None:
    """Warn of texts that the tokens do not spell; ``count`` is the number of utterances."""
    if with_unknown:
        logger.warning(
            "%s: %d of %d utterances have tokens that the token list lacks; %d tokens become <unk>%s",
            directory,
            with_unknown,
            count,
            unknown.total(),
            _shown(unknown),
        )
    if changed:
        logger.warning(
            "%s: %d of %d texts differ from what their tokens spell, such as that of %s (perhaps "
            "its model normalises text); they can never be recognised without errors",
            directory, len(changed), count, changed[0],
        )  # fmt: skip


def _shown(unknown: Counter[str]) -> str:
    """The most frequent unknown tokens with their counts."""
    if not unknown:
        return ""
    listed = ", ".join(f"'{token}' {count}" for token, count in unknown.most_common(SHOWN_UNKNOWN))
    more = len(unknown) - SHOWN_UNKNOWN
    return f": {listed}" + (f" and {more} more" if more > 0 else "")
