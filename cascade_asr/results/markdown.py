"""RESULTS.md of an experiment, and comparisons of two models in sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cascade_asr.results.collect import WITHOUT_WORDS, Results
from cascade_asr.results.columns import table
from cascade_asr.results.decodings import (
    DECODED_DIFFERENTLY,
    are_decoded_alike,
    decoded_folder,
)
from cascade_asr.results.speech import record_of, sentence
from cascade_asr.results.test_sets import BOOTSTRAP_SAMPLES, open_set, unscored_symbols
from cascade_asr.scoring.significance import compare
from cascade_asr.training.finished import require_done


def compare_models(
    model_a: Path, model_b: Path, dump: Path, name: str, data: Path | None = None
) -> list[str]:
    """Is model B better than model A on a set? One sentence per column of the set, and a note if
    they were decoded with different options.

    Non-linguistic symbols of either are scored for neither.

    Raises:
        ConfigError: if one of them is an experiment.
        DataError: if one of them has not been decoded.
    """
    for model in (model_a, model_b):
        if (model / "selection.json").is_file():
            require_done(model, "a comparison of models")  # which says what to name
    folders = [decoded_folder(model, name) for model in (model_a, model_b)]
    unscored = unscored_symbols(model_a, dump) | unscored_symbols(model_b, dump)
    test_set = open_set(name, dump, data, unscored=unscored)
    before, after = (test_set.words(folder) for folder in folders)
    sentences = [
        sentence(
            f"{model_b} against {model_a} on {column}",
            compare(before[column], after[column], BOOTSTRAP_SAMPLES, unit=test_set.bootstrap_unit),
        )
        if before[column].total.words
        else f"{column}: {WITHOUT_WORDS}"
        for column in test_set.columns
    ]
    if not are_decoded_alike((model_a, model_b), name):
        sentences.append(f"Note: on {name} {DECODED_DIFFERENTLY}.")
    return sentences


def as_markdown(record: dict[str, Any]) -> str:
    """Table, comparisons, caveat and locations of the files."""
    lines = ["", f"Results of {record['directory']}", "", table(**record["table"]), ""]
    if record["extra"] is not None:
        lines += [*record["extra"], ""]
    lines += record["sentences"]
    lines += ["", *record["notes"]] if record["notes"] else []
    lines += ["", record["headline"]]
    branches = record["branches"]
    if len(branches["rows"]) > 2:
        lines += ["", "Selected by dev in each branch, with the total cost of training:", ""]
        lines.append(
            "\n\n".join([table(branches["header"], branches["rows"]), *branches["notes"]])
        )
    return "\n".join([*lines, "", *record["provenance"], "", *record["files"], ""])


def markdown(results: Results) -> str:
    """RESULTS.md of a speech experiment."""
    return as_markdown(record_of(results))
