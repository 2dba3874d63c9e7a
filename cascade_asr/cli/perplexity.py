"""Compute perplexities of a trained language model (stage 5).

Writes perplexity.json and scores.json into the model's folder.

Example:
    python -m cascade_asr.cli.perplexity --model exp/small/full --dump dump valid test
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from cascade_asr.cli import command
from cascade_asr.data.atomic import write_json
from cascade_asr.language_model.evaluation import (
    EvaluationConfig,
    evaluate_text,
    load_evaluation_config,
    load_language_model,
    pick_device,
)

logger = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of a training")
    parser.add_argument("--dump", type=Path, required=True, help="folder of stages 1 and 2")
    parser.add_argument("--config", type=Path, help="evaluation options, YAML")
    parser.add_argument("--ngpu", type=int, help="0 for the CPU; default: a GPU where there is one")
    parser.add_argument("texts", nargs="+", help="texts inside the dump folder")
    arguments = parser.parse_args()
    config = EvaluationConfig()
    if arguments.config:
        config = load_evaluation_config(arguments.config)
    model, vocabulary = load_language_model(arguments.model)
    model.to(pick_device(arguments.ngpu))
    results = {}
    for name in arguments.texts:
        path = arguments.dump / name / "tokens.npy"
        results[name] = evaluate_text(model, vocabulary.eos, path, config)
        shown = ", ".join(
            f"{key.replace('_', ' ')} {value:.2f}"
            for key, value in results[name].items()
            if key.endswith("perplexity")
        )
        logger.info("%s on %s (%d tokens): %s", arguments.model, name,
                    results[name]["tokens"], shown)  # fmt: skip
    write_json(arguments.model / "perplexity.json", results)
    scores = {f"{name} perplexity": each["perplexity"] for name, each in results.items()}
    scores |= {
        f"{name} with cache": each["cache_perplexity"]
        for name, each in results.items()
        if "cache_perplexity" in each
    }
    write_json(arguments.model / "scores.json", scores)


if __name__ == "__main__":
    command.run(main)
