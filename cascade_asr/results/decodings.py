"""Hypotheses of stage 5: where they are, and whether they belong to today's model and data."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cascade_asr.errors import DataError
from cascade_asr.files import file_digest
from cascade_asr.results.experiments import read_if_whole

OF_THE_SET = ("manifest.tsv", "cmvn.npz", "frame_shift")  # what a decoding depends on of its set
DECODED_DIFFERENTLY = "the systems were decoded with different options or language models"


def decoded_folder(training: Path, name: str) -> Path:
    """Where stage 5 put a training's hypotheses.

    Raises:
        DataError: if they do not exist, are being replaced, were recognised by a training that
            has been replaced, or from other data than the set has now.
    """
    folder = training / f"decode_{name}"
    if not (folder / "text").is_file():
        raise DataError(f"{folder}/text: not decoded; run stage 5")
    if (folder / ".done.begun").is_file():
        raise DataError(
            f"{folder}: is being decoded again, or that was interrupted; let stage 5 end, or run it again"
        )
    experiment = training.parent
    for file, digest in inputs_of_decoding(folder).items():
        if file in _own_records(training):
            path = training / "done.json"
            problem = f"{folder}: recognised by an earlier training of {training.name}; run stage 5 again"
        elif file.endswith(f"/{name}/manifest.tsv"):
            path, data = recipe_of(experiment) / file, Path(file).parent
            problem = f"{folder}: recognised from other data than {data} has now; run stage 5 again"
        else:
            continue
        if path.is_file() and file_digest(path) != digest:
            raise DataError(problem)
    return folder


def inputs_of_decoding(folder: Path) -> dict[str, str]:
    """Digest of each file that a decoding depended on; empty if not recorded."""
    path = folder / ".done"
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    pairs = [line.removeprefix("input ").rpartition("=") for line in lines if line[:6] == "input "]
    return {file: value for file, _, value in pairs}


def options_of_decoding(training: Path, name: str) -> tuple[str, ...]:
    """Digests of the options and of the language model that a set was decoded with.

    Empty if not recorded. What differs from training to training, its model, is left out.
    """
    done = training / "done.json"
    own = file_digest(done) if done.is_file() else None
    return tuple(sorted(
        digest
        for file, digest in inputs_of_decoding(training / f"decode_{name}").items()
        if Path(file).name not in OF_THE_SET and file not in _own_records(training) and digest != own
    ))  # fmt: skip


def are_decoded_alike(trainings: Iterable[Path], name: str) -> bool:
    """Whether a set was decoded with the same options and language model, as far as recorded."""
    return len({options_of_decoding(each, name) for each in trainings} - {()}) < 2


def _own_records(training: Path) -> set[str]:
    """How stage 5 may have named the record of the model that it decodes with.

    A language model has a record, too, perhaps in an experiment whose name ends alike.
    """
    places = (Path(os.path.abspath(training)), training.resolve())  # either may be a link
    return {f"exp/{place.parent.name}/{place.name}/done.json" for place in places}


def recipe_of(experiment: Path) -> Path:
    """The recipe's folder; ``exp`` or the experiment may be a link to another file system."""
    places = [each.parent.parent for each in (experiment.absolute(), experiment.resolve())]
    dump = _recorded_dump(experiment)
    return next((each for each in places if (each / dump).is_dir()), places[0])


def dump_of(experiment: Path) -> Path:
    """The folder of features and tokens that an experiment was trained with."""
    return recipe_of(experiment) / _recorded_dump(experiment)


def _recorded_dump(experiment: Path) -> str:
    return str(read_if_whole(experiment / "arguments.json").get("dump") or "dump")
