"""Training configuration: dataclasses filled from YAML with ESPnet2's keys.

An ESPnet2 training file works as it is. Every problem of a file is reported,
each with its line; an unknown key is an error.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

from cascade_asr.errors import ConfigError, nearest
from cascade_asr.yaml_file import read_yaml


def option(default: Any, meaning: str) -> Any:
    """A field with its meaning and unit, for error messages and documents."""
    if isinstance(default, (dict, list)):
        return field(default_factory=lambda: type(default)(default), metadata={"help": meaning})
    return field(default=default, metadata={"help": meaning})


@dataclass
class ModelConf:
    """``model_conf``: the hybrid CTC/attention objective."""

    ctc_weight: float = option(0.5, "share of the CTC loss: 1 is pure CTC, 0 pure attention")
    lsm_weight: float = option(0.0, "label smoothing: probability spread over the other tokens")
    length_normalized_loss: bool = option(False, "divide the attention loss by tokens, not B")


@dataclass
class TrainingOptions:
    """How to train, whatever is trained."""

    optim: str = option("adadelta", "optimizer")
    optim_conf: dict[str, Any] = option({}, "arguments of the optimizer; lr is the learning rate")
    scheduler: str | None = option(None, "learning-rate schedule or null")
    scheduler_conf: dict[str, Any] = option({}, "arguments of the schedule (steps are updates)")
    max_epoch: int = option(40, "epochs")
    patience: int | None = option(None, "stop after so many epochs without improvement")
    grad_clip: float = option(5.0, "largest norm of the gradient; 0 does not clip")
    grad_clip_type: float = option(2.0, "order of that norm")
    accum_grad: int = option(1, "batches an update is made of")
    precision: str = option("32-true", "32-true, bf16-mixed or 16-mixed")

    val_scheduler_criterion: list[str] = option(
        ["valid", "loss"], "what a plateau schedule watches"
    )
    early_stopping_criterion: list[str] = option(["valid", "loss", "min"], "what patience watches")
    best_model_criterion: list[list[str]] = option(
        [["valid", "loss", "min"]], "what ranks epochs; the first one names the averaged model"
    )
    keep_nbest_models: int = option(5, "epochs that are averaged into the final model")

    seed: int = option(0, "seed of initial weights, batch order and dropout")
    log_interval: int = option(50, "updates between two lines of the log")
    checkpoint_interval_s: float = option(300.0, "seconds between checkpoints inside an epoch")
    use_tensorboard: bool = option(True, "write TensorBoard files")

    # options that do not change what a training ends with
    without_effect = ("num_workers", "log_interval", "checkpoint_interval_s", "use_tensorboard")

    def digest(self) -> str:
        """A hash of everything that decides the result, for `done` markers."""
        content = dataclasses.asdict(self)
        for name in self.without_effect:
            content.pop(name, None)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@dataclass
class TrainConfig(TrainingOptions):
    """The training of a speech recognition model, as conf/train_*.yaml writes it."""

    encoder: str = option("vgg_rnn", "encoder of cascade_asr.encoders")
    encoder_conf: dict[str, Any] = option({}, "arguments of the encoder")
    decoder: str = option("rnn", "decoder of cascade_asr.decoders")
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

    use_amp: bool = option(False, "ESPnet2's name for mixed precision on a GPU")

    batch_type: str = option("numel", "numel, length, folded, sorted or unsorted")
    batch_bins: int = option(1_000_000, "padded elements of a batch, for numel and length")
    batch_size: int = option(20, "utterances of a batch, for folded, sorted and unsorted")
    valid_batch_bins: int | None = option(None, "batch_bins of the dev set; null: as batch_bins")
    fold_length: list[int] = option([800, 150], "frames and tokens that halve a folded batch")
    short_first_epochs: int = option(0, "first epochs that go from short to long utterances")
    num_workers: int = option(1, "processes that read features")


# Keys of ESPnet2 that change nothing here; a file with them works, and says so.
WITHOUT_EFFECT = {
    "num_att_plot": "the report draws attention",
    "log_level": "set by the command",
    "print_config": "use --help",
    "unused_parameters": "frozen and absent parts are known",
    "cudnn_benchmark": "off: results are reproducible",
    "cudnn_deterministic": "on: results are reproducible",
    "sort_in_batch": "batches are sorted as the network needs",
    "sort_batch": "see short_first_epochs",
    "valid_batch_type": "as batch_type",
    "resume": "a training always resumes where a checkpoint exists",
    "use_matplotlib": "the report draws",
    "report_cer": "CER and WER are always logged",
    "report_wer": "CER and WER are always logged",
    "token_type": "given by the recipe",
    "nbest_averaging_interval": "averaging happens at the end",
}


def load_train_config(path: Path) -> tuple[TrainConfig, list[str]]:
    """Read a training configuration.

    Returns:
        The configuration and notes on ESPnet2 keys that have no effect.

    Raises:
        ConfigError: listing every unknown key and every value of a wrong type,
            each with file and line.
    """
    return train_config_from(*read_yaml(path), str(path))


def train_config_from(
    content: dict[str, Any], lines: dict[str, int], where: str
) -> tuple[TrainConfig, list[str]]:
    """A training configuration from what a YAML file says; as `load_train_config`.

    Args:
        content: keys and values; changed in place.
        lines: line of each dotted key.
        where: the file, for the messages.
    """
    notes = []
    model_conf = content.get("model_conf") or {}
    for mapping, prefix in ((content, ""), (model_conf, "model_conf.")):
        for key in [key for key in mapping if key in WITHOUT_EFFECT]:
            line = lines[prefix + key]
            notes.append(f"{where}:{line}: '{key}' has no effect ({WITHOUT_EFFECT[key]})")
            del mapping[key]
    _simplify_espnet_forms(content)
    config = from_mapping(TrainConfig, content, where, lines)
    if config.use_amp and config.precision == "32-true":
        config.precision = "16-mixed"
    return config, notes


def _simplify_espnet_forms(content: dict[str, Any]) -> None:
    """ESPnet2 allows lists where one value is meant (``keep_nbest_models: [10]``)."""
    value = content.get("keep_nbest_models")
    if isinstance(value, list) and value:
        content["keep_nbest_models"] = max(value)
    for key in ("specaug", "normalize", "scheduler", "init"):
        if content.get(key) in ("none", "None", ""):
            content[key] = None
    folds = content.get("fold_length")
    if isinstance(folds, int):
        content["fold_length"] = [folds, folds]


def from_mapping(kind: type, content: dict[str, Any], where: str, lines: dict[str, int]) -> Any:
    """Fill a dataclass from a mapping and check every name and type.

    Args:
        kind: the dataclass; fields that are dataclasses take nested mappings.
        content: keys and values.
        where: the file, for the messages.
        lines: line of each dotted key.

    Raises:
        ConfigError: with all problems, one a line.
    """
    problems: list[str] = []
    result = _fill(kind, content, where, lines, "", problems)
    if problems:
        raise ConfigError("\n".join(problems))
    return result


def _fill(
    kind: type, content: Any, where: str, lines: dict[str, int], prefix: str, problems: list[str]
) -> Any:
    hints = typing.get_type_hints(kind)
    values = {}
    for key, value in (content or {}).items():
        place = f"{where}:{lines.get(prefix + str(key), 0)}"
        if key not in hints:
            problems.append(f"{place}: unknown key '{prefix}{key}'{nearest(str(key), hints)}")
            continue
        if dataclasses.is_dataclass(hints[key]):
            if value is not None and not isinstance(value, dict):
                problems.append(f"{place}: '{prefix}{key}' expects a mapping, found {value!r}")
                continue
            values[key] = _fill(hints[key], value, where, lines, f"{prefix}{key}.", problems)
            continue
        if get_origin(hints[key]) is dict and value is None:
            value = {}
        ok, converted = _convert(value, hints[key])
        if ok:
            values[key] = converted
        else:
            meaning = {each.name: each for each in dataclasses.fields(kind)}[key].metadata["help"]
            problems.append(
                f"{place}: '{prefix}{key}' expects {_type_name(hints[key])} ({meaning}), "
                f"found {value!r}"
            )
    return kind(**values)


def _convert(value: Any, hint: Any) -> tuple[bool, Any]:
    """Does ``value`` fit the type, and what is it then? Integers are good floats."""
    origin = get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        for member in get_args(hint):
            ok, converted = _convert(value, member)
            if ok:
                return True, converted
        return False, value
    if hint is Any:
        return True, value
    if hint is type(None):
        return value is None, value
    if hint is float:
        ok = isinstance(value, (int, float)) and not isinstance(value, bool)
        return ok, float(value) if ok else value
    if hint is int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return isinstance(value, int) and not isinstance(value, bool), value
    if origin is list:
        if not isinstance(value, (list, tuple)):
            return False, value
        converted = [_convert(item, get_args(hint)[0]) for item in value]
        return all(ok for ok, _ in converted), [item for _, item in converted]
    if origin is dict:
        return isinstance(value, dict), value
    return isinstance(value, hint), value


def _type_name(hint: Any) -> str:
    if get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(_type_name(member) for member in get_args(hint))
    if hint is type(None):
        return "null"
    names = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
    origin = get_origin(hint) or hint
    return names.get(hint, {list: "a list", dict: "a mapping"}.get(origin, str(hint)))
