"""Evaluate a trained language model on texts: perplexity, with and without the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from cascade_asr.errors import DataError
from cascade_asr.files import read_json
from cascade_asr.lm.cache import cache_perplexity
from cascade_asr.lm.config import MODELS, load_lm_config
from cascade_asr.lm.corpus import Vocabulary
from cascade_asr.lm.evaluation_config import EvaluationConfig
from cascade_asr.lm.objective import LanguageModel
from cascade_asr.lm.perplexity import score_text
from cascade_asr.training import checkpoint


def load_language_model(directory: Path) -> tuple[LanguageModel, Vocabulary]:
    """The model in ``exp/TAG/STAGE``, in evaluation mode on the CPU, and its vocabulary.

    Raises:
        ConfigError: if there is none, or its architecture is not that of its configuration.
    """
    config = load_lm_config(directory / "config.yaml")
    vocabulary = Vocabulary.read(directory.parent / "tokens" / "tokens.txt")
    model = MODELS[config.lm](len(vocabulary), **config.lm_conf)
    path = directory / "model.pth"
    checkpoint.load_weights(model, checkpoint.load(path), path)
    return model.eval(), vocabulary


def token_path(dump: Path, name: str) -> Path:
    """Token ids of a text that stage 2 wrote.

    Raises:
        DataError: if they are missing.
    """
    path = dump / name / "tokens.npy"
    if not path.is_file():
        raise DataError(f"{path}: no token ids; run stage 2")
    return path


def evaluate_text(
    model: LanguageModel, eos: int, path: Path, config: EvaluationConfig
) -> dict[str, Any]:
    """Perplexities of the token ids in a file.

    Returns:
        ``tokens``, ``log_probability`` (sum, nats), ``perplexity``, and with a
        cache ``cache_perplexity``.
    """
    tokens = np.load(path)
    scored = score_text(
        model, tokens, eos, config.batch_size, keep_hidden=config.cache_window > 0
    )
    result = {
        "tokens": len(tokens),
        "log_probability": float(scored.log_probabilities.sum()),
        "perplexity": scored.perplexity,
    }
    if config.cache_window:
        result["cache_perplexity"] = cache_perplexity(
            scored,
            tokens,
            config.cache_window,
            config.cache_theta,
            config.cache_weight,
            next(model.parameters()).device,
        )
    return result


def read_perplexities(directory: Path) -> dict[str, dict[str, Any]]:
    """What `cascade_asr.cli.perplexity` wrote for a model, by text.

    Raises:
        DataError: if it has not been evaluated.
    """
    path = directory / "perplexity.json"
    if not path.is_file():
        raise DataError(f"{path}: not evaluated; run stage 5")
    return read_json(path)["texts"]


def pick_device(gpus: int | None) -> torch.device:
    """A GPU unless ``gpus`` is 0 or there is none."""
    use_gpu = gpus != 0 and torch.cuda.is_available()
    return torch.device("cuda" if use_gpu else "cpu")
