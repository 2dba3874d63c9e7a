"""Token lists, and the conversion of text to token ids and back.

The token list has ESPnet2's form: one token per line, ``<blank>`` first, ``<unk>``
second, ``<sos/eos>`` last.
"""

from __future__ import annotations

import codecs
import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from cascade_asr.data.kaldi.blanks import BLANKS, odd_character, read_user_lines, words
from cascade_asr.data.splitters import SPACE, CharacterSplitter, PieceSplitter, Splitter
from cascade_asr.errors import ConfigError, DataError
from cascade_asr.files import atomic_write, write_json

BLANK, UNKNOWN, SENTENCE_EDGE = "<blank>", "<unk>", "<sos/eos>"
SPECIAL = frozenset({BLANK, UNKNOWN, SENTENCE_EDGE})
BLANK_ID = 0
SENTENCEPIECE_LINE_BYTES = 4192  # sentencepiece's default limit
IGNORE_ID = -1  # padding of token tensors, as in ESPnet
BPE_MODEL = "bpe.model"
UNIGRAM = "unigram"
BPEMODES = (UNIGRAM, "bpe")  # as sentencepiece and ESPnet call them
NON_LINGUISTIC_SYMBOLS = "non_linguistic_symbols.txt"  # in a token folder; they are not scored

SHOWN_CHARACTERS = 60

logger = logging.getLogger(__name__)


class Tokenizer:
    """Text to token ids and back, for one token list.

    Args:
        token_list: path of the tokens, one per line.
        token_type: ``char`` or ``bpe``.
        non_linguistic_symbols: path of symbols such as ``<NOISE>`` that are one
            token each, one per line.
        bpe_model: path of the sentencepiece model; only for ``bpe``.

    Raises:
        ConfigError: if a file is missing or the list does not have ESPnet2's form.
    """

    def __init__(
        self,
        token_list: Path,
        token_type: str = "char",
        non_linguistic_symbols: Path | None = None,
        bpe_model: Path | None = None,
    ) -> None:
        self.tokens = read_token_list(token_list)
        self._ids = {token: index for index, token in enumerate(self.tokens)}
        self._splitter = _build_splitter(token_type, non_linguistic_symbols, bpe_model)
        self._unknown_id = self._ids[UNKNOWN]
        whole = read_symbols(non_linguistic_symbols) if non_linguistic_symbols else []
        if token_type == "bpe":
            whole.append(UNKNOWN)
        self._words = frozenset(whole) - {SPACE}

    @classmethod
    def from_directory(cls, directory: Path) -> Tokenizer:
        """The tokenizer that stage 2 wrote: tokens.txt, tokens.json and the files it names."""
        path = directory / "tokens.json"
        if not path.is_file():
            raise ConfigError(f"{path}: no tokens; run stage 2")
        content = json.loads(path.read_text(encoding="utf-8"))
        symbols = directory / NON_LINGUISTIC_SYMBOLS
        return cls(
            directory / "tokens.txt",
            content["token_type"],
            symbols if symbols.is_file() else None,
            directory / content["bpe_model"] if content["bpe_model"] else None,
        )

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``; tokens that the list lacks become ``<unk>``."""
        return [
            self._ids.get(token, self._unknown_id) for token in self._splitter.text2tokens(text)
        ]

    def unknown(self, text: str) -> list[str]:
        """Tokens of ``text`` that the list lacks."""
        return [token for token in self._splitter.text2tokens(text) if token not in self._ids]

    def decode(self, token_ids: Iterable[int]) -> str:
        """Text of ``token_ids``; blanks and sentence edges are left out.

        A non-linguistic symbol is a word even if no space was recognised beside it,
        so that scoring can leave it out; so is ``<unk>`` among pieces.
        """
        edge = len(self.tokens) - 1
        tokens = [self.tokens[index] for index in token_ids if index not in (BLANK_ID, edge)]
        if self._words.isdisjoint(tokens):
            return self._splitter.tokens2text(tokens)
        parts: list[str] = []
        for is_word, run in groupby(tokens, self._words.__contains__):
            pieces = list(run)
            parts += pieces if is_word else [self._splitter.tokens2text(pieces).strip(" ")]
        return " ".join(filter(None, parts))


def _build_splitter(
    token_type: str, non_linguistic_symbols: Path | None, bpe_model: Path | None
) -> Splitter:
    if token_type == "char":
        symbols = read_symbols(non_linguistic_symbols) if non_linguistic_symbols else []
        return CharacterSplitter(symbols)
    if token_type == "bpe":
        if bpe_model is None or not bpe_model.is_file():
            raise ConfigError(f"token_type bpe needs a sentencepiece model; not found: {bpe_model}")
        return PieceSplitter(bpe_model)
    raise ConfigError(f"unknown token_type '{token_type}'; expected char or bpe")


def read_symbols(path: Path) -> list[str]:
    """Read a file of symbols, one per line.

    Raises:
        ConfigError: with file and line, for a symbol that contains a Unicode blank or an
            invisible character.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file of non-linguistic symbols")
    symbols = []
    for number, line in enumerate(read_user_lines(path), start=1):
        symbol = line.strip(BLANKS)
        odd = odd_character(symbol)
        if odd:
            raise ConfigError(f"{path}:{number}: {odd}; remove it")
        if symbol:
            symbols.append(symbol)
    return symbols


def read_token_list(path: Path) -> list[str]:
    """Read and check a token list.

    Raises:
        ConfigError: naming the line of a duplicate or misplaced token.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such token list; run stage 2")
    with path.open("rb") as stream:
        if stream.read(3) == codecs.BOM_UTF8:
            raise ConfigError(f"{path}:1: the file begins with a byte order mark; save it without one")
    try:
        tokens = path.read_bytes().decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte offset {error.start})") from error
    if tokens and tokens[-1] == "":
        tokens.pop()
    if tokens and all(token.endswith("\r") for token in tokens):  # Windows line ends
        tokens = [token[:-1] for token in tokens]
    check_tokens(tokens, str(path))
    return tokens


def check_tokens(tokens: Sequence[str], where: str) -> None:
    """Require that a list of tokens has ESPnet2's form.

    Args:
        tokens: the tokens.
        where: the list, for the messages.

    Raises:
        ConfigError: naming the line of a duplicate or misplaced token.
    """
    seen: dict[str, int] = {}
    for number, token in enumerate(tokens, start=1):
        if token in seen:
            raise ConfigError(f"{where}:{number}: token '{token}' is also on line {seen[token]}")
        seen[token] = number
    for token, place, line in ((BLANK, 0, "first"), (SENTENCE_EDGE, -1, "last")):
        if not tokens or tokens[place] != token:
            raise ConfigError(f"{where}: the {line} token must be {token}")
    if UNKNOWN not in seen:
        raise ConfigError(f"{where}: the list has no {UNKNOWN}")


def write_token_directory(
    directory: Path,
    texts: Iterable[str],
    token_type: str,
    vocabulary_size: int = 0,
    non_linguistic_symbols: Path | None = None,
    bpemode: str = UNIGRAM,
) -> Tokenizer:
    """Make the tokens of a recipe: everything that `Tokenizer.from_directory` reads.

    Args:
        directory: created if it does not exist.
        texts: transcripts of the training set.
        token_type: ``char`` or ``bpe``.
        vocabulary_size: number of pieces of a ``bpe`` model.
        non_linguistic_symbols: file of symbols that are one token each, one per line.
        bpemode: how a ``bpe`` model finds its pieces, one of `BPEMODES`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    content = {"token_type": token_type, "non_linguistic_symbols": None, "bpe_model": None}
    if non_linguistic_symbols:
        read_symbols(non_linguistic_symbols)
        shutil.copyfile(non_linguistic_symbols, directory / NON_LINGUISTIC_SYMBOLS)
        content["non_linguistic_symbols"] = NON_LINGUISTIC_SYMBOLS
    else:
        (directory / NON_LINGUISTIC_SYMBOLS).unlink(missing_ok=True)
    if token_type == "bpe":
        symbols = read_symbols(non_linguistic_symbols) if non_linguistic_symbols else []
        train_bpe(texts, directory, vocabulary_size, symbols, bpemode=bpemode)
        if bpemode != UNIGRAM:  # written only if asked for: older folders stay the same
            content["bpemode"] = bpemode
        content["bpe_model"] = BPE_MODEL
        content["non_linguistic_symbols"] = None
    else:
        write_char_list(texts, directory / "tokens.txt", non_linguistic_symbols)
        (directory / BPE_MODEL).unlink(missing_ok=True)  # left by earlier tokens
    write_json(directory / "tokens.json", content)
    return Tokenizer.from_directory(directory)


def write_char_list(
    texts: Iterable[str], path: Path, non_linguistic_symbols: Path | None = None
) -> list[str]:
    """Collect the characters of ``texts`` and write a token list, most frequent first.

    Raises:
        DataError: if there is no text at all.
    """
    splitter = _build_splitter("char", non_linguistic_symbols, None)
    counts = Counter(token for text in texts for token in splitter.text2tokens(text))
    if not counts:
        raise DataError("no text to collect characters from")
    ordinary = counts.keys() - SPECIAL  # a corpus may write <unk>
    ordered = sorted(ordinary, key=lambda token: (-counts[token], token))
    tokens = [BLANK, UNKNOWN, *ordered, SENTENCE_EDGE]
    with atomic_write(path) as stream:
        stream.writelines(f"{token}\n" for token in tokens)
    return tokens


def train_bpe(
    texts: Iterable[str],
    directory: Path,
    vocabulary_size: int,
    user_symbols: Iterable[str] = (),
    seed: int = 0,
    bpemode: str = UNIGRAM,
) -> tuple[Path, Path]:
    """Train a sentencepiece model and write the token list beside it.

    ``unigram`` keeps the pieces that make the text most likely (Kudo 2018, arXiv
    1804.10959); ``bpe`` merges the most frequent pairs (Sennrich et al. 2016, arXiv
    1508.07909).

    Text is used as written, without Unicode normalisation: even a perfect recogniser
    would make errors if the pieces spelled a text other than the reference.
    A warning counts the texts that the pieces do not reproduce.

    Returns:
        Paths of the model (``bpe.model``) and of the token list (``tokens.txt``).

    Raises:
        DataError: if sentencepiece refuses, with its reason (usually a vocabulary
            too large for the text).
    """
    import sentencepiece

    texts = list(texts)
    # sentencepiece refuses repeated ones; the special tokens are in the list anyway
    symbols = [each for each in dict.fromkeys(user_symbols) if each not in SPECIAL]
    directory.mkdir(parents=True, exist_ok=True)
    sentencepiece.set_random_generator_seed(seed)
    prefix = directory / ".bpe.partial"
    try:
        # lines longer than the limit would be left out silently
        longest = max((len(text.encode()) for text in texts), default=0)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            max_sentence_length=max(SENTENCEPIECE_LINE_BYTES, longest + 1),
            normalization_rule_name="identity",
            model_prefix=str(prefix),
            vocab_size=vocabulary_size,
            model_type=bpemode,
            user_defined_symbols=symbols,
            character_coverage=1.0,
            bos_id=-1,
            eos_id=-1,
            unk_piece=UNKNOWN,
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise DataError(f"sentencepiece cannot train {vocabulary_size} pieces: {error}") from error
    model = directory / BPE_MODEL
    pieces = sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")
    tokens = [pieces.id_to_piece(index) for index in range(pieces.get_piece_size())]
    tokens = [BLANK, UNKNOWN, *(token for token in tokens if token != UNKNOWN), SENTENCE_EDGE]
    _report_changed(texts, pieces)
    Path(f"{prefix}.vocab").unlink()
    Path(f"{prefix}.model").replace(model)
    with atomic_write(directory / "tokens.txt") as stream:
        stream.writelines(f"{token}\n" for token in tokens)
    return model, directory / "tokens.txt"


def _report_changed(texts: list[str], pieces) -> None:
    """Warn of training texts that encoding and decoding change."""
    changed = []
    for text in texts:
        decoded = pieces.decode(pieces.encode(text, out_type=str))
        if words(decoded) != words(text):
            changed.append((text, decoded))
    if changed:
        text, decoded = changed[0]
        logger.warning(
            "%d of %d texts differ from what their pieces spell, such as '%s', read back as '%s'; they "
            "can never be recognised without errors",
            len(changed), len(texts), text[:SHOWN_CHARACTERS], decoded[:SHOWN_CHARACTERS],
        )  # fmt: skip
