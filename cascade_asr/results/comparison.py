"""Trainings of several experiments side by side: results, tests and differences in their making."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade_asr.errors import CascadeError, ConfigError, DataError
from cascade_asr.files import file_digest, read_json
from cascade_asr.options.training import TrainingOptions
from cascade_asr.results.collect import WITHOUT_WORDS
from cascade_asr.results.configuration import flat_options
from cascade_asr.results.decodings import (
    DECODED_DIFFERENTLY,
    are_decoded_alike,
    decoded_folder,
    dump_of,
    recipe_of,
)
from cascade_asr.results.experiments import is_experiment, read_if_whole
from cascade_asr.results.seeds import DECIDES, IMPORTED, check_seeds
from cascade_asr.results.speech import sentence
from cascade_asr.results.test_sets import BOOTSTRAP_SAMPLES, open_set, unscored_symbols
from cascade_asr.scoring.sclite_reports import shown_rate
from cascade_asr.scoring.score import ScoreResult
from cascade_asr.scoring.significance import compare, interval
from cascade_asr.training.finished import EXPECTED, how_to_run, imported_from, is_name_of_training
from cascade_asr.training.identity import IN_WORDS


@dataclass(frozen=True)
class System:
    """A finished training to compare.

    Attributes:
        name: as the user gave it, with the stage if the experiment selected it.
        directory: folder of the training.
        dump, data: folders of the recipe that it belongs to.
        metric: dev metric used for selection; empty if nothing was selected.
        dev: value of that metric; None if nothing was selected.
    """

    name: str
    directory: Path
    dump: Path
    data: Path
    metric: str
    dev: float | None

    @property
    def tests(self) -> list[str]:
        """Test sets that it has decoded, or texts that it was evaluated on."""
        if self.is_text:
            return list(read_if_whole(self.directory / "perplexity.json").get("texts", {}))
        found = self.directory.glob("decode_*/text")
        return sorted(each.parent.name.removeprefix("decode_") for each in found)

    @property
    def is_text(self) -> bool:
        """Whether it is a language model."""
        return (self.directory / "perplexity.json").is_file() or "lm" in flat_options(self.directory)


@dataclass
class ComparedSystems:
    """The content of a comparison, in the order in which it is shown.

    Attributes:
        header, rows: table with one row per system.
        sentences: a test of each system against the first one, for each set.
        notes: caveats.
        changes: options that differ, each with its value in every system.
    """

    names: list[str]
    header: list[str]
    rows: list[list[str]]
    sentences: list[str]
    notes: list[str]
    changes: list[list[str]] = field(default_factory=list)


def open_system(path: Path, dump: Path | None = None, data: Path | None = None) -> System:
    """Open the training that a folder stands for: itself, or the one its experiment selected.

    Args:
        path: ``EXP/STAGE``, or ``EXP``.
        dump, data: folders of stages 0 to 2; None: those of the experiment's recipe.

    Raises:
        ConfigError: if there is no such training, or it is not finished.
    """
    if not path.is_dir():
        raise ConfigError(f"{path}: no such folder; name an experiment or a training, as in exp/rnn")
    named = path if path.name not in ("", "..") else path.resolve()
    experiment, stage = (path, "") if is_experiment(path) else (named.parent, named.name)
    selection = read_if_whole(experiment / "selection.json")
    if not stage:
        stage = str(selection.get("selected", ""))
        if not stage:
            raise ConfigError(f"{path}: nothing is selected yet; run stage 3, or name a training")
    directory = experiment / stage
    if not read_if_whole(directory / "done.json") and not read_if_whole(directory / "lineage.json"):
        if not is_name_of_training(stage):
            raise ConfigError(f"{path}: neither an experiment nor a training of one; {EXPECTED}")
        raise ConfigError(
            f"{directory}: not a finished training; run {how_to_run(stage.split('.')[0])[1]} first"
        )
    branches = [selection, *selection.get("controls", {}).values()]
    values = {
        each["name"]: each["value"] for branch in branches for each in branch.get("stages", [])
    }
    return System(
        str(experiment / stage), directory,
        dump or dump_of(experiment), data or recipe_of(experiment) / "data",
        str(selection.get("metric", "")), values.get(stage),
    )  # fmt: skip


def compare_systems(systems: Sequence[System], sets: Sequence[str] = ()) -> ComparedSystems:
    """Compare trainings with the first one.

    If one was not tested yet, only dev values and options are compared.

    Args:
        systems: at least two.
        sets: test sets, or texts; if empty, all that every system was tested on.

    Raises:
        ConfigError: for fewer than two, for one that is given twice, for speech beside text.
        DataError: if they have no common set, a set differs between them, or hypotheses
            come from an earlier training of the same folder.
    """
    if len(systems) < 2:
        raise ConfigError("nothing to compare: give at least two experiments or trainings")
    seen: dict[Path, str] = {}
    for each in systems:
        if each.directory.resolve() in seen:
            raise ConfigError(f"{each.name} is given twice; compare different trainings")
        seen[each.directory.resolve()] = each.name
    kinds = {each.is_text: each.name for each in systems}
    if len(kinds) > 1:
        raise ConfigError(
            f"{kinds[True]} is a language model and {kinds[False]} is not; "
            "perplexities and word error rates cannot be compared"
        )
    names = common_sets(systems, sets)
    compare_on = (_texts if True in kinds else _speech) if names else _without_tests
    compared = compare_on(systems, names)
    compared.notes += _notes(systems, names)
    compared.changes = option_changes(systems)
    return compared


def common_sets(systems: Sequence[System], wanted: Sequence[str]) -> list[str]:
    """Sets that all were tested on; none if one was not tested yet and no set is wanted.

    Raises:
        DataError: if a wanted set is missing, or all were tested but on no common set.
    """
    for each in systems:
        missing = [name for name in wanted if name not in each.tests]
        if not each.tests and (each.directory / "scores.json").is_file():
            raise DataError(
                f"{each.name}: for a user's module only mean scores are kept, and paired tests "
                "need those of single items; cascade.table() and cascade.report() show its branches, "
                "'cascade-asr compare seeds' tests them over seeds"
            )
        if missing:
            raise DataError(
                f"{each.name}: not tested on {missing[0]}; run stage 5, which tests full training, "
                "all stages of the cascade and the selected training of each control"
            )
    if not all(each.tests for each in systems):
        return []
    names = list(wanted) or [
        name for name in systems[0].tests if all(name in each.tests for each in systems)
    ]
    if not names:
        tested = "; ".join(f"{each.name}: {', '.join(each.tests)}" for each in systems)
        raise DataError(f"there is no set that all were tested on: {tested}")
    return names


def option_changes(systems: Sequence[System]) -> list[list[str]]:
    """Each option that differs, with its value in each system; the seed comes first."""
    made = []
    for each in systems:
        options = flat_options(each.directory)
        decided = read_if_whole(each.directory / "identity.json")
        # a note tells that the data differ, which are known by a digest
        options |= {key: decided[key] for key in DECIDES if key in decided and key not in IN_WORDS}
        if weights := imported_from(each.directory):
            options[IMPORTED] = weights
        made.append({key: value for key, value in options.items() if key not in TrainingOptions.without_effect})
    keys = dict.fromkeys(key for options in made for key in options)
    rows = []
    for key in sorted(keys, key=lambda key: (key != "seed", key)):
        values = [_shown(options.get(key)) for options in made]
        if len(set(values)) > 1:
            rows.append([key, *values])
    return rows


def _shown(value: Any) -> str:
    if value is None or value in ([], {}):
        return "-"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _speech(systems: Sequence[System], names: Sequence[str]) -> ComparedSystems:
    columns: list[str] = []
    scored: list[dict[str, ScoreResult]] = [{} for _ in systems]
    units, notes = {}, []
    symbols = [unscored_symbols(each.directory, each.dump) for each in systems]
    unscored = frozenset.union(*symbols)
    if of_some := sorted(unscored - frozenset.intersection(*symbols)):
        notes.append(
            f"{', '.join(of_some)}: non-linguistic symbols of only some of them; here they are "
            "scored for none, so error rates may differ from those of stage 6"
        )
    for name in names:
        _require_same([each.dump / name / "text" for each in systems], f"the reference of {name}")
        test_set = open_set(name, systems[0].dump, systems[0].data, unscored=unscored)
        for each, results in zip(systems, scored, strict=True):
            own = open_set(name, each.dump, each.data, unscored=unscored)
            if own.reference != test_set.reference:
                raise DataError(
                    f"{each.name} and {systems[0].name} are not scored against the same words of "
                    f"{name}: their Hub5 references differ"
                )
            results |= own.words(decoded_folder(each.directory, name))
        without = [column for column in test_set.columns if not scored[0][column].total.words]
        notes += [f"{column}: {WITHOUT_WORDS}" for column in without]
        columns += [column for column in test_set.columns if column not in without]
        units |= dict.fromkeys(test_set.columns, test_set.bootstrap_unit)
        notes += [test_set.note] if test_set.note else []
    rows = [
        [*_first_cells(each), *(_rate(results[name], units[name]) for name in columns),
         *_last_cells(each)]
        for each, results in zip(systems, scored, strict=True)
    ]  # fmt: skip
    sentences = [
        sentence(
            f"{each.name} against {systems[0].name} on {name}",
            compare(scored[0][name], results[name], BOOTSTRAP_SAMPLES, unit=units[name]),
        )
        for each, results in zip(systems[1:], scored[1:], strict=True)
        for name in columns
    ]
    if len(sentences) > 1:
        notes.append(
            f"each p is that of a single test; with {len(sentences)} tests, use "
            f"{0.05 / len(sentences):.2g} instead of 0.05 (Bonferroni)"
        )
    header = [*_FIRST, *(f"{name} WER (95 % interval)" for name in columns), *_LAST]
    return ComparedSystems([each.name for each in systems], header, rows, sentences, notes)


def _rate(result: ScoreResult, unit: str) -> str:
    spread = interval(result, BOOTSTRAP_SAMPLES, unit=unit)
    around = f" ({shown_rate(spread.low)} to {shown_rate(spread.high)})" if spread else ""
    return f"{shown_rate(result.error_rate)}{around}"


def _texts(systems: Sequence[System], names: Sequence[str]) -> ComparedSystems:
    _require_same([each.directory.parent / "tokens/tokens.txt" for each in systems], "the vocabulary")
    found = [read_json(each.directory / "perplexity.json") for each in systems]
    digests = [each.get("texts_sha256", {}) for each in found]
    found = [each["texts"] for each in found]
    for name in names:
        counts = {texts[name]["tokens"] for texts in found}
        if len(counts) > 1 or len({each.get(name) for each in digests}) > 1:
            sizes = " and ".join(map(str, sorted(counts)))
            what = f"has {sizes} tokens" if len(counts) > 1 else "is not the same text"
            raise DataError(f"{name} {what}: perplexities of different texts cannot be compared")
    rows = [
        [*_first_cells(each), *(f"{texts[name]['perplexity']:.2f}" for name in names),
         *_last_cells(each)]
        for each, texts in zip(systems, found, strict=True)
    ]  # fmt: skip
    sentences = []
    for each, texts in zip(systems[1:], found[1:], strict=True):
        for name in names:
            before, after = found[0][name], texts[name]
            change = 100 * (after["perplexity"] / before["perplexity"] - 1)
            nats = (before["log_probability"] - after["log_probability"]) / after["tokens"]
            sentences.append(
                f"{each.name} against {systems[0].name} on {name}: {change:+.1f} % perplexity, "
                f"{nats / math.log(2):+.4f} bits per token"
            )
    header = [*_FIRST, *(f"{name} perplexity" for name in names), *_LAST]
    notes = ["no significance test: only totals are recorded, and one text is one sample"]
    return ComparedSystems([each.name for each in systems], header, rows, sentences, notes)


def _without_tests(systems: Sequence[System], names: Sequence[str]) -> ComparedSystems:
    untested = ", ".join(each.name for each in systems if not each.tests)
    note = f"no test set is compared, because these were not tested yet (stage 5): {untested}"
    rows = [[*_first_cells(each), *_last_cells(each)] for each in systems]
    return ComparedSystems([each.name for each in systems], [*_FIRST, *_LAST], rows, [], [note])


_FIRST = ["training", "dev"]
_LAST = ["parameters", "updates", "seed"]


def _first_cells(system: System) -> list[str]:
    dev = "-" if system.dev is None else f"{system.metric} {system.dev:.4g}"
    return [system.name, dev]


def _last_cells(system: System) -> list[str]:
    known = read_if_whole(system.directory / "lineage.json")
    numbers = [known.get(key) for key in ("parameters", "updates")]
    return [*("-" if each is None else f"{each:,}" for each in numbers), str(known.get("seed", "-"))]


def _require_same(paths: Sequence[Path], what: str) -> None:
    """
    Raises:
        DataError: if one of the files is missing, or differs from the first.
    """
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: not found; run stages 1 and 2, or give --dump")
        if file_digest(path) != file_digest(paths[0]):
            raise DataError(
                f"{what} is not the same: {paths[0]} and {path} differ; "
                "systems tested on different data cannot be compared"
            )


def _notes(systems: Sequence[System], names: Sequence[str]) -> list[str]:
    notes = []
    if len({each.metric for each in systems}) > 1:
        notes.append("dev values are of different metrics and not comparable")
    data = {read_if_whole(each.directory / "identity.json").get("data") for each in systems}
    if len(data) > 1:
        notes.append("training or dev data differ: dev values may not be comparable")
    elif len({_left_out(each.directory) for each in systems}) > 1:
        notes.append(
            "the networks leave out different utterances as too short for their text "
            "(dropped_SET.tsv): dev values may not be comparable"
        )
    if not all(are_decoded_alike([each.directory for each in systems], name) for name in names):
        notes.append(DECODED_DIFFERENTLY)
    experiments = [each.directory.parent for each in systems]
    if len(set(experiments)) == len(systems):
        try:
            check_seeds(experiments)
        except (CascadeError, OSError, KeyError):
            pass
        else:
            notes.append(
                "these experiments differ only in their seeds; to test over seeds: "
                "cascade-asr compare seeds --outdir FOLDER EXP..."
            )
    return notes


def _left_out(training: Path) -> frozenset[str]:
    """Utterances of the training and dev set that a training left out."""
    lines = [
        line
        for path in training.glob("dropped_*.tsv")
        for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()[1:]
    ]
    return frozenset(line.partition("\t")[0] for line in lines)
