"""Language modelling as a task for the cascade: model, data and transfer of one experiment."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from cascade_asr.errors import ConfigError, DataError
from cascade_asr.files import file_digest
from cascade_asr.lm.config import MODELS, LMConfig, check_lm_config, load_lm_config
from cascade_asr.lm.corpus import Vocabulary
from cascade_asr.lm.data import TextData
from cascade_asr.lm.evaluate import token_path
from cascade_asr.lm.objective import LanguageModel
from cascade_asr.networks.layer import Layer, Layering, merged
from cascade_asr.options.assignments import Assignments
from cascade_asr.training.experiment import Experiment
from cascade_asr.training.protocols import ONE_RANK, Ranks


@dataclass(frozen=True)
class TextTask:
    """A language model on the texts of an experiment; a `Task`.

    Attributes:
        experiment: folders and data.
    """

    experiment: Experiment
    kind = "text"

    @property
    def directory(self) -> Path:
        """``exp/TAG``."""
        return self.experiment.directory

    def adopt(self, update: bool = True) -> None:
        """Copy the vocabulary into the experiment."""
        self.experiment.adopt(update)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of this experiment's models."""
        return Vocabulary.read(self._vocabulary_path)

    def tokens(self, name: str) -> np.ndarray:
        """Token ids (N,) of a text.

        Raises:
            DataError: if they are missing or empty.
        """
        path = token_path(self.experiment.dump, name)
        tokens = np.load(path)
        if not len(tokens):
            raise DataError(f"{path}: the text has no tokens")
        return tokens

    def data_digest(self) -> str:
        """Hash of the token ids of both texts and of the vocabulary."""
        names = (self.experiment.train_set, self.experiment.dev_set)
        paths = [token_path(self.experiment.dump, name) for name in names] + [self._vocabulary_path]
        return "-".join(file_digest(path)[:16] for path in paths)

    def load_config(
        self, path: Path, given: Assignments | None = None
    ) -> tuple[LMConfig, list[str]]:
        """Load a configuration of a language model."""
        return load_lm_config(path, given), []

    def check_config(self, config: LMConfig, where: str) -> None:
        """Check a configuration against everything it names."""
        check_lm_config(config, where)

    def build_model(self, config: LMConfig, seed: int) -> LanguageModel:
        """A model with new weights; the caller's random state is not changed."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return MODELS[config.lm](len(self.vocabulary), **config.lm_conf)

    def stage_layers(
        self, model: LanguageModel, config: LMConfig, layering: Layering
    ) -> tuple[LMConfig, list[Layer]]:
        """The layers of the stages; with ``untie`` those of a model with two matrices.

        Raises:
            ConfigError: if the weights are tied and ``tying`` is not given, or vice
                versa; for a ``grain`` that this model lacks.
        """
        grain, tying = layering.grain, layering.tying
        if grain == "fine":
            raise ConfigError("grain: fine: a language model has the grains layer and module")
        if not model.tie_weights:
            if tying is not None:
                raise ConfigError(f"tying: {tying}: lm_conf.tie_weights is false; leave tying out")
            return config, _of_grain(model.layers(), grain)
        if tying is None:
            raise ConfigError(
                "tying: embedding and softmax share one matrix (lm_conf.tie_weights), so the top "
                "layer is the bottom one; choose what the cascade does with it: untie (two "
                "matrices from the first stage on), freeze (frozen with the softmax) or train "
                "(trained with the embedding)"
            )
        if tying in ("freeze", "train"):
            return config, _of_grain(model.layers(tying), grain)
        untied = dataclasses.replace(config, lm_conf={**config.lm_conf, "tie_weights": False})
        return untied, _of_grain(self.build_model(untied, untied.seed).layers(), grain)

    def default_select(self, model: LanguageModel) -> list[str]:
        """Dev perplexity."""
        return ["perplexity", "min"]

    def data(self, model: LanguageModel, config: LMConfig, ranks: Ranks = ONE_RANK) -> TextData:
        """The texts of the experiment.

        Raises:
            ConfigError: for more than one process, because a text is read in order.
        """
        if ranks.world_size > 1:
            raise ConfigError(
                f"a language model trains in one process, not in {ranks.world_size}; leave out "
                "--processes and --nodes, and use one GPU"
            )
        sets = (self.experiment.train_set, self.experiment.dev_set)
        texts = {name: self.tokens(name) for name in sets}
        return TextData(texts, *sets, self.vocabulary, config)

    def check_same_outputs(self, other: Path) -> None:
        """Require the vocabulary of a model in another folder to be ours.

        Raises:
            ConfigError: if it differs or is missing.
        """
        path = other.parent / "tokens" / "tokens.txt"
        if not path.is_file() or path.read_bytes() != self._vocabulary_path.read_bytes():
            raise ConfigError(
                f"source '{other}': its vocabulary ({path}) is not that of "
                f"{self._vocabulary_path}; a classifier can only be transferred to the same tokens"
            )

    def differences(self, trained: LMConfig, given: LMConfig, reads_input: bool) -> list[str]:
        """A different kind of model; all other differences of function show in the shapes."""
        if trained.lm == given.lm:
            return []
        return [f"lm: the model has {trained.lm}, not {given.lm}"]

    @property
    def _vocabulary_path(self) -> Path:
        return self.experiment.tokens / "tokens.txt"


def _of_grain(layers: list[Layer], grain: str) -> list[Layer]:
    """The LSTM layers one by one, or as one layer ``rnn`` for the grain ``module``."""
    if grain == "layer":
        return layers
    recurrent = [layer for layer in layers if layer.name.startswith("rnn.")]
    first = layers.index(recurrent[0])
    others = [layer for layer in layers if layer not in recurrent]
    return [*others[:first], merged("rnn", recurrent), *others[first:]]
