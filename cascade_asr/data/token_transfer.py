"""Use the tokens of another model, so that it or its classifier can be used here."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade_asr.data.tokens import (
    BLANK,
    NON_LINGUISTIC_SYMBOLS,
    SENTENCE_EDGE,
    SPACE,
    UNKNOWN,
    Tokenizer,
    check_tokens,
    read_symbols,
    read_token_list,
)
from cascade_asr.errors import ConfigError
from cascade_asr.files import atomic_write, read_json, write_json
from cascade_asr.yaml_file import read_yaml

WORD_START = "\u2581"  # sentencepiece's mark
BPE_MODEL = "bpe.model"


@dataclass
class _Tokens:
    """The content of a token folder."""

    tokens: list[str]
    token_type: str
    bpe_model: Path | None = None
    symbols: list[str] = field(default_factory=list)


def copy_tokens(source: Path, directory: Path, symbols: Path | None = None) -> Tokenizer:
    """Make ``directory`` a token folder with another model's tokens.

    Args:
        source: a token folder of ours; a list of tokens, one per line; or ESPnet2's
            ``config.yaml`` with its token_list. The sentencepiece model
            (``bpe.model``), if any, is beside a list, or where the configuration says.
        directory: what `Tokenizer.from_directory` will read; replaced.
        symbols: file of the texts' non-linguistic symbols, one per line. Those among
            the model's tokens are known without it.

    Raises:
        ConfigError: if there are no tokens, or pieces without their model.
    """
    if source.suffix in (".yaml", ".yml"):
        found = _from_configuration(source)
    else:
        found = _from_list(source / "tokens.txt" if source.is_dir() else source)
    if symbols:
        found.symbols += read_symbols(symbols)
    temporary = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _write(temporary, found)
        Tokenizer.from_directory(temporary).encode("a")  # reads the sentencepiece model
        if directory.exists():
            shutil.rmtree(directory)
        temporary.rename(directory)
    except (RuntimeError, OSError) as error:
        raise ConfigError(f"{source}: its tokens cannot be used: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Tokenizer.from_directory(directory)


def _from_list(path: Path) -> _Tokens:
    tokens = read_token_list(path)
    described, model = path.with_name("tokens.json"), path.with_name(BPE_MODEL)
    if described.is_file():
        token_type = read_json(described)["token_type"]
        symbols = path.with_name(NON_LINGUISTIC_SYMBOLS)
        known = read_symbols(symbols) if symbols.is_file() else []
        return _Tokens(tokens, token_type, model if token_type == "bpe" else None, known)
    if model.is_file():
        return _Tokens(tokens, "bpe", model)
    if any(token.startswith(WORD_START) for token in tokens):
        raise ConfigError(
            f"{path}: these are sentencepiece pieces, but their {BPE_MODEL} is not beside the list"
        )
    return _Tokens(tokens, "char")


def tokens_of_configuration(path: Path, content: Mapping[str, Any]) -> list[str]:
    """The tokens of an ESPnet2 configuration, which may name a file of them.

    Args:
        path: its path.
        content: its keys and values.

    Raises:
        ConfigError: if it has none, or they do not have ESPnet2's form.
    """
    tokens = content.get("token_list")
    if isinstance(tokens, str):
        return read_token_list(find_beside(path, tokens))
    if not isinstance(tokens, list):
        raise ConfigError(f"{path}: no token_list: is it the config.yaml of a trained model?")
    if odd := [token for token in tokens if not isinstance(token, str)]:
        raise ConfigError(f"{path}: token_list: {odd[0]!r} is no text; put it in quotes")
    check_tokens(tokens, f"{path}: token_list")
    return tokens


def _from_configuration(path: Path) -> _Tokens:
    content, _ = read_yaml(path)
    tokens = tokens_of_configuration(path, content)
    token_type = content.get("token_type", "bpe")
    if token_type == "char":
        return _Tokens(tokens, "char")
    if token_type != "bpe":
        raise ConfigError(
            f"{path}: token_type: '{token_type}' is not supported; expected char or bpe"
        )
    if not content.get("bpemodel"):
        raise ConfigError(f"{path}: token_type is bpe, but no bpemodel is named")
    return _Tokens(tokens, "bpe", find_beside(path, content["bpemodel"]))


def find_beside(configuration: Path, named: str) -> Path:
    """Find a file that an ESPnet2 configuration names.

    ESPnet2's paths are relative to the folder in which its recipe runs. The file's
    name beside the configuration is tried first, then the path from the current
    folder and from the folders above the configuration.

    Raises:
        ConfigError: if it is not found.
    """
    places = [configuration.with_name(Path(named).name), Path(named)]
    places += [folder / named for folder in configuration.absolute().parents]
    for place in places:
        if place.is_file():
            return place
    raise ConfigError(
        f"{configuration}: names {named}, which is neither there nor beside it: copy that file "
        f"to {configuration.parent}"
    )


def _write(directory: Path, found: _Tokens) -> None:
    """Write a token folder; symbols in a list of characters are detected."""
    symbols = list(found.symbols)
    if found.token_type == "char":
        special = (BLANK, UNKNOWN, SPACE, SENTENCE_EDGE)
        symbols += [each for each in found.tokens if len(each) > 1 and each not in special]
    symbols = list(dict.fromkeys(symbols))
    named = NON_LINGUISTIC_SYMBOLS if symbols and found.token_type == "char" else None
    content = {"token_type": found.token_type, "non_linguistic_symbols": named, "bpe_model": None}
    with atomic_write(directory / "tokens.txt") as stream:
        stream.writelines(f"{token}\n" for token in found.tokens)
    if symbols:
        with atomic_write(directory / NON_LINGUISTIC_SYMBOLS) as stream:
            stream.writelines(f"{symbol}\n" for symbol in symbols)
    if found.bpe_model:
        if not found.bpe_model.is_file():
            raise ConfigError(f"{found.bpe_model}: no such file; these tokens need it")
        shutil.copyfile(found.bpe_model, directory / BPE_MODEL)
        content["bpe_model"] = BPE_MODEL
    write_json(directory / "tokens.json", content)
