"""Check that experiments are seeds of one experiment: equal except for the seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cascade_asr.errors import ConfigError
from cascade_asr.files import file_digest, read_json
from cascade_asr.options.training import TrainingOptions
from cascade_asr.results.configuration import recorded_options
from cascade_asr.results.decodings import are_decoded_alike
from cascade_asr.results.experiments import read_if_whole
from cascade_asr.training.finished import imported_from
from cascade_asr.training.identity import IN_WORDS, changed_keys

SHOWN = 12  # how many differences a message lists
# what a training did apart from its options, from identity.json
DECIDES = ("frozen", "reinitialise", "random_top", "frozen_dropout", "reset", "data")
IMPORTED = "imported"  # beside these: whether a model was imported instead of being trained


def check_seeds(directories: Sequence[Path]) -> None:
    """Require that experiments differ only in their seeds.

    This compares the plans, and the options, frozen layers and data of every training
    that two experiments share, the references of their test sets, and the options of decoding. It compares
    neither the device, which tables mark, nor which stages exist: patience may end the
    cascade of one seed earlier.

    Raises:
        ConfigError: if they differ, naming every option that differs with both values;
            or if two have the same seed, naming it.
    """
    first, seeds = directories[0], {}
    for directory in directories:
        differences = [] if directory == first else _differences(first, directory)
        if differences:
            more = len(differences) - SHOWN
            listing = "".join(f"\n  {each}" for each in differences[:SHOWN])
            raise ConfigError(
                f"{first} and {directory} are not seeds of one experiment; they differ in more than "
                f"the seed:{listing}{f'{chr(10)}  and {more} more' if more > 0 else ''}\n"
                "compare them with: cascade-asr compare EXP EXP"
            )
        seed = recorded_options(directory / "full").get("seed")
        if seed is not None and seed in seeds:
            raise ConfigError(
                f"{seeds[seed]} and {directory} have the same seed, {seed}: give each seed once"
            )
        seeds[seed] = directory


def _differences(one: Path, other: Path) -> list[str]:
    """All differences, such as ``full: encoder_conf.hidden_size: 320 -> 64``."""
    selections = [_json(each / "selection.json", ("metric", "mode")) for each in (one, other)]
    plans = [_json(each / "plan.json", ("title", "stop", "stages")) for each in (one, other)]
    if {} in plans:  # made by an older version, or nothing was planned
        plans = [{}, {}]
    found = [f"selection: {each}" for each in changed_keys(*selections)]
    found += [f"plan: {each}" for each in changed_keys(*plans)]
    for name in _trainings(one):
        if name in _trainings(other):
            contents = [
                {
                    **_json(each / name / "identity.json", DECIDES),
                    **({IMPORTED: "yes"} if imported_from(each / name) else {}),
                    **_without_seed(each / name),
                }
                for each in (one, other)
            ]
            found += [f"{name}: {_in_words(each)}" for each in changed_keys(*contents)]
    tested = [_tested_on(each / "full") for each in (one, other)]
    found += [
        f"test set {name}: its texts are not the same; run stages 5 and 6 of both again"
        for name in sorted(tested[0].keys() & tested[1].keys())
        if tested[0][name] != tested[1][name]
    ]
    evaluated = [read_if_whole(each / "evaluated_sets.json") for each in (one, other)]
    found += [
        f"test set {name}: other data were evaluated under this name; evaluate both on the same data"
        for name in sorted(evaluated[0].keys() & evaluated[1].keys())
        if evaluated[0][name] != evaluated[1][name]
    ]
    return found + _tested_differently(one / "full", other / "full")


def _in_words(difference: str) -> str:
    """``key: old -> new``, or a sentence where the values are digests."""
    return IN_WORDS.get(difference.partition(":")[0], difference)


def _tested_on(training: Path) -> dict[str, str]:
    """Digests of the references, or of the texts, that a training was scored on, by set."""
    references = {
        path.parent.parent.name.removeprefix("decode_"): file_digest(path)
        for path in sorted(training.glob("decode_*/score_wer/ref.trn"))
    }
    return references | read_if_whole(training / "perplexity.json").get("texts_sha256", {})


def _tested_differently(one: Path, other: Path) -> list[str]:
    """Test sets that two trainings were decoded, or texts evaluated, on with other options."""
    decoded = sorted(path.parent.name.removeprefix("decode_") for path in one.glob("decode_*/text"))
    found = [
        f"test set {name}: decoded with other options or another language model; run stages 5 and 6 "
        "of both again"
        for name in decoded
        if not are_decoded_alike([one, other], name)
    ]
    options = [read_if_whole(each / "perplexity.json").get("options", {}) for each in (one, other)]
    if {} in options:
        return found
    changes = changed_keys(*({**each, "batch_size": None} for each in options))  # it has no effect
    return found + [f"perplexities: {each}; run stages 5 and 6 of both again" for each in changes]


def _trainings(directory: Path) -> list[str]:
    """Names of finished trainings that belong to the selection, full training first."""
    selection = read_json(directory / "selection.json")
    branches = [selection, *selection.get("controls", {}).values()]
    names = [each["name"] for branch in branches for each in branch["stages"]]
    return list(dict.fromkeys(names))


def _without_seed(training: Path) -> dict[str, Any]:
    """Its options, without the seed and the options that do not affect results."""
    ignored = ("seed", *TrainingOptions.without_effect)
    return {key: value for key, value in recorded_options(training).items() if key not in ignored}


def _json(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    content = read_json(path) if path.is_file() else {}
    return {key: content[key] for key in keys if key in content}
