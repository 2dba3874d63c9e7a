"""Compute perplexities of trained language models (stage 5).

Writes perplexity.json and scores.json into each model's folder; a model that has been
evaluated with the same options on the same texts is skipped.

Example:
    python -m cascade_asr.cli.perplexity --exp exp/small --dump dump \\
        --models full stage1 --texts valid test
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path
from typing import Any

from cascade_asr import command
from cascade_asr.errors import ConfigError
from cascade_asr.files import file_digest, read_json, write_json
from cascade_asr.lm.corpus import Vocabulary
from cascade_asr.lm.evaluate import (
    evaluate_text,
    load_language_model,
    pick_device,
    token_path,
)
from cascade_asr.lm.evaluation_config import EvaluationConfig, load_evaluation_config

logger = logging.getLogger(__name__)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder, exp/TAG")
    parser.add_argument("--dump", type=Path, required=True, help="folder of stages 1 and 2")
    parser.add_argument("--config", type=Path, help="evaluation options, YAML")
    parser.add_argument("--ngpu", type=int, help="0 for the CPU; default: a GPU if there is one")
    parser.add_argument("--models", nargs="+", action="extend", required=True, help="trainings inside exp/TAG")
    parser.add_argument("--texts", nargs="+", action="extend", required=True, help="texts inside the dump folder")
    return parser.parse_args()


def evaluate(directory: Path, arguments: argparse.Namespace, config: EvaluationConfig) -> None:
    """Evaluate one model on all texts, unless this has been done already."""
    path = directory / "perplexity.json"
    identity: dict[str, Any] = {
        "model_sha256": file_digest(directory / "model.pth"),
        "options": dataclasses.asdict(config),
        "texts_sha256": {
            name: file_digest(token_path(arguments.dump, name)) for name in arguments.texts
        },
    }
    if path.is_file() and all(read_json(path).get(key) == identity[key] for key in identity):
        logger.info("%s: already evaluated", directory)
        return
    model, vocabulary = load_language_model(directory)
    _require_same_tokens(vocabulary, directory, arguments.dump)
    model.to(pick_device(arguments.ngpu))
    results = {}
    for name in arguments.texts:
        results[name] = evaluate_text(
            model, vocabulary.eos, token_path(arguments.dump, name), config
        )
        shown = ", ".join(
            f"{key.replace('_', ' ')} {value:.2f}"
            for key, value in results[name].items()
            if key.endswith("perplexity")
        )
        logger.info("%s on %s (%d tokens): %s", directory, name, results[name]["tokens"], shown)
    scores = {f"{name} perplexity": each["perplexity"] for name, each in results.items()}
    scores |= {
        f"{name} with cache": each["cache_perplexity"]
        for name, each in results.items()
        if "cache_perplexity" in each
    }
    write_json(directory / "scores.json", scores)
    write_json(path, {**identity, "texts": results})


def _require_same_tokens(vocabulary: Vocabulary, directory: Path, dump: Path) -> None:
    """Require that the ids in ``dump`` are of the model's tokens: stage 1 may have run again since.

    Raises:
        ConfigError: if they are not.
    """
    path = dump / "tokens" / "tokens.txt"
    if path.is_file() and Vocabulary.read(path).tokens != vocabulary.tokens:
        raise ConfigError(
            f"{path}: {len(Vocabulary.read(path))} tokens, but {directory} was trained with others "
            f"({len(vocabulary)}); run stages 1 and 2 with the options of that training, such as --min-count"
        )


def main() -> None:
    arguments = parse_arguments()
    config = EvaluationConfig()
    if arguments.config:
        config = load_evaluation_config(arguments.config)
    for name in arguments.models:
        evaluate(arguments.exp / name, arguments, config)


if __name__ == "__main__":
    command.run(main)
