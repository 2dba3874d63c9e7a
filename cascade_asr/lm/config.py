"""The training of a language model, as in conf/train_*.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_asr.errors import ConfigError
from cascade_asr.lm.objective import LanguageModel
from cascade_asr.networks.bounds import COUNT, WIDTH
from cascade_asr.options.assignments import Assignments
from cascade_asr.options.places import located
from cascade_asr.options.schema import from_mapping, option
from cascade_asr.options.signatures import check_conf
from cascade_asr.options.training import TrainingOptions
from cascade_asr.training.checks import check_training_options
from cascade_asr.yaml_file import read_yaml

MODELS = {"awd_lstm": LanguageModel}
_BOUNDS = {
    "embedding_size": WIDTH,
    "hidden_size": WIDTH,
    "output_size": WIDTH,
    "num_layers": COUNT,
    "activation_regularization": (0, None),
    "temporal_activation_regularization": (0, None),
}
_BEST = ["valid", "perplexity", "min"]


@dataclass
class LMConfig(TrainingOptions):
    """A language model and how it is trained; the defaults are the published ones."""

    lm: str = option("awd_lstm", "model")
    lm_conf: dict[str, Any] = option({}, "arguments of the model")
    batch_size: int = option(80, "number of text columns side by side", least=1)
    bptt: int = option(70, "usual length of a sequence, in tokens", least=5)
    valid_batch_size: int = option(
        10, "columns of the dev text; does not affect the result", least=1
    )

    optim: str = option("nt_asgd", "optimizer")
    optim_conf: dict[str, Any] = option(
        {"lr": 30.0, "weight_decay": 1.2e-6}, "arguments of the optimizer; lr is the learning rate"
    )
    max_epoch: int = option(750, "epochs", least=1)
    grad_clip: float = option(
        0.25, "largest norm of the gradient; 0: no clipping", least=0, infinite=True
    )
    val_scheduler_criterion: list[str] = option(
        _BEST[:2], "metric that a plateau schedule and the start of averaging watch", items=(2, 2)
    )
    early_stopping_criterion: list[str] = option(_BEST, "metric that patience watches", items=(3, 3))
    best_model_criterion: list[list[str]] = option(
        [_BEST], "metrics that rank epochs; the first one names the averaged model", items=(1, 1000)
    )
    keep_nbest_models: int = option(1, "number of epochs averaged into the final model", least=1)

    without_effect = (*TrainingOptions.without_effect, "valid_batch_size")


def load_lm_config(path: Path, given: Assignments | None = None) -> LMConfig:
    """Read a training configuration.

    Args:
        path: path of the YAML file.
        given: options of the command line, which override the file's.

    Raises:
        ConfigError: listing every unknown key and every value of the wrong type,
            each with file and line; or if it is that of a recogniser.
    """
    content, lines = read_yaml(path)
    content = given.put_into(content) if given else content
    if "lm" not in content and content.keys() & {"encoder", "decoder"}:
        raise ConfigError(f"{path}: the configuration of a recogniser; expected that of a language model")
    return from_mapping(LMConfig, content, str(path), lines)


def check_lm_config(config: LMConfig, where: str) -> None:
    """Check a configuration against everything it names before anything is built.

    Raises:
        ConfigError: with all problems, one per line.
    """
    problems = []
    if config.lm not in MODELS:
        problems.append(f"unknown lm '{config.lm}'; there is: {', '.join(MODELS)}")
    else:
        problems += check_conf(
            MODELS[config.lm], config.lm_conf, "lm_conf", ("vocabulary_size",), _BOUNDS
        )
        problems += _probabilities(config.lm_conf)
    problems += check_training_options(config)
    if config.accum_grad > 1:
        problems.append("accum_grad: a language model's updates are one sequence each; set it to 1")
    if problems:
        raise ConfigError(located(where, problems))


def _probabilities(lm_conf: dict[str, Any]) -> list[str]:
    return [
        f"lm_conf.{name} is {value}, expected 0 to 1"
        for name, value in lm_conf.items()
        if ("dropout" in name or name == "weight_drop")
        and isinstance(value, (int, float))
        and not 0.0 <= value <= 1.0
    ]
