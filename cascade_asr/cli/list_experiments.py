"""List experiments: their stages and state, dev and test results, age and size.

Examples:
    cascade-asr list                      # those in exp/ here, or in all recipes of a clone
    cascade-asr list egs/digits exp/rnn   # those of a recipe, or single experiments
    cascade-asr list --json               # for scripts: bytes, seconds since 1970

dev is the selection metric of the selected training; test results are those of stage 6
for the same training. WER and CER are in percent. The age is the time since the last
change; the size is what the folder takes on disk.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from cascade_asr import command
from cascade_asr.results.columns import table
from cascade_asr.results.experiments import (
    DONE,
    ExperimentFolder,
    age_words,
    find_experiments,
    size_words,
    survey,
)

HEADER = ["experiment", "stages", "state", "selected", "dev", "test", "changed", "size"]


def stages_words(experiment: ExperimentFolder) -> str:
    """The trainings in words, with the state of those that are not done."""
    words = [
        each.directory.name if each.state == DONE else f"{each.directory.name} ({each.state})"
        for each in experiment.trainings
    ]
    return ", ".join(words) or "none"


def row(experiment: ExperimentFolder) -> list[str]:
    """One row of the table."""
    dev = "" if experiment.dev is None else f"{experiment.metric} {experiment.dev:.4g}"
    # character error rates are in --json; a table of both is too wide to read
    scores = {name: value for name, value in experiment.scores.items() if not name.endswith("CER")}
    test = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
    return [
        str(experiment.directory),
        stages_words(experiment),
        experiment.state,
        experiment.selected or "-",
        dev or "-",
        test or "-",
        age_words(experiment.changed),
        size_words(experiment.size),
    ]


def as_json(experiment: ExperimentFolder) -> dict[str, Any]:
    """One experiment as JSON, for scripts."""
    return {
        "experiment": str(experiment.directory),
        "state": experiment.state,
        "stages": {each.directory.name: each.state for each in experiment.trainings},
        "replaced": [each.name for each in experiment.replaced],
        "selected": experiment.selected or None,
        "metric": experiment.metric or None,
        "dev": _finite(experiment.dev),
        "test": {name: _finite(value) for name, value in experiment.scores.items()},
        "changed": experiment.changed,
        "bytes": experiment.size,
    }


def _finite(value: float | None) -> float | None:
    """None for what JSON has no number for."""
    return value if value is not None and math.isfinite(value) else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folders", type=Path, nargs="*", metavar="FOLDER",
        help="experiments, exp folders, recipes or a clone; default: exp, else egs/*/exp",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON; default: a table")
    arguments = parser.parse_args()
    found = [survey(each) for each in find_experiments(arguments.folders)]
    if arguments.json:
        print(json.dumps([as_json(each) for each in found], indent=2, ensure_ascii=False))
    elif found:
        print(table(HEADER, [row(each) for each in found]))
    else:
        print("no experiments here; run ./run.sh to make one, or name a folder")


if __name__ == "__main__":
    command.run(main)
