"""Where an experiment's data and results are, and how its model is built."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cascade_asr.data.manifest import content_digest
from cascade_asr.data.tokens import NON_LINGUISTIC_SYMBOLS as SYMBOLS
from cascade_asr.errors import ConfigError
from cascade_asr.files import atomic_write, file_digest, read_json
from cascade_asr.training.identity import holds_weights
from cascade_asr.training.lock import Locked, holder

SELECTION_LOCK = ".selection.lock"  # held for moments, and by no training


@dataclass(frozen=True)
class Experiment:
    """The folders of one experiment.

    Attributes:
        directory: ``exp/TAG``; holds a copy of everything that its models need.
        dump: ``dump``, made by stages 1 and 2.
        train_set, dev_set: sets inside ``dump``.
    """

    directory: Path
    dump: Path
    train_set: str
    dev_set: str

    @property
    def tokens(self) -> Path:
        """Token folder of this experiment's models."""
        return self.directory / "tokens"

    @property
    def global_cmvn(self) -> Path:
        """Global CMVN statistics of this experiment's models."""
        return self.directory / "cmvn.npz"

    @property
    def fbank_options(self) -> Path:
        """Options with which the features of this experiment's models were computed."""
        return self.directory / "fbank.conf"

    def manifest_path(self, name: str) -> Path:
        """Manifest of a set."""
        return self.dump / name / "manifest.tsv"

    def adopt(self, update: bool = True) -> None:
        """Copy tokens and statistics from ``dump`` to the experiment.

        Args:
            update: also replace statistics and options of features that it has: only
                before a training. Trainings that have used the old ones keep them in their
                own folders; see `kept_with`.

        Raises:
            ConfigError: if the experiment has models with other tokens.
            Locked: if a process is training in it with other features.
        """
        source = self.dump / "tokens"
        if not (source / "tokens.txt").is_file():
            raise ConfigError(f"{source}/tokens.txt: no tokens; run stage 2")
        if not (self.tokens / "tokens.txt").is_file():
            self._copy_tokens(source)
        if not _are_the_same(self.tokens, source):
            raise ConfigError(
                f"{self.directory} holds models with other tokens than {source}/tokens.txt: "
                f"there {_told(self.tokens)}, here {_told(source)}; give the token options "
                "that it was made with, or use another --tag for these"
            )
        for name, target in (("cmvn.npz", self.global_cmvn), ("fbank.conf", self.fbank_options)):
            source = self.dump / self.train_set / name
            if target.is_file() and not update:
                continue
            content = source.read_bytes() if source.is_file() else None
            if target.is_file() and target.read_bytes() != content:
                self._require_no_training(target)
                self._leave_to_trainings(target)
            if content is None:  # features with context, or those of a data folder, have none
                target.unlink(missing_ok=True)
                continue
            with atomic_write(target, "wb") as stream:
                stream.write(content)

    def _require_no_training(self, path: Path) -> None:
        """Require that nobody trains here: the next stage would be made with the other features.

        Raises:
            Locked: naming the process that does.
        """
        for lock in sorted(self.directory.glob(".*.lock")):
            who = "" if lock.name == SELECTION_LOCK else holder(lock)
            if who:
                raise Locked(
                    f"{self.dump}/{self.train_set} has other features than {path}, with which {who} "
                    f"is training in {self.directory}; use another --tag for these, or wait for it"
                )

    def _leave_to_trainings(self, path: Path) -> None:
        """Copy a file that is about to change to the trainings that have been made with it."""
        for folder in sorted(self.directory.iterdir()):
            own = folder / path.name
            if folder.is_dir() and holds_weights(folder) and not own.exists():
                with atomic_write(own, "wb") as stream:
                    stream.write(path.read_bytes())

    def _copy_tokens(self, source: Path) -> None:
        """Copy all of them or none: another training may be doing the same at this moment."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".tokens.", suffix=".tmp", dir=self.directory) as temporary:
            copy = Path(temporary) / "tokens"
            shutil.copytree(source, copy)
            try:
                copy.rename(self.tokens)
            except OSError:
                if not (self.tokens / "tokens.txt").is_file():  # no other process wrote them
                    raise

    def data_digest(self) -> str:
        """Hash of texts, lengths and features of both sets: what a model has seen.

        Features enter through their CMVN statistics, which change whenever features do.
        """
        digests = []
        for name in (self.train_set, self.dev_set):
            digests.append(content_digest(self.manifest_path(name))[:16])
            statistics = self.dump / name / "cmvn.npz"
            digests.append(file_digest(statistics)[:16] if statistics.is_file() else "none")
        return "-".join(digests)


def kept_with(training: Path, name: str) -> Path:
    """Where statistics or feature options of a training are.

    In its own folder, if the experiment's have changed since; else in the experiment's.

    Args:
        training: folder of the training.
        name: ``cmvn.npz`` or ``fbank.conf``.
    """
    own = training / name
    return own if own.is_file() else training.parent / name


def _are_the_same(one: Path, other: Path) -> bool:
    """Whether two token folders split texts alike.

    All files count, because two sentencepiece models may have the same pieces and split
    differently; but not what an earlier choice of tokens left in one of them.
    """
    contents = [{path.name: path.read_bytes() for path in each.iterdir()} for each in (one, other)]
    left_over = {
        name
        for name in contents[0].keys() ^ contents[1].keys()
        if not any(name in named for named in (_named(one), _named(other)))
    }
    kept = [{name: each[name] for name in each.keys() - left_over} for each in contents]
    return kept[0] == kept[1]


def _named(directory: Path) -> set[str]:
    """The files of a token folder that count."""
    names = {"tokens.txt", "tokens.json"}
    if (directory / "tokens.json").is_file():
        content = read_json(directory / "tokens.json")
        names |= {content.get(key) for key in ("bpe_model", "non_linguistic_symbols")} - {None}
        if content.get("token_type") == "bpe":
            names.add(SYMBOLS)  # not named there, but its symbols are one token each
    return names


def _told(directory: Path) -> str:
    """What a token folder contains, in words."""
    count = (directory / "tokens.txt").read_bytes().count(b"\n")
    kind = ""
    if (directory / "tokens.json").is_file():
        kind = f"{read_json(directory / 'tokens.json').get('token_type')}, "
    return f"{kind}{count} tokens"
