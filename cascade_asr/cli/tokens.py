"""Make tokens from the training text, and the manifest of every set (stage 2).

Examples:
    python -m cascade_asr.cli.tokens dump --train-set train train dev test
    python -m cascade_asr.cli.tokens dump --train-set train --token-list ../a/exp/rnn/tokens \\
        train dev test                                  # the tokens of another model
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from cascade_asr import command
from cascade_asr.data.kaldi.blanks import with_spaces
from cascade_asr.data.kaldi.tables import read_table
from cascade_asr.data.sets import NO_LIMITS, Limits, write_set
from cascade_asr.data.token_transfer import copy_tokens
from cascade_asr.data.tokens import BPEMODES, UNIGRAM, write_token_directory

logger = logging.getLogger(__name__)

def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dump", type=Path, help="folder of stage 1")
    parser.add_argument("sets", nargs="+", help="sets inside it")
    parser.add_argument("--train-set", required=True, help="the set whose text defines the tokens")
    parser.add_argument("--token-type", choices=("char", "bpe"), default="char")
    parser.add_argument("--vocabulary-size", type=int, default=2000, help="number of pieces, for bpe")
    parser.add_argument(
        "--bpemode", choices=BPEMODES, default=UNIGRAM, help="how sentencepiece finds the pieces: "
        "those that make the text most likely, or merges of the most frequent pairs",
    )
    parser.add_argument("--non-linguistic-symbols", type=Path, help="file with one symbol per line")
    parser.add_argument(
        "--token-list", type=Path, metavar="FILE_OR_FOLDER", help="use these tokens instead of "
        "making new ones: a token folder such as exp/TAG/tokens, a list with one token per line, or "
        "the config.yaml of an ESPnet2 model",
    )
    for name, what in (
        ("--min-frames", "leave out shorter training utterances"),
        ("--max-frames", "leave out longer training utterances"),
        ("--max-characters", "leave out training utterances with a longer text"),
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
            map(with_spaces, read_table(arguments.dump / arguments.train_set / "text").values()),
            arguments.token_type,
            arguments.vocabulary_size,
            arguments.non_linguistic_symbols,
            arguments.bpemode,
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
