"""Prepare the text of a language model: stages 0 to 2 of a recipe.

Examples:
    python -m cascade_asr.cli.lm_text text --wikitext2 ~/corpora/wikitext-2 data
    python -m cascade_asr.cli.lm_text text --text my_texts data
    python -m cascade_asr.cli.lm_text vocabulary data dump --min-count 3
    python -m cascade_asr.cli.lm_text batches data dump
"""

from __future__ import annotations

import argparse
import logging
import shutil
from collections import Counter
from pathlib import Path

import numpy as np

from cascade_asr import command
from cascade_asr.errors import DataError
from cascade_asr.files import atomic_write
from cascade_asr.lm import corpus
from cascade_asr.lm.corpus import PARTS, Vocabulary

logger = logging.getLogger(__name__)

TEST_FOR_TRAINING = "--wikitext2-heldout"


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    one = verbs.add_parser("text", help="find the texts, check them, copy them to data/PART.txt")
    source = one.add_mutually_exclusive_group(required=True)
    source.add_argument("--wikitext2", type=Path, help="folder of WikiText-2, tokenised (not raw)")
    source.add_argument("--text", type=Path, help="folder with train.txt, valid.txt and test.txt")
    source.add_argument(
        TEST_FOR_TRAINING, type=Path, dest="heldout",
        help="folder with only WikiText-2's valid and test texts: the test text trains, the first "
        "half of the valid text's lines is the dev set, the second half the test set",
    )
    one.add_argument("--strict", action="store_true", help="stop if counts differ from WikiText-2's")
    one.add_argument("data", type=Path)
    one = verbs.add_parser("vocabulary", help="count the training text, write dump/tokens")
    one.add_argument("--min-count", type=int, default=1, help="rarer words become <unk>")
    one.add_argument("data", type=Path)
    one.add_argument("dump", type=Path)
    one = verbs.add_parser("batches", help="turn the texts into token ids, dump/PART/tokens.npy")
    one.add_argument("data", type=Path)
    one.add_argument("dump", type=Path)
    return parser.parse_args()


def prepare_text(arguments: argparse.Namespace) -> None:
    """Stage 0."""
    if arguments.heldout:
        texts = _heldout_texts(arguments.heldout)
    else:
        paths = corpus.find_parts(arguments.wikitext2 or arguments.text)
        texts = {part: list(corpus.read_lines(path)) for part, path in paths.items()}
    counts = {part: corpus.count_tokens(lines) for part, lines in texts.items()}
    if arguments.wikitext2:
        corpus.check_wikitext2(counts, arguments.wikitext2, arguments.strict)
    for part, lines in texts.items():
        with atomic_write(arguments.data / f"{part}.txt") as stream:
            stream.writelines(" ".join(words) + "\n" for words in lines)
        logger.info(
            "%s: %d tokens in %d lines, %d different",
            part, counts[part].total(), len(lines), len(counts[part]),
        )  # fmt: skip


def _heldout_texts(directory: Path) -> dict[str, list[list[str]]]:
    """Train, dev and test texts made from WikiText-2's two small parts."""
    paths = corpus.find_parts(directory, ("valid", "test"))
    valid = list(corpus.read_lines(paths["valid"]))
    half = len(valid) // 2
    return {
        "train": list(corpus.read_lines(paths["test"])),
        "valid": valid[:half],
        "test": valid[half:],
    }


def make_vocabulary(arguments: argparse.Namespace) -> None:
    """Stage 1."""
    if arguments.min_count < 1:
        raise DataError(f"--min-count {arguments.min_count}: expected 1 or more")
    counts = corpus.count_tokens(corpus.read_lines(_text(arguments.data, "train")))
    if not counts.total():
        raise DataError(f"{_text(arguments.data, PARTS[0])}: contains no words; nothing to learn from")
    vocabulary = Vocabulary.from_counts(counts, arguments.min_count)
    shutil.rmtree(arguments.dump / "tokens", ignore_errors=True)
    vocabulary.write(arguments.dump / "tokens" / "tokens.txt")
    kept = [token for token in counts if token in vocabulary.ids]  # not <unk> if the text has none
    logger.info(
        "vocabulary: %d of %d different tokens, %.2f %% of the training text",
        len(kept), len(counts), 100.0 * sum(counts[token] for token in kept) / counts.total(),
    )  # fmt: skip


def make_batches(arguments: argparse.Namespace) -> None:
    """Stage 2."""
    vocabulary = Vocabulary.read(arguments.dump / "tokens" / "tokens.txt")
    for part in PARTS:
        tokens = vocabulary.encode(corpus.read_lines(_text(arguments.data, part)))
        if not len(tokens):
            raise DataError(f"{_text(arguments.data, part)}: contains no text; give one with words")
        with atomic_write(arguments.dump / part / "tokens.npy", "wb") as stream:
            np.save(stream, tokens)
        unknown = Counter(tokens.tolist())[vocabulary.unknown]
        logger.info(
            "%s: %d tokens, %.2f %% <unk>", part, len(tokens), 100.0 * unknown / len(tokens)
        )


def _text(data: Path, part: str) -> Path:
    path = data / f"{part}.txt"
    if not path.is_file():
        raise DataError(f"{path}: not found; run stage 0")
    return path


def main() -> None:
    arguments = parse_arguments()
    {"text": prepare_text, "vocabulary": make_vocabulary, "batches": make_batches}[
        arguments.verb
    ](arguments)


if __name__ == "__main__":
    command.run(main)
