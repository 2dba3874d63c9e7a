"""Training configuration: dataclasses filled from YAML with ESPnet2's keys.

An ESPnet2 training file works unchanged. Every problem in a file is reported
with its line; an unknown key is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade_asr.errors import ConfigError
from cascade_asr.options.assignments import Assignments
from cascade_asr.options.places import place
from cascade_asr.options.schema import from_mapping, option
from cascade_asr.options.training import TrainingOptions
from cascade_asr.options.types import hints_of, is_nullable
from cascade_asr.speech.espnet2_keys import take_espnet2_keys
from cascade_asr.yaml_file import read_yaml


@dataclass
class ModelConf:
    """``model_conf``: the hybrid CTC/attention objective."""

    ctc_weight: float = option(
        0.5, "share of the CTC loss: 1 is pure CTC, 0 pure attention", least=0, most=1
    )
    lsm_weight: float = option(0.0, "label smoothing: probability spread over the other tokens")
    length_normalized_loss: bool = option(False, "divide the attention loss by tokens, not by B")


@dataclass
class TrainConfig(TrainingOptions):
    """The training of a speech recognition model, as in conf/train_*.yaml."""

    encoder: str = option("vgg_rnn", "encoder of cascade_asr.networks.encoders")
    encoder_conf: dict[str, Any] = option({}, "arguments of the encoder")
    decoder: str = option("rnn", "decoder of cascade_asr.networks.decoders")
    decoder_conf: dict[str, Any] = option({}, "arguments of the decoder")
    ctc_conf: dict[str, Any] = option({}, "arguments of the CTC layer")
    model_conf: ModelConf = field(default_factory=ModelConf, metadata={"help": "the objective"})
    init: str | None = option(
        None, "xavier_uniform, xavier_normal, kaiming_uniform, ...; or PyTorch's"
    )
    normalize: str | None = option(
        "utterance_mvn", "utterance_mvn, speaker_mvn, global_mvn or null"
    )
    normalize_conf: dict[str, Any] = option({}, "arguments of the normalisation")
    specaug: str | None = option(None, "specaug or null")
    specaug_conf: dict[str, Any] = option({}, "arguments of SpecAugment (frames, mel bins)")

    use_amp: bool = option(False, "ESPnet2's key for mixed precision on a GPU")

    batch_type: str = option("numel", "numel, length, folded, sorted or unsorted")
    batch_bins: int = option(1_000_000, "padded elements per batch, for numel and length", least=1)
    batch_size: int = option(20, "utterances per batch, for folded, sorted and unsorted", least=1)
    valid_batch_bins: int | None = option(
        None, "batch_bins for the dev set; null: the same as batch_bins", least=1
    )
    fold_length: list[int] = option([800, 150], "frames and tokens that halve a folded batch")
    short_first_epochs: int = option(
        0, "initial epochs that go from short to long utterances", least=0
    )
    num_workers: int = option(1, "processes that read features", least=0)


def load_train_config(
    path: Path, given: Assignments | None = None
) -> tuple[TrainConfig, list[str]]:
    """Read a training configuration.

    Args:
        path: path of the YAML file.
        given: options of the command line, which override the file's.

    Returns:
        The configuration and notes on ESPnet2 keys that have no effect.

    Raises:
        ConfigError: listing every unknown key and every value of the wrong type,
            each with file and line.
    """
    content, lines = read_yaml(path)
    return train_config_from(given.put_into(content) if given else content, lines, str(path))


def train_config_from(
    content: dict[str, Any], lines: dict[str, int], where: str
) -> tuple[TrainConfig, list[str]]:
    """A training configuration from the content of a YAML file; as `load_train_config`.

    Args:
        content: keys and values; changed in place.
        lines: line of each dotted key.
        where: the file, for the messages.

    Raises:
        ConfigError: as `load_train_config`, or if it is that of a language model.
    """
    if "encoder" not in content and content.keys() & {"lm", "lm_conf"}:
        raise ConfigError(f"{where}: the configuration of a language model; expected that of a recogniser")
    notes, problems = take_espnet2_keys(content, lines, where)
    _simplify_espnet_forms(content)
    try:
        config = from_mapping(TrainConfig, content, where, lines)
    except ConfigError as error:
        problems += str(error).splitlines()
    if problems:
        raise ConfigError("\n".join(problems))
    notes += _idle_keys(config, content, lines, where)
    if config.use_amp and config.precision == "32-true":
        config.precision = "16-mixed"
    return config, notes


def _idle_keys(
    config: TrainConfig, content: dict[str, Any], lines: dict[str, int], where: str
) -> list[str]:
    """Notes on options of a part that the CTC weight leaves out."""
    weight = config.model_conf.ctc_weight
    part, names = "decoder", ("decoder", "decoder_conf", "model_conf.lsm_weight")
    if weight == 0.0:
        part, names = "CTC layer", ("ctc_conf",)
    elif weight < 1.0:
        return []
    given = [name for name in names if name in lines or (name in content and content[name])]
    return [
        f"{place(where, lines, name)}: {name} has no effect: with model_conf.ctc_weight "
        f"{weight:g} there is no {part}"
        for name in given
    ]


def _simplify_espnet_forms(content: dict[str, Any]) -> None:
    """Unwrap lists that ESPnet2 allows for a single value (``keep_nbest_models: [10]``)."""
    value = content.get("keep_nbest_models")
    if isinstance(value, list) and value and all(type(each) is int for each in value):
        content["keep_nbest_models"] = max(value)
    for name, hint in hints_of(TrainConfig).items():
        if is_nullable(hint) and content.get(name) in ("none", "None", "null", ""):
            content[name] = None
    folds = content.get("fold_length")
    if isinstance(folds, int):
        content["fold_length"] = [folds, folds]
