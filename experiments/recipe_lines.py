"""Write the results of a recipe's experiment as JSON lines, one per training.

    python experiments/recipe_lines.py wikitext2 freeze 1 egs/wikitext2/exp/awd_freeze_seed1

Nothing is trained. The script reads what ``./run.sh`` wrote to the folder: dev metric and
convergence verdict of every training, and error rates or perplexities of those that stages 5
and 6 have scored. Trainings that are already in the file are not added again; those of a branch
that was trained later are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lines import Lines, training_line

from cascade_asr.errors import CascadeError, DataError
from cascade_asr.files import read_json
from cascade_asr.scoring.options import ScoringOptions
from cascade_asr.scoring.scorer import score_transcripts
from cascade_asr.scoring.transcripts import read_transcripts
from cascade_asr.training.history import read_history

HERE = Path(__file__).resolve().parent


def experiment_lines(directory: Path) -> Iterator[dict[str, Any]]:
    """Yield a line for full training and every training of every branch.

    A last stage of the cascade that trains everything is branch ``finetune``; a cascade whose
    first stage has its frozen layers from another experiment is branch ``transfer``.

    Raises:
        ConfigError: if ``selection.json`` is missing.
    """
    selection = read_json(directory / "selection.json")
    branches = {"cascade": selection, **selection["controls"]}
    yield _line(directory / "full", "full", selection["metric"])
    for branch, content in branches.items():
        if branch == "cascade" and _is_transferred(directory, content["stages"]):
            branch = "transfer"
        for entry in content["stages"]:
            if entry["name"] != "full":
                yield _line(directory / entry["name"], branch, selection["metric"])


def _is_transferred(directory: Path, stages: list[dict[str, Any]]) -> bool:
    full = read_json(directory / "full/lineage.json")["model_sha256"]
    first = next((entry["name"] for entry in stages if entry["name"] != "full"), None)
    return (
        first is not None
        and read_json(directory / first / "lineage.json")["source_model_sha256"] != full
    )


def _line(folder: Path, branch: str, metric: str) -> dict[str, Any]:
    lineage = read_json(folder / "lineage.json")
    if branch == "cascade" and not lineage["frozen_layers"]:
        branch = "finetune"  # the stage that a plan with `finetune: true` ends with
    curve = [
        round(entry[metric], 3)
        for entry in read_history(folder / "history.jsonl")
        if entry["split"] == "valid"
    ]
    device = {
        "processor": lineage["device"],
        "versions": f"cascade_asr {lineage['code']}, torch {lineage['torch']}",
    }
    test = _test(folder)
    line = device | training_line(folder, branch, metric) | {"test": test, "curve": curve}
    return line | _errors_of_utterances(folder, test)


def _test(folder: Path) -> dict[str, float]:
    """Return error rates or perplexities on the test sets, if there are any.

    Results on the dev set, which was used for selection, and with the neural cache are left out.
    """
    dev = read_json(folder.parent / "arguments.json")["dev_set"]
    scores, perplexities = folder / "scores.json", folder / "perplexity.json"
    found = {}
    if scores.is_file():
        found = read_json(scores)
    elif perplexities.is_file():
        texts = read_json(perplexities)["texts"]
        found = {f"{name} perplexity": each["perplexity"] for name, each in texts.items()}
    return {
        name: round(value, 4)
        for name, value in found.items()
        if name.split()[0] != dev and "cache" not in name
    }


def _errors_of_utterances(folder: Path, test: dict[str, float]) -> dict[str, Any]:
    """Return the word errors of each utterance of the scored test sets, sorted by utterance.

    Raises:
        DataError: if they do not add up to the WER recorded.
    """
    found = {}
    for measure, rate in test.items():
        name, _, unit = measure.partition(" ")
        score = folder / f"decode_{name}" / "score_wer"
        if unit != "WER" or not (score / "hyp.trn").is_file():
            continue
        options = ScoringOptions()
        sides = (read_transcripts(score / f"{side}.trn", options, _ignored, "trn") for side in ("ref", "hyp"))
        result = score_transcripts(*sides, options, str(score), strict=True)
        if abs(result.error_rate - rate) > 0.001:
            raise DataError(f"{score}: {result.error_rate:.4f} % WER, but {rate} in scores.json")
        ordered = sorted(result.utterances, key=lambda each: each.name)
        found[measure] = [each.errors for each in ordered]
    return {"errors": found} if found else {}


def _ignored(warning: str) -> None:
    """Take a warning that stage 5 has given already."""


def main(words: list[str]) -> None:
    """Append the trainings that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", help="name of the file in results/")
    parser.add_argument("condition", help="what is particular about this experiment")
    parser.add_argument("seed", type=int)
    parser.add_argument("directory", type=Path, help="exp/TAG")
    parser.add_argument("--results", type=Path, help="file; default: results/TASK.jsonl")
    arguments = parser.parse_args(words)
    lines = Lines(arguments.results or HERE.parent / f"results/{arguments.task}.jsonl")
    key = {name: getattr(arguments, name) for name in ("task", "condition", "seed")}
    try:
        found = [key | each for each in experiment_lines(arguments.directory)]
        missing = lines.missing(found)
    except CascadeError as error:
        raise SystemExit(f"recipe_lines.py: error: {error}") from None
    completed = lines.complete(found)
    lines.add(missing)
    names = ", ".join(each["training"] for each in missing)
    print(f"{lines.path}: seed {arguments.seed} of {arguments.condition}: added {names or 'nothing'}"
          f"; completed {completed}")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
