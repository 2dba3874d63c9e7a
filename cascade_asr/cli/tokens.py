"""Make tokens from the training text, and the manifest of every set (stage 2).

Example:
    python -m cascade_asr.cli.tokens dump --train-set train train dev test
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from cascade_asr.cli import command
from cascade_asr.data.data_dir import read_table
from cascade_asr.data.manifest import write_manifest
from cascade_asr.data.tokens import Tokenizer, write_token_directory
from cascade_asr.errors import DataError

logger = logging.getLogger(__name__)


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
    for utterance, entry in tables["feats.scp"].items():
        text = tables["text"][utterance]
        ids = tokenizer.encode(text)
        if not ids:
            empty.append(utterance)
            if not required:
                continue
        with_unknown += unknown_id in ids
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
            "%s: %d of %d utterances hold tokens that the training text lacks (<unk>)",
            directory,
            with_unknown,
            len(rows),
        )
    write_manifest(directory / "manifest.tsv", rows)
    logger.info("%s/manifest.tsv: %d utterances", directory, len(rows))


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
    arguments = parser.parse_args()
    text = read_table(arguments.dump / arguments.train_set / "text")
    tokenizer = write_token_directory(
        arguments.dump / "tokens",
        text.values(),
        arguments.token_type,
        arguments.vocabulary_size,
        arguments.non_linguistic_symbols,
    )
    logger.info("%d tokens in %s/tokens", len(tokenizer.tokens), arguments.dump)
    for name in arguments.sets:
        write_set(arguments.dump / name, tokenizer, required=name != arguments.train_set)


if __name__ == "__main__":
    command.run(main)
