"""Records whether a piece of work is done: its inputs and outputs, in one file.

The file has a line ``input NAME=VALUE`` for everything that decides the result, and a
line ``output SHA256  PATH`` for every file that must still be as the work left it. During
the work ``FILE.begun``, or a file in the current folder if FILE's folder does not exist
yet, holds the inputs as they were at its start: a configuration that is edited during
hours of training is not the one that was trained with. Its lines ``run NAME`` say which runs
of a recipe have begun the work with these inputs, the last one first: others must not record
it as done.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from cascade_asr.errors import ConfigError
from cascade_asr.files import atomic_write, file_digest
from cascade_asr.recipe.state_of_files import (
    ABSENT,
    GONE,
    checksum_line,
    read_checksum_line,
    state_of_file,
    tree_digest,
)

RUN = "CASCADE_ASR_RUN"  # environment variable with a name for the run of a recipe


def is_digest(value: str) -> bool:
    """Whether a value stands for the content of a file."""
    return re.fullmatch("[0-9a-f]{64}", value) is not None


def described(inputs: Iterable[str]) -> dict[str, str]:
    """Name and value of each input.

    Args:
        inputs: each is ``NAME=VALUE``; or ``@PATH``, a file whose content counts; or
            ``%PATH``, a file or folder of any size, see `tree_digest`.
    """
    found = {}
    for each in inputs:
        if each.startswith("@"):
            found[each[1:]] = state_of_file(Path(each[1:]))
        elif each.startswith("%"):
            found[each[1:]] = tree_digest(Path(each[1:]))
        else:
            name, _, value = each.partition("=")
            found[name] = value.replace("\n", "\\n")  # one line each
    return found


class Marker:
    """The marker of one piece of work.

    Args:
        path: path of the file that stands for the finished work.
        run: name of the run of a recipe that does it; none: that of the environment.
    """

    def __init__(self, path: Path, run: str | None = None) -> None:
        self.path = path
        self.run = os.environ.get(RUN, "") if run is None else run
        beside = path.with_name(f"{path.name}.begun")
        # so that work that is refused at once leaves no folder behind
        here = Path("." + "_".join(path.parts).lstrip(".") + ".begun")
        self.begun = beside if path.parent.is_dir() and not here.is_file() else here

    def recorded(self) -> dict[str, str]:
        """The inputs that the work was done with; empty if it was not done."""
        return self._read(self.path)[0] if self.path.is_file() else {}

    def stale(self, now: dict[str, str]) -> str | None:
        """Why the work has to be done; None if it is done, empty if it never was.

        Args:
            now: the current inputs, from `described`.
        """
        if not self.path.is_file():
            return ""
        before, outputs = self._read(self.path)
        for digest, name in outputs:
            if state_of_file(Path(name)) != digest:
                return f"{name} was changed or removed; running again"
        for name, value in now.items():
            old = before.get(name, ABSENT)
            unmounted = value == GONE and is_digest(old)  # nothing else can be read from it
            if old == value or unmounted:
                continue
            if is_digest(old) or is_digest(value):
                return f"{name} has changed; running again"
            return f"{name} was '{old}', now '{value}'; running again"
        for name in before.keys() - now.keys():
            return f"no longer made from {name}; running again"
        return None

    def begin(self, now: dict[str, str]) -> None:
        """Record that the work begins: until `finish` it is not done, whatever happens."""
        self.path.unlink(missing_ok=True)
        same = self.begun.is_file() and self._read(self.begun)[0] == now
        others = [run for run in self._runs() if run != self.run] if same else []
        with atomic_write(self.begun, "wb") as stream:
            stream.writelines(os.fsencode(f"run {run}\n") for run in (self.run, *others))
            stream.writelines(_input_lines(now))

    def finish(
        self, outputs: Sequence[str], told: dict[str, str] | None = None, is_locked: bool = False
    ) -> None:
        """Record that the work is done.

        Args:
            outputs: files that it wrote.
            told: values of inputs that only the work itself could know, such as what was
                downloaded.
            is_locked: only one run at a time can do the work. Another one that has begun it
                since with the same inputs, and was turned away, is then no obstacle.

        Raises:
            ConfigError: if an output is missing, the work was never begun, or another run of
                the recipe has begun it since.
        """
        if not self.begun.is_file():
            raise ConfigError(f"{self.begun}: removed while the work was running; run it again")
        runs = self._runs() or [self.run]
        if self.run not in (runs if is_locked else runs[:1]):
            raise ConfigError(
                f"{self.path}: another run of the recipe ({runs[0]}) has begun the same work "
                "meanwhile, perhaps with other options, so it is not recorded as done; once that "
                "run has ended, run this one again: trainings that are finished are kept"
            )
        for each in outputs:
            if not Path(each).is_file():
                raise ConfigError(f"{each}: missing, though the stage has ended without an error")
        used, _ = self._read(self.begun)
        used.update({name: value for name, value in (told or {}).items() if name in used})
        with atomic_write(self.path, "wb") as stream:
            stream.writelines(_input_lines(used))
            for each in outputs:
                line = checksum_line(file_digest(Path(each)), os.fsencode(each))
                stream.write(b"output " + line)
        self.begun.unlink(missing_ok=True)

    def _runs(self) -> list[str]:
        """The runs that have begun the work with the same inputs, the last one first."""
        lines = os.fsdecode(self.begun.read_bytes()).split("\n")
        return [line.removeprefix("run ") for line in lines if line.startswith("run ")]

    @staticmethod
    def _read(path: Path) -> tuple[dict[str, str], list[tuple[str, str]]]:
        inputs, outputs = {}, []
        for line in os.fsdecode(path.read_bytes()).split("\n"):
            kind, _, rest = line.partition(" ")
            if kind == "input":
                name, value = _split_input(rest)
                inputs[name] = value
            elif kind == "output":
                outputs.append(read_checksum_line(rest))
        return inputs, outputs


def _input_lines(inputs: Mapping[str, str]) -> Iterator[bytes]:
    return (os.fsencode(f"input {name}={value}\n") for name, value in inputs.items())


def _split_input(text: str) -> tuple[str, str]:
    """Name and value; the name of a file may contain an equals sign, its digest does not."""
    name, _, value = text.rpartition("=")
    if value in (ABSENT, GONE) or is_digest(value):
        return name, value
    name, _, value = text.partition("=")
    return name, value
