"""Make tokens from the training text, and the manifest of every set (stage 2).

Examples:
    python -m cascade_asr.cli.tokens dump --train-set train train dev test
    python -m cascade_asr.cli.tokens dump --train-set train --token-list ../a/exp/rnn/tokens \\
        train dev test                                  # the tokens of another model
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cascade_asr import command
from cascade_asr.data.kaldi.tables import read_table
from cascade_asr.data.manifest import write_manifest
from cascade_asr.data.token_transfer import copy_tokens
from cascade_asr.data.tokens import Tokenizer, write_token_directory
from cascade_asr.errors import DataError

logger = logging.getLogger(__name__)

SHOWN_UNKNOWN = 10


@dataclass(frozen=True)
class Limits:
    """Which utterances a training set keeps.

    Attributes:
        min_frames, max_frames: feature frames, both inclusive; None is no limit.
        max_characters: of the text, blanks included; None is no limit.
    """

    min_frames: int | None = None
    max_frames: int | None = None
    max_characters: int | None = None

    def keep(self, frames: int, text: str) -> bool:
        """Is an utterance of this size within the limits?"""
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
        directory: of the set, from stage 1.
        tokenizer: makes the token ids.
        required: every utterance must have text: a set that is scored.
        limits: utterances beyond them are left out.
        keep_empty: utterances without text stay, to be decoded: the set is scored
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
    for utterance, entry in tables["feats.scp"].items():
        text = tables["text"][utterance]
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
    if with_unknown:
        logger.warning(
            "%s: %d of %d utterances hold tokens that the token list lacks; %d tokens become <unk>%s",
            directory,
            with_unknown,
            len(rows),
            unknown.total(),
            _shown(unknown),
        )
    write_manifest(directory / "manifest.tsv", rows)
    logger.info("%s/manifest.tsv: %d utterances", directory, len(rows))


def _shown(unknown: Counter[str]) -> str:
    """The most frequent unknown tokens with their counts."""
    if not unknown:
        return ""
    listed = ", ".join(f"'{token}' {count}" for token, count in unknown.most_common(SHOWN_UNKNOWN))
    more = len(unknown) - SHOWN_UNKNOWN
    return f": {listed}" + (f" and {more} more" if more > 0 else "")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dump", type=Path, help="folder of stage 1")
    parser.add_argument("sets", nargs="+", help="sets inside it")
    parser.add_argument("--train-set", required=True, help="the set whose text makes the tokens")
    parser.add_argument("--token-type", choices=("char", "bpe"), default="char")
    parser.add_argument("--vocabulary-size", type=int, default=2000, help="pieces, for bpe")
    parser.add_argument("--non-linguistic-symbols", type=Path, help="symbols, one a line")
    parser.add_argument(
        "--token-list", type=Path, metavar="FILE_OR_FOLDER", help="take these tokens instead of "
        "making some: a token folder such as exp/TAG/tokens, a list with one token a line, or the "
        "config.yaml of an ESPnet2 model",
    )
    for name, what in (
        ("--min-frames", "leave shorter training utterances out"),
        ("--max-frames", "leave longer training utterances out"),
        ("--max-characters", "leave training utterances with a longer text out"),
    ):
        parser.add_argument(name, type=int, metavar="N", help=what)
    parser.add_argument(
        "--keep-empty", action="append", default=[], metavar="SET", help="a set whose utterances "
        "may have no text, because it is scored against another reference; may be repeated",
    )
    arguments = parser.parse_args()
    directory = arguments.dump / "tokens"
    if arguments.token_list:
        tokenizer = copy_tokens(
            arguments.token_list, directory, arguments.non_linguistic_symbols
        )
    else:
        tokenizer = write_token_directory(
            directory,
            read_table(arguments.dump / arguments.train_set / "text").values(),
            arguments.token_type,
            arguments.vocabulary_size,
            arguments.non_linguistic_symbols,
        )
    logger.info("%d tokens in %s/tokens", len(tokenizer.tokens), arguments.dump)
    limits = Limits(arguments.min_frames, arguments.max_frames, arguments.max_characters)
    for name in arguments.sets:
        training = name == arguments.train_set
        write_set(
            arguments.dump / name,
            tokenizer,
            not training,
            limits if training else NO_LIMITS,
            keep_empty=name in arguments.keep_empty,
        )


if __name__ == "__main__":
    command.run(main)
