"""Convert ESPnet2's ``config.yaml`` of a model to our training configuration and back.

Most keys are the same. ESPnet2's keys that describe its data pipeline have no
counterpart and are left out; those that would change the model are errors.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade_asr.data.features.log_mel import LogMelOptions, from_frontend_conf
from cascade_asr.data.token_transfer import tokens_of_configuration
from cascade_asr.data.tokens import Tokenizer
from cascade_asr.errors import ConfigError
from cascade_asr.options.types import hints_of, is_nullable
from cascade_asr.speech.build import check_config
from cascade_asr.speech.config import ModelConf, TrainConfig, train_config_from
from cascade_asr.yaml_file import read_yaml

OWN_BLOCK = "cascade_asr"  # block of an exported config.yaml for what ESPnet2 has no key for

# keys that change the model, and the values with which it stays as it is
_NEUTRAL = {
    "preencoder": (None,),
    "postencoder": (None,),
    "model": (None, "espnet"),
    "use_adapter": (None, False),
    "preprocessor": (None, "default"),
    "speech_volume_normalize": (None,),
    "model_conf.interctc_weight": (0.0,),
    "model_conf.ignore_id": (-1,),
    "model_conf.aux_ctc": (None, {}),
    "model_conf.transducer_multi_blank_durations": (None, []),
    "model_conf.sym_blank": ("<blank>",),
    "model_conf.sym_space": ("<space>",),
    "model_conf.sym_sos": ("<sos/eos>",),
    "model_conf.sym_eos": ("<sos/eos>",),
    "model_conf.lang_token_id": (-1,),
}
_MODEL_KEYS = ("encoder", "encoder_conf", "decoder", "decoder_conf", "ctc_conf", "model_conf",
               "normalize", "normalize_conf")  # fmt: skip
_OWN_KEYS = (  # keys that ESPnet2 does not have
    "precision", "short_first_epochs", "checkpoint_interval_s", "cache_frozen",
)  # fmt: skip

# keys that do not apply to any training of ours and are left out silently
_UNTOLD = ("num_att_plot", "log_level", "print_config", "unused_parameters", "cudnn_benchmark",
           "cudnn_deterministic", "sort_in_batch", "sort_batch", "valid_batch_type", "resume",
           "use_matplotlib", "nbest_averaging_interval")  # fmt: skip


@dataclass
class ImportedConfig:
    """What an ESPnet2 configuration says about its model.

    Attributes:
        config: the configuration in our keys.
        token_list: V tokens.
        token_type: ``char``, ``bpe``, ...; None if not given.
        input_size: D, feature dimension.
        frontend: how the features are computed from a waveform; None for a model
            that takes features.
        notes: what was dropped, for the user.
    """

    config: TrainConfig
    token_list: list[str]
    token_type: str | None
    input_size: int
    frontend: LogMelOptions | None = None
    notes: list[str] = field(default_factory=list)


def read_espnet2_config(path: Path, training: bool = True) -> ImportedConfig:
    """Read the ``config.yaml`` that ESPnet2 wrote beside a trained model.

    Args:
        path: path of the file.
        training: also take over how it was trained, not only the network.

    Raises:
        ConfigError: listing every key that describes a model that does not exist here.
    """
    content, lines = read_yaml(path)
    problems = _unsupported(content, lines, path)
    size, frontend = None, None
    try:
        size, frontend = _input(content, path)
    except ConfigError as error:
        problems.append(str(error))
    tokens: list[str] = []
    try:
        tokens = tokens_of_configuration(path, content)
    except ConfigError as error:
        problems.append(str(error))
    for part in ("encoder", "decoder"):
        if content.get(f"{part}_conf") is None:
            content.pop(f"{part}_conf", None)
    if frontend is not None:
        _count_in_features(content, frontend)
    own = (content.pop(OWN_BLOCK, None) or {}).get("train_config", {})
    taken, left_out = _take(content, training)
    for key, value in own.items():
        if training or key in _MODEL_KEYS:
            taken[key] = taken.get(key, {}) | value if isinstance(value, dict) else value
    config = TrainConfig()
    try:
        config, notes = train_config_from(taken, lines, str(path))
        check_config(config, str(path))
    except ConfigError as error:
        problems += str(error).splitlines()
        if training:
            problems.append(
                f"{path}: if only the training options are the problem (optim, scheduler, batches), "
                "give your own with --train-config"
            )
    if problems:
        raise ConfigError("\n".join(problems))
    notes = [f"{path}: not used here: {', '.join(left_out)}"] if left_out else []
    return ImportedConfig(config, tokens, content.get("token_type"), size, frontend, notes)


def _unsupported(content: dict[str, Any], lines: dict[str, int], path: Path) -> list[str]:
    """Problems with keys that would change the model."""
    problems = []
    for key, accepted in _NEUTRAL.items():
        owner, _, name = key.rpartition(".")
        block = content.get(owner) or {} if owner else content
        value = block.pop(name, accepted[0])
        if value not in accepted:
            problems.append(
                f"{path}:{lines[key]}: {key}: {value!r} is not supported: it changes the model"
            )
    for key in ("transducer_multi_blank_sigma", "extract_feats_in_collect_stats",
                "autocast_frontend"):  # fmt: skip
        (content.get("model_conf") or {}).pop(key, None)
    return problems


def _input(content: dict[str, Any], path: Path) -> tuple[int, LogMelOptions | None]:
    """Feature dimension D, and how the model computes the features if it takes waveforms."""
    size, frontend = content.get("input_size"), content.pop("frontend", None)
    conf = content.pop("frontend_conf", None) or {}
    if size is not None:
        return int(size), None  # ESPnet2 then builds no frontend
    if frontend is None:
        raise ConfigError(f"{path}: no input_size: is it the config.yaml of a trained model?")
    if frontend != "default":
        raise ConfigError(
            f"{path}: frontend: '{frontend}' is not supported: only models with extracted features "
            "(input_size) or ESPnet2's default frontend can be imported"
        )
    try:
        options = from_frontend_conf(conf)
    except ValueError as error:
        raise ConfigError(f"{path}: frontend_conf: {error}") from error
    return options.n_mels, options


def _count_in_features(content: dict[str, Any], frontend: LogMelOptions) -> None:
    """Convert batch sizes in waveform samples to equivalent ones in features."""
    content.pop("fold_length", None)
    factor = {"numel": frontend.n_mels, "length": 1}.get(content.get("batch_type"))
    for key in ("batch_bins", "valid_batch_bins"):
        if factor and isinstance(content.get(key), int):
            content[key] = max(1, content[key] * factor // frontend.hop_length)


def _take(content: dict[str, Any], training: bool) -> tuple[dict[str, Any], list[str]]:
    """The keys that we have too, and the names of the others that are set."""
    fields = hints_of(TrainConfig)
    wanted = fields if training else _MODEL_KEYS
    taken: dict[str, Any] = {}
    left_out = []
    for key, value in content.items():
        if key in ("token_list", "token_type", "input_size"):
            continue
        nullable = key in fields and is_nullable(fields[key])
        folds = key == "fold_length" and not (isinstance(value, list) and len(value) == 2)
        if key in wanted and (value is not None or nullable) and not folds:
            taken[key] = value
        elif value not in (None, {}, [], False) and key not in (*fields, *_UNTOLD):
            left_out.append(key)
    taken["normalize_conf"] = dict(taken.get("normalize_conf") or {})
    taken["normalize_conf"].pop("stats_file", None)  # the statistics are among the weights
    taken.setdefault("normalize", content.get("normalize"))
    for name in ("normalize", "scheduler", "specaug"):
        if name in taken and taken[name] in (None, "none", "None"):
            taken.pop(f"{name}_conf", None)  # ESPnet2 ignores it too
    pure_ctc = (content.get("model_conf") or {}).get("ctc_weight", ModelConf.ctc_weight) >= 1.0
    criteria = taken.get("best_model_criterion")
    if isinstance(criteria, list):
        taken["best_model_criterion"] = _ranked(criteria, pure_ctc)
    if pure_ctc:
        taken.pop("decoder", None)  # ESPnet2 builds it and discards it
        taken.pop("decoder_conf", None)
    return taken, left_out


def _ranked(criteria: list[Any], pure_ctc: bool) -> list[Any]:
    """Criteria of the best epochs in the order in which ESPnet2's recipes choose models.

    ESPnet2 keeps a model for each and its recipes use ``valid.acc.ave.pth``; ours
    averages by the first one. ESPnet2 also skips metrics that are not logged.
    """
    logged = [each for each in criteria if not (pure_ctc and each[1:2] == ["acc"])]
    return sorted(logged, key=lambda each: (each[:1] != ["valid"], each[1:2] != ["acc"]))


def to_espnet2(
    config: TrainConfig,
    tokenizer: Tokenizer,
    token_type: str,
    input_size: int,
    frontend: LogMelOptions | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Make the content of ESPnet2's ``config.yaml`` for one of our models.

    Paths (``bpemodel``, ``non_linguistic_symbols``, ``normalize_conf.stats_file``)
    are null, because only the caller knows them.

    Args:
        config, tokenizer: those of the model.
        token_type: ``char`` or ``bpe``.
        input_size: D, feature dimension.
        frontend: options with which ESPnet can compute the features from a waveform;
            None if it cannot.

    Returns:
        Keys and values, and notes for the user on differences from our model.
    """
    content, own, notes = _without_own_options(config)
    content |= {
        "token_list": list(tokenizer.tokens),
        "token_type": token_type,
        "bpemodel": None,
        "non_linguistic_symbols": None,
        "cleaner": None,
        "g2p": None,
        "use_preprocessor": True,
        "preprocessor": "default",
        "preprocessor_conf": {},
        "input_size": None if frontend else input_size,
        "frontend": "default" if frontend else None,
        "frontend_conf": dataclasses.asdict(frontend) if frontend else {},
        "preencoder": None,
        "preencoder_conf": {},
        "postencoder": None,
        "postencoder_conf": {},
        "joint_net_conf": None,
        "model": "espnet",
        OWN_BLOCK: {"train_config": own},
    }
    return content, notes


def _without_own_options(
    config: TrainConfig,
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Options that ESPnet2 has too, those that it lacks, and notes on differences."""
    notes = []
    content = dataclasses.asdict(config)
    own: dict[str, Any] = {
        key: content[key] for key in _OWN_KEYS if content[key] != getattr(TrainConfig, key)
    }
    for key in _OWN_KEYS:
        del content[key]
    if config.normalize == "speaker_mvn":
        own |= {"normalize": "speaker_mvn", "normalize_conf": config.normalize_conf}
        content |= {"normalize": None, "normalize_conf": {}}
        notes.append(
            "ESPnet has no speaker normalisation (speaker_mvn): give it features that are "
            "already normalised by speaker"
        )
    dropout = config.encoder_conf.get("dropout", 0.0)
    projected = config.encoder_conf.get("use_projection", True)
    if config.encoder in ("rnn", "vgg_rnn") and projected and dropout:
        own["encoder_conf"] = {"dropout": dropout}
        content["encoder_conf"] = config.encoder_conf | {"dropout": 0.0}
        notes.append(
            f"encoder_conf.dropout {dropout} is written as 0.0: between projected RNN layers ESPnet "
            "applies dropout in decoding too"
        )
    if config.model_conf.ctc_weight >= 1.0:
        content |= {"decoder": None, "decoder_conf": {}}
    return content, own, notes
