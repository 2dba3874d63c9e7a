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
from pathlib import Path

from cascade_asr.cli import command
from cascade_asr.data.data_dir import read_table
from cascade_asr.data.manifest import write_manifest
from cascade_asr.data.token_transfer import copy_tokens
from cascade_asr.data.tokens import Tokenizer, write_token_directory
from cascade_asr.errors import DataError

logger = logging.getLogger(__name__)

SHOWN_UNKNOWN = 10


def write_set(directory: Path, tokenizer: Tokenizer, required: bool) -> None:
    """Write the manifest of one set; text that has unknown tokens is reported.

    Raises:
        DataError: if a table is missing, or an utterance of a test set has no text.
    """
    tables = {
        name: read_table(directory / name)
        for name in ("text", "utt2spk", "utt2num_frames", "feats.scp")
    }
    unknown_id = tokenizer.tokens.index("<unk>")
    rows, with_unknown, empty = [], 0, []
    unknown: Counter[str] = Counter()
    for utterance, entry in tables["feats.scp"].items():
        text = tables["text"][utterance]
        ids = tokenizer.encode(text)
        if not ids:
            empty.append(utterance)
            if not required:
                continue
        if unknown_id in ids:
            with_unknown += 1
            unknown.update(tokenizer.unknown(text))
        frames = int(tables["utt2num_frames"][utterance])
        rows.append((utterance, tables["utt2spk"][utterance], frames, entry, ids))
    if empty:
        shown = " ".join(empty[:5])
        if required:
            raise DataError(f"{directory}/text: {len(empty)} utterances without text: {shown}")
        logger.warning(
            "%s: %d utterances without text are dropped: %s", directory, len(empty), shown
        )
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
    for name in arguments.sets:
        write_set(arguments.dump / name, tokenizer, required=name != arguments.train_set)


if __name__ == "__main__":
    command.run(main)
