"""Enter an ESPnet2 model as the full training of an experiment, for a cascade to start from."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from cascade_asr.cascade.engine import Engine
from cascade_asr.cascade.options import CascadeConfig
from cascade_asr.cascade.planning import Plan, make_plan
from cascade_asr.cascade.stage import StageRunner
from cascade_asr.data.features.fbank import feature_type
from cascade_asr.data.features.log_mel import LogMelOptions, mel_matrix, read_log_mel_options
from cascade_asr.data.manifest import read_manifest
from cascade_asr.data.token_transfer import find_beside
from cascade_asr.data.tokens import Tokenizer, read_token_list
from cascade_asr.errors import ConfigError
from cascade_asr.espnet2.config import ImportedConfig, read_espnet2_config
from cascade_asr.espnet2.export import MEL_FILTERS
from cascade_asr.files import atomic_write, file_digest
from cascade_asr.speech.config import TrainConfig
from cascade_asr.speech.differences import differences
from cascade_asr.speech.loading import feature_dimension
from cascade_asr.speech.model import ASRModel
from cascade_asr.speech.task import SpeechTask
from cascade_asr.training import checkpoint
from cascade_asr.training.evaluate import evaluate
from cascade_asr.training.finished import DoneStage
from cascade_asr.training.interruption import Interruption
from cascade_asr.yaml_file import read_yaml

if TYPE_CHECKING:  # takes seconds to import, and reading weights does not need it
    from lightning_fabric import Fabric

logger = logging.getLogger(__name__)

OTHER_MEAN = 0.5  # standard deviations; larger differences suggest different features


@dataclass(frozen=True)
class Source:
    """An ESPnet2 model.

    Attributes:
        config: its config.yaml.
        weights: its state dict, a .pth file.
    """

    config: Path
    weights: Path


def read_source(source: Source, task: SpeechTask, given: TrainConfig | None) -> ImportedConfig:
    """Read a model's configuration and require that it fits the data of the experiment.

    Args:
        source: the model.
        task: the data; not adopted yet, so that a refusal leaves no tokens in the experiment.
        given: the configuration of the experiment; None to use the model's.

    Raises:
        ConfigError: if the model does not exist here, takes other features or
            tokens, or ``given`` would compute something different with its weights.
    """
    imported = read_espnet2_config(source.config, training=given is None)
    if imported.frontend is not None:
        _check_features(source.config, imported.frontend, task)
    experiment = task.experiment
    manifest = read_manifest(experiment.manifest_path(experiment.train_set))
    width = feature_dimension(manifest)
    if width != imported.input_size:
        raise ConfigError(
            f"{source.config}: the model takes features of {imported.input_size} dimensions, those "
            f"of {experiment.dump / experiment.train_set} have {width}: compute the features that "
            "the model was trained with (--fbank-config), from stage 1 on"
        )
    _check_tokens(source.config, imported, task)
    if given is not None and (problems := differences(imported.config, given)):
        listed = "\n".join(f"{source.config}: {problem}" for problem in problems)
        raise ConfigError(f"{listed}\nchange --train-config, or leave it out to use the model's")
    return imported


def _check_features(path: Path, frontend: LogMelOptions, task: SpeechTask) -> None:
    """Require that both sets have the features that the model computes itself."""
    for name in (task.experiment.train_set, task.experiment.dev_set):
        options = task.experiment.dump / name / "fbank.conf"  # options that stage 1 used
        if not options.is_file():
            found = f"{options}: not found"
        elif feature_type(options) != "espnet2":
            found = f"{options}: the data have Kaldi's"
        elif (other := read_log_mel_options(options)) != frontend:
            found = f"{options}: the data have other options: {other}"
        else:
            continue
        raise ConfigError(
            f"{path}: the model takes waveforms and computes ESPnet2's log-mel features; {found}; "
            f"write the model's options to a file (python -m cascade_asr.cli.espnet2 features {path} "
            "> conf/fbank_espnet2.conf) and run stage 1 with --fbank-config"
        )


def _check_tokens(path: Path, imported: ImportedConfig, task: SpeechTask) -> None:
    folder = task.experiment.dump / "tokens"
    if not (folder / "tokens.txt").is_file():
        raise ConfigError(f"{folder}/tokens.txt: no tokens; run stage 2")
    ours = Tokenizer.from_directory(folder).tokens
    theirs = imported.token_list
    remedy = f"use the model's tokens for the data: --token-list {path} in stage 2"
    if elsewhere := _with_tokens(task.experiment.dump, theirs):
        remedy = f"stage 2 has put them into {elsewhere}: give --dump {elsewhere}"
    if ours != theirs:
        shown = f"{len(theirs)} tokens, the data have {len(ours)}"
        if len(ours) == len(theirs):
            number = next(i for i, pair in enumerate(zip(ours, theirs, strict=True))
                          if pair[0] != pair[1])  # fmt: skip
            shown = f"token {number + 1} is '{theirs[number]}', but '{ours[number]}' in the data"
        raise ConfigError(f"{path}: token_list: {shown}; {remedy}")
    model = folder / "bpe.model"
    named = read_yaml(path)[0].get("bpemodel")
    if imported.token_type == "bpe" and named:
        found = find_beside(path, named)
        if not model.is_file() or model.read_bytes() != found.read_bytes():
            raise ConfigError(f"{path}: bpemodel: {found} is not {model}; {remedy}")


def _with_tokens(dump: Path, tokens: list[str]) -> Path | None:
    """The folder in ``dump`` in which stage 2 has put these tokens, if there is one."""
    for listed in sorted(dump.glob("tokens_*/tokens/tokens.txt")):
        if read_token_list(listed) == tokens:
            return listed.parent.parent
    return None


def read_weights(path: Path) -> checkpoint.StateDict:
    """Read an ESPnet2 state dict.

    Raises:
        ConfigError: if it is not a state dict, or has weights that are not finite.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file of weights")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds of errors for a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(f"{path}: not a PyTorch weights file ({reason})") from error
    if isinstance(weights, dict) and isinstance(weights.get("module"), dict):
        weights = weights["module"]  # written by DeepSpeed
    if not isinstance(weights, dict) or not all(map(torch.is_tensor, weights.values())):
        raise ConfigError(
            f"{path}: expected only names and weights; of ESPnet2's files, use the model "
            "(valid.acc.ave.pth, 10epoch.pth), not checkpoint.pth"
        )
    for name, tensor in weights.items():
        if not bool(tensor.isfinite().all()):
            raise ConfigError(f"{path}: '{name}' has values that are not finite")
    return dict(weights)


def write_config(path: Path, config: TrainConfig) -> None:
    """Write a training configuration for ``--train-config``."""
    with atomic_write(path) as stream:
        yaml.safe_dump(dataclasses.asdict(config), stream, sort_keys=False)


def import_model(
    source: Source,
    imported: ImportedConfig,
    task: SpeechTask,
    config: TrainConfig,
    cascade: CascadeConfig,
    fabric: Fabric,
) -> DoneStage:
    """Write ``exp/TAG/full`` as full training would, with the model's weights.

    Args:
        source: the model.
        imported: its configuration, from `read_source`.
        task: adopted task.
        config, cascade: options of the experiment, as for stages 3 and 4.
        fabric: launched, with one rank.

    Raises:
        ConfigError: if the weights do not fit, or there already is a full training.
    """
    plan = make_plan(task, config, cascade)
    model: Any = plan.model
    weights = _without_frontend(read_weights(source.weights), source, imported.frontend)
    checkpoint.check_weights(model, weights, source.weights)
    _warn_of_other_features(model, weights)
    model.load_state_dict(weights)
    runner = StageRunner(task, fabric, Interruption())
    origin = {
        "imported_config": str(source.config),
        "imported_config_sha256": file_digest(source.config),
        "imported_weights": str(source.weights),
        "imported_weights_sha256": file_digest(source.weights),
    }
    done = runner.enter(
        plan.stages[0],
        model,
        lambda directory: _evaluate(task, plan, config, fabric, directory),
        origin,
    )
    Engine(runner, plan.branches, cascade, plan.select).write_selection()
    return done


def _without_frontend(
    weights: checkpoint.StateDict, source: Source, frontend: LogMelOptions | None
) -> checkpoint.StateDict:
    """Weights of the network without the frontend.

    The frontend has no trainable weights; its mel filters must be those of stage 1.
    """
    if frontend is None:
        return weights
    filters = weights.pop(MEL_FILTERS, None)
    if filters is None:
        raise ConfigError(f"{source.weights}: '{MEL_FILTERS}' is missing")
    expected = mel_matrix(frontend)
    if filters.shape != expected.shape or not torch.allclose(filters, expected, atol=1e-6):
        raise ConfigError(
            f"{source.weights}: '{MEL_FILTERS}' is not what frontend_conf of {source.config} gives"
        )
    return weights


def _evaluate(
    task: SpeechTask, plan: Plan, config: TrainConfig, fabric: Fabric, directory: Path
) -> dict[str, float]:
    """Dev metrics of the plan's model; lists of what is left out are written to ``directory``."""
    data = task.data(plan.model, config)
    data.record(directory)
    metrics = evaluate(fabric, plan.model.to(fabric.device), data.dev)
    shown = " ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    logger.info("the imported model on %s: %s", task.experiment.dev_set, shown)
    return metrics


def _warn_of_other_features(model: ASRModel, weights: checkpoint.StateDict) -> None:
    """Warn if the global statistics of the model and of our data suggest different features."""
    if "normalize.mean" not in weights or "normalize.std" not in weights:
        return
    ours, theirs = model.normalize, weights
    distance = (ours.mean - theirs["normalize.mean"]).abs() / theirs["normalize.std"]
    if float(distance.max()) > OTHER_MEAN:
        logger.warning(
            "the mean of the data's features differs by up to %.1f standard deviations from what "
            "the model was trained with: are they computed alike (scale, mel bins, frame shift)?",
            float(distance.max()),
        )
    elif float(distance.max()) > 0:
        logger.warning(
            "the model keeps its own global statistics; cascade stages use those of the data"
        )
