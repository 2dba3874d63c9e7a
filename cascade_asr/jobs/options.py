"""Options of a job, which conf/slurm.conf turns into those of sbatch."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from cascade_asr.errors import ConfigError
from cascade_asr.files import toolkit_folder

NOTICE_S = 300  # warning before the time limit, in seconds


def find_slurm_conf(given: Path | None = None) -> Path:
    """The given configuration, the recipe's (conf/slurm.conf), or the toolkit's."""
    if given is not None:
        return given
    own = Path("conf/slurm.conf")
    if own.is_file():
        return own
    return Path(os.environ.get("CASCADE_ASR_ROOT") or toolkit_folder()) / "conf/slurm.conf"


@dataclass
class SlurmConf:
    """A file in the format of Kaldi's slurm.conf.

    Attributes:
        path: path of the file.
        command: command that submits, as words.
        patterns: words for ``--NAME VALUE``, by name and value; value ``*`` is any.
        defaults: default values by name.
    """

    path: Path
    command: list[str] = field(default_factory=list)
    patterns: dict[str, dict[str, str]] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> SlurmConf:
        """Read the file.

        Raises:
            ConfigError: for a damaged file.
        """
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        conf = cls(path)
        for number, line in enumerate(lines, start=1):
            line = re.sub(r"(^|\s)#.*", "", line).strip()
            if not line:
                continue
            kind, rest = _head_and_rest(line)
            name, equals, tail = rest.partition("=")
            value, words = _head_and_rest(tail)
            if kind == "command":
                conf.command = shlex.split(rest)
            elif kind == "option" and equals:
                conf.patterns.setdefault(name, {})[value] = words
            elif kind == "default" and equals:
                conf.defaults[name] = tail.strip()
            else:
                raise ConfigError(f"{path}:{number}: expected command, option or default: {line}")
        if not conf.command:
            raise ConfigError(f"{path}: no line 'command sbatch ...'")
        return conf

    def submission_words(self, options: dict[str, str]) -> list[str]:
        """The words of the submit command, without the script.

        Args:
            options: names with underscores, such as ``{"mem": "4G"}``.

        Raises:
            ConfigError: for an option that the file does not have.
        """
        command = list(self.command)
        for name, value in sorted({**self.defaults, **options}.items()):
            patterns = self.patterns.get(name, {})
            words = patterns.get(value, patterns.get("*"))
            if words is None:
                known = ", ".join(f"--{each.replace('_', '-')}" for each in sorted(self.patterns))
                raise ConfigError(
                    f"option --{name} {value}: not in {self.path}, which has: {known}"
                )
            command += [word.replace("$0", value) for word in shlex.split(words)]
        return command


def _head_and_rest(line: str) -> tuple[str, str]:
    """The first word and what follows, between which blanks or tabs may be, as for slurm.pl."""
    found = re.match(r"(\S*)\s*(.*)", line)
    return (found[1], found[2]) if found else ("", "")


def parse_job_options(words: list[str]) -> dict[str, str]:
    """``--mem 32G --time=2:00:00`` as ``{"mem": "32G", "time": "2:00:00"}``.

    Raises:
        ConfigError: for a word that is not an option, and for a missing value.
    """
    options = {}
    left = list(words)
    while left:
        word = left.pop(0)
        if not re.match(r"--[a-z]", word):
            raise ConfigError(f"expected options of the job such as --mem 32G, found '{word}'")
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not left or left[0].startswith("--"):
                raise ConfigError(f"option {word} of the job needs a value")
            value = left.pop(0)
        options[name.replace("-", "_")] = value
    return options


def gpus(value: str) -> int:
    """How many GPUs a value of ``--gpu`` asks for: ``2``, ``a100:2``, or one such as ``a100``."""
    count = value.rpartition(":")[2]
    return int(count) if count.isdigit() else 1


def notice_s(time: str | None) -> int:
    """Seconds before the time limit at which a training is asked to save.

    If the limit is short, this is a quarter of it, so that there is time to train.
    """
    seconds = limit_s(time) if time else None
    return max(1, min(NOTICE_S, seconds // 4)) if seconds else NOTICE_S  # 0 is no limit


def limit_s(time: str) -> int | None:
    """Seconds of a time in Slurm's format: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S; else None."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)
    if not match:
        return None
    days, first, second, third = (int(each) if each else 0 for each in match.groups())
    if match[1] is not None or match[4] is not None:
        return ((days * 24 + first) * 60 + second) * 60 + third
    return first * 60 + second
