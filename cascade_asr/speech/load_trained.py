"""Load the model of a finished training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cascade_asr.data.tokens import Tokenizer
from cascade_asr.errors import ConfigError
from cascade_asr.speech.build import build_model
from cascade_asr.speech.config import load_train_config
from cascade_asr.speech.model import ASRModel
from cascade_asr.training import checkpoint
from cascade_asr.training.experiment import kept_with
from cascade_asr.training.finished import require_done


def load_trained(directory: Path, dimension: int) -> ASRModel:
    """The averaged model of a finished stage, in evaluation mode.

    Args:
        directory: folder of the stage.
        dimension: D of the features that it is to be used with.

    Raises:
        ConfigError: if there is no finished stage, or it was trained on features of another
            dimension.
    """
    if not directory.is_dir():
        raise ConfigError(f"--model {directory}: no such folder; expected one such as exp/TAG/full")
    done = require_done(directory, "decoding")
    config, _ = load_train_config(directory / "config.yaml")
    tokenizer = Tokenizer.from_directory(directory.parent / "tokens")
    statistics = kept_with(directory, "cmvn.npz")
    if statistics.is_file():
        with np.load(statistics) as arrays:
            trained = len(arrays["sum"])
        if trained != dimension:
            raise ConfigError(
                f"{directory}: the model takes features of {trained} dimensions, found {dimension}; "
                "use those that it was trained with"
            )
    model = build_model(config, tokenizer, dimension, statistics, config.seed)
    checkpoint.load_weights(model, checkpoint.load(done.model_path), done.model_path)
    return model.eval()
