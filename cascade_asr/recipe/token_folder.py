"""Where the tokens of a recipe are kept: the first in the dump folder itself, others beside them.

Each of the others has a folder in the dump folder with its own manifests and links to
the features, so that no experiment loses its tokens when others are tried.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from cascade_asr.data.tokens import UNIGRAM
from cascade_asr.errors import ConfigError
from cascade_asr.files import atomic_write, read_json
from cascade_asr.recipe.marker import Marker
from cascade_asr.recipe.state_of_files import state_of_file

logger = logging.getLogger(__name__)

NAME = ".tokens"  # file in the dump folder that says whose tokens it contains
LINKED = (
    "feats.scp", "text", "utt2spk", "spk2utt", "utt2num_frames", "cmvn.npz", "cmvn_speaker.ark",
    "fbank.conf", "frame_shift",
)  # fmt: skip
EDGES = 2  # <blank> and <sos/eos> are not pieces


def token_name(values: Mapping[str, str]) -> str:
    """Name of the tokens that these options make, such as ``bpe500`` or ``bpe_bpe500``."""
    name = values["token_type"]
    if name == "bpe":
        name = _name_of_pieces(_bpemode(values), values["vocabulary_size"])
    if values["token_list"]:
        name = "list" + hashlib.sha256(values["token_list"].encode()).hexdigest()[:8]
    if values["non_linguistic_symbols"]:
        symbols = Path(values["non_linguistic_symbols"]).name.removesuffix(".txt")
        name += "_" + re.sub(r"[^A-Za-z0-9._+-]", "_", symbols)
    return name


def token_folder(values: Mapping[str, str]) -> tuple[Path, str]:
    """The folder that training reads, and the name that tells its experiments from others.

    Args:
        values: options of a speech recipe.

    Returns:
        The dump folder and an empty name, or a folder in it and the name of the tokens.
    """
    dump = Path(values["dumpdir"])
    name = token_name(values)
    if _name_in(dump, name, values) == name:
        return dump, ""
    return dump / f"tokens_{name}", name


def _name_in(dump: Path, name: str, values: Mapping[str, str]) -> str:
    """Name of the tokens in the dump folder.

    It is ``name`` if there are none, or if an older version made them with these
    options.
    """
    if (dump / NAME).is_file():
        return (dump / NAME).read_text("utf-8").strip()
    made_from = Marker(dump / ".stage2.done").recorded()
    if made_from:
        kind, size = made_from.get("token_type", ""), made_from.get("vocabulary_size", "")
        pieces = (size, made_from.get("bpemode", UNIGRAM))
        same = values["token_type"] == kind and (
            kind == "char" or (values["vocabulary_size"], _bpemode(values)) == pieces
        )
        files = (values["non_linguistic_symbols"], values["token_list"])
        if same and all(not each or {each, f"{each}/tokens.txt"} & made_from.keys() for each in files):
            return name
        return kind if kind == "char" else _name_of_pieces(pieces[1], size)
    kind = _kind_in(dump / "tokens")
    return name if kind in (None, _kind(values)) else kind[0]


def _name_of_pieces(bpemode: str, size: str) -> str:
    return f"bpe{size}" if bpemode == UNIGRAM else f"bpe_{bpemode}{size}"


def _bpemode(values: Mapping[str, str]) -> str:
    return values.get("bpemode") or UNIGRAM


def _kind(values: Mapping[str, str]) -> tuple[str, str]:
    """Type of the tokens, and how the pieces are found."""
    return values["token_type"], _bpemode(values) if values["token_type"] == "bpe" else ""


def _kind_in(tokens: Path) -> tuple[str, str] | None:
    """`_kind` of the tokens in a folder; None if there are none."""
    path = tokens / "tokens.json"
    try:
        if not path.is_file():
            return None
        content = read_json(path)
    except ConfigError:
        return None
    kind = content.get("token_type")
    return kind, content.get("bpemode", UNIGRAM) if kind == "bpe" else ""


def options_of_tokens(dump: Path, token_list: Path) -> str | None:
    """The options of a recipe for the tokens in a folder that stage 2 has written.

    Args:
        dump: the dump folder, or the folder in it of other tokens.
        token_list: a token list that may be theirs.

    Returns:
        Such as ``--token-list config.yaml``, nothing for characters, or None if they are
        not known.
    """
    of_folder = dump / NAME
    name = of_folder.read_text("utf-8").strip() if of_folder.is_file() else dump.name[len("tokens_") :]
    listed = {"token_type": "char", "token_list": str(token_list), "non_linguistic_symbols": ""}
    known = {"char": "", token_name(listed): f"--token-list {shlex.quote(str(token_list))}"}
    return known.get(name)


def has_such_tokens(experiment: Path, values: Mapping[str, str]) -> bool:
    """Whether an experiment's models have tokens like those that these options make.

    They may date from before others took their place in the dump folder.
    """
    tokens = experiment / "tokens"
    if _kind_in(tokens) != _kind(values):
        return False
    if values["token_type"] == "char":
        return True
    count = len((tokens / "tokens.txt").read_bytes().splitlines())
    return count == int(values["vocabulary_size"]) + EDGES


def require_same_features(values: Mapping[str, str]) -> None:
    """Check that stage 1 has not rewritten the feature archives that the manifests point into.

    Raises:
        ConfigError: saying what to run, if it has.
    """
    _require_same(values["dump"], "feats.scp")


def require_same_texts(values: Mapping[str, str]) -> None:
    """Check that the texts of the sets are those that the manifests were made from.

    Raises:
        ConfigError: saying what to run, if stage 1 has written others.
    """
    _require_same(values["dump"], "text")


def _require_same(dump: str, file: str) -> None:
    """Check that stage 2 has read this file of every set as it is now."""
    for name, digest in Marker(Path(dump, ".stage2.done")).recorded().items():
        if not name.endswith(f"/{file}"):
            continue
        if not Path(name).is_file():
            raise ConfigError(
                f"{name} is missing; run stages 1 and 2 again with the same options (--stage 1): trainings "
                "are found done as long as the features are the same"
            )
        if state_of_file(Path(name)) != digest:
            raise ConfigError(
                f"{name} has changed since {dump}/{Path(name).parent.name}/manifest.tsv was "
                "made from it; run stage 2 again with the same token options (--stage 2)"
            )


def prepare_token_folder(values: Mapping[str, str]) -> None:
    """Before stage 2 writes, note whose tokens the dump folder contains, or link its features."""
    dump = Path(values["dumpdir"])
    folder, name = token_folder(values)
    if not name:
        with atomic_write(dump / NAME) as stream:
            stream.write(token_name(values))
        return
    logger.info("tokens %s: in %s, beside those in %s/tokens", name, folder, dump)
    for each in values["sets"].split():
        (folder / each).mkdir(parents=True, exist_ok=True)
        for file in LINKED:
            link = folder / each / file
            link.unlink(missing_ok=True)
            if (dump / each / file).is_file():
                link.symlink_to(Path("../..", each, file))
