"""Load a trained language model as a scorer of the beam search (shallow fusion)."""

from __future__ import annotations

from pathlib import Path

from cascade_asr.errors import ConfigError
from cascade_asr.lm.config import MODELS, load_lm_config
from cascade_asr.lm.corpus import Vocabulary
from cascade_asr.lm.scorer import LanguageModelScorer
from cascade_asr.training import checkpoint
from cascade_asr.training.finished import require_done


def load_fusion_scorer(directory: Path, tokens: list[str]) -> LanguageModelScorer:
    """The averaged language model of a finished training, in evaluation mode.

    Args:
        directory: folder such as ``exp/lm/full``; its vocabulary is ``exp/lm/tokens``.
        tokens: tokens of the recogniser.

    Raises:
        ConfigError: if there is no finished training, or it lacks tokens.
    """
    if not directory.is_dir():
        where = "" if directory.is_absolute() else f" in {Path.cwd()}"
        raise ConfigError(
            f"lm: {directory}: no such folder{where}; expected a trained language model, such as exp/lm/full of "
            "the folder where the command runs, or its whole path"
        )
    done = require_done(directory, "decoding with a language model")
    config = load_lm_config(directory / "config.yaml")
    vocabulary = Vocabulary.read(directory.parent / "tokens" / "tokens.txt")
    model = MODELS[config.lm](len(vocabulary), **config.lm_conf)
    checkpoint.load_weights(model, checkpoint.load(done.model_path), done.model_path)
    return LanguageModelScorer(model, vocabulary, tokens)
