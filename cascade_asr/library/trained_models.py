"""Find a trained model wherever it is: in a stage, an experiment, or an export to ESPnet2.

Features, normalisation and tokens come with it.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import kaldiio
import numpy as np

from cascade_asr.data.features.extraction import SPEECH_FEATURE
from cascade_asr.data.features.fbank import compute_fbank, feature_type, read_fbank_options
from cascade_asr.data.features.log_mel import (
    LogMelOptions,
    compute_log_mel,
    read_log_mel_options,
)
from cascade_asr.data.token_transfer import copy_tokens, find_beside
from cascade_asr.errors import ConfigError
from cascade_asr.espnet2.config import read_espnet2_config
from cascade_asr.espnet2.export import CONFIG, FEATURE_OPTIONS, MEL_FILTERS, WEIGHTS
from cascade_asr.espnet2.import_model import read_weights
from cascade_asr.files import read_json
from cascade_asr.speech.build import build_model
from cascade_asr.speech.config import TrainConfig, load_train_config
from cascade_asr.speech.load_trained import load_trained
from cascade_asr.speech.model import ASRModel
from cascade_asr.training import checkpoint
from cascade_asr.training.experiment import kept_with
from cascade_asr.yaml_file import read_yaml

EXPECTED = (
    "expected an experiment (exp/TAG), one of its stages (exp/TAG/full), an ESPnet2 folder with "
    "config.yaml and model.pth, or a zip of one of them"
)


@dataclass(frozen=True)
class Features:
    """How a model's features are computed.

    Attributes:
        rate: sampling rate of the audio, in Hz.
        compute: maps samples (frames,) at that rate, ±32768, to features (T, D) float32.
        dimension: D.
    """

    rate: int
    compute: Callable[[np.ndarray], np.ndarray]
    dimension: int


@dataclass(frozen=True)
class TrainedModel:
    """A model and everything that it needs.

    Attributes:
        path: where it was found.
        model: the model in evaluation mode, on the CPU.
        config: configuration of its training.
        features: how its input features are computed.
    """

    path: Path
    model: ASRModel
    config: TrainConfig
    features: Features


def find_model(path: Path, fbank_config: Path | None = None) -> TrainedModel:
    """Load a trained model.

    Args:
        path: a stage, an experiment (its selected stage), an ESPnet2 folder, or an
            ESPnet2 model archive.
        fbank_config: options of its features, if the model does not include them.

    Raises:
        ConfigError: if there is no finished model, or its features are unknown.
    """
    if path.is_file() and path.suffix == ".pth":  # which is a zip, too
        raise ConfigError(f"{path}: weights alone; give the folder of the model, {path.parent}")
    if path.is_file() and zipfile.is_zipfile(path):
        with tempfile.TemporaryDirectory() as folder:
            # in a folder of its own, because a stage's tokens are looked for in the one above it
            return _from_archive(path, Path(folder) / "unpacked", fbank_config)
    if not path.is_dir():
        what = "neither a folder nor a zip" if path.exists() else "no such file or folder"
        raise ConfigError(f"{path}: {what}; {EXPECTED}")
    if (path / "selection.json").is_file():
        selected = path / _selected(path)
        if not selected.is_dir():
            raise ConfigError(
                f"{selected}: not there, although dev selected it: it was set aside to be trained again "
                "(./run.sh --stage 3); name another training until then"
            )
        return _from_stage(selected, fbank_config)
    if (path / "done.json").is_file() or (path / "lineage.json").is_file():
        return _from_stage(path, fbank_config)
    if (path / CONFIG).is_file() and not (path / "identity.json").is_file():
        return _from_espnet2(path / CONFIG, _only_weights(path), path, fbank_config)
    if (path / "identity.json").is_file():
        raise ConfigError(f"{path}: this training is not finished; run the stage to its end first")
    if (path / "full").is_dir():
        raise ConfigError(f"{path}/selection.json: not found; run stage 3 to its end first")
    raise ConfigError(f"{path}: no trained model; {EXPECTED}")


def _selected(experiment: Path) -> str:
    """Name of the stage that the dev metric selects."""
    name = read_json(experiment / "selection.json").get("selected")
    if not isinstance(name, str):
        raise ConfigError(f"{experiment}/selection.json: no stage is selected; run stage 3 again")
    return name


def _from_stage(stage: Path, fbank_config: Path | None) -> TrainedModel:
    config, _ = load_train_config(stage / CONFIG)
    options = fbank_config or kept_with(stage, FEATURE_OPTIONS)
    if not options.is_file():
        raise ConfigError(
            f"{options}: not found; it says how the model's features are computed: give the file "
            "that stage 1 used (fbank_config=, --fbank-config). A model on features with context "
            "(--add-deltas, --splice), or on those of a data folder, does not take audio: decode "
            "with its recipe's stage 5"
        )
    # stage 1 stores features in 8 bits: those for transcription must be the same
    features = _features(options, compressed=True)
    return TrainedModel(stage, load_trained(stage, features.dimension), config, features)


def _from_archive(path: Path, folder: Path, fbank_config: Path | None) -> TrainedModel:
    """Load an ESPnet2 model archive, or any zip of a model's folder."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            parts = PurePosixPath(name).parts
            if name.startswith("/") or ".." in parts:
                raise ConfigError(f"{path}: '{name}' leads out of the archive; it is not unpacked")
        archive.extractall(folder)
    if (folder / "meta.yaml").is_file():
        meta, _ = read_yaml(folder / "meta.yaml")
        config = (meta.get("yaml_files") or {}).get("asr_train_config")
        weights = (meta.get("files") or {}).get("asr_model_file")
        if not config or not weights:
            raise ConfigError(
                f"{path}: meta.yaml names no asr_train_config and asr_model_file: is it an archive "
                "of a speech recogniser?"
            )
        return _from_espnet2(folder / config, folder / weights, path, fbank_config)
    own = _own_folder(path, folder)
    if own is not None:
        found = find_model(own, fbank_config)
        return replace(found, path=path / found.path.relative_to(folder))
    configs = sorted(folder.rglob(CONFIG))
    if len(configs) != 1:
        raise ConfigError(f"{path}: {len(configs)} files {CONFIG} in it, expected one; {EXPECTED}")
    return _from_espnet2(configs[0], _only_weights(configs[0].parent), path, fbank_config)


def _own_folder(path: Path, folder: Path) -> Path | None:
    """The experiment, or its only stage, in a zip of ours; None if it is not ours.

    Raises:
        ConfigError: if it is not clear which one is meant, or a stage is alone in the zip.
    """
    stages = sorted({each.parent for name in ("done.json", "lineage.json") for each in folder.rglob(name)})
    if not stages:
        return None
    experiments = sorted({each.parent for each in stages})
    if len(experiments) == 1 and not (experiments[0] / "tokens").is_dir():
        raise ConfigError(
            f"{path}: a stage alone; its tokens and the options of its features are in the folder "
            "above it: put that one into the zip, with the stage in it, or export the stage: python -m "
            f"cascade_asr.cli.espnet2 export exp/TAG/{stages[0].name} exported --archive"
        )
    if len(experiments) == 1 and (experiments[0] / "selection.json").is_file():
        selected = experiments[0] / _selected(experiments[0])
        if selected in stages or len(stages) > 1:
            return experiments[0]
    if len(stages) == 1:
        return stages[0]
    raise ConfigError(
        f"{path}: contains {len(stages)} trained stages and no selection.json; keep only one"
    )


def _only_weights(folder: Path) -> Path:
    """``model.pth``, the averaged model of ESPnet2's recipes, or the only .pth file."""
    for name in (WEIGHTS, "valid.acc.ave.pth", "valid.acc.best.pth"):
        if (folder / name).is_file():
            return folder / name
    found = sorted(each for each in folder.glob("*.pth") if each.name != "checkpoint.pth")
    if len(found) != 1:
        raise ConfigError(
            f"{folder}: {len(found)} files of weights (*.pth), expected {WEIGHTS}; rename the one "
            "to use, or keep only that one"
        )
    return found[0]


def _from_espnet2(
    config_path: Path, weights_path: Path, told: Path, fbank_config: Path | None
) -> TrainedModel:
    imported = read_espnet2_config(config_path, training=False)
    if imported.frontend is not None:
        # an export of ours was trained on what stage 1 stored; ESPnet2's own models were not
        own = config_path.with_name(FEATURE_OPTIONS).is_file()
        features = _log_mel(imported.frontend, compressed=own)
    else:
        options = fbank_config or config_path.with_name(FEATURE_OPTIONS)
        if not options.is_file():
            raise ConfigError(
                f"{told}: the model takes features but does not say how they are computed: put "
                f"their options beside its config.yaml as {FEATURE_OPTIONS}, or give them "
                "(fbank_config=, --fbank-config)"
            )
        features = _features(options, compressed=True)
    if features.dimension != imported.input_size:
        raise ConfigError(
            f"{told}: the model takes features of {imported.input_size} dimensions, but the options "
            f"give {features.dimension}; use those that it was trained with"
        )
    weights = read_weights(weights_path)
    weights.pop(MEL_FILTERS, None)
    with tempfile.TemporaryDirectory() as folder:
        tokens = copy_tokens(config_path, Path(folder) / "tokens", _symbols(config_path))
        statistics = Path(folder) / "cmvn.npz"
        ones = np.ones(imported.input_size)  # the true ones are among the weights
        np.savez(statistics, count=np.array(1), sum=0 * ones, sum_square=ones)
        model = build_model(imported.config, tokens, imported.input_size, statistics, 0)
    checkpoint.load_weights(model, weights, weights_path)
    return TrainedModel(told, model.eval(), imported.config, features)


def _symbols(config_path: Path) -> Path | None:
    """The non-linguistic symbols that a configuration names."""
    content: dict[str, Any] = read_yaml(config_path)[0]
    named = content.get("non_linguistic_symbols")
    return find_beside(config_path, named) if isinstance(named, str) and named else None


def _features(options: Path, compressed: bool) -> Features:
    """How an option file says that features are computed."""
    if feature_type(options) == "espnet2":
        return _log_mel(read_log_mel_options(options), compressed)
    fbank = read_fbank_options(options)
    rate = int(fbank.frame_opts.samp_freq)
    return _complete(rate, lambda samples: compute_fbank(samples, rate, fbank, ""), compressed)


def _log_mel(options: LogMelOptions, compressed: bool) -> Features:
    return _complete(
        options.fs, lambda samples: compute_log_mel(samples, options.fs, options, ""), compressed
    )


def _complete(
    rate: int, compute: Callable[[np.ndarray], np.ndarray], compressed: bool
) -> Features:
    dimension = compute(np.zeros(rate, dtype=np.float32)).shape[1]
    if compressed:
        return Features(rate, lambda samples: _as_stored(compute(samples)), dimension)
    return Features(rate, compute, dimension)


def _as_stored(features: np.ndarray) -> np.ndarray:
    """Features as they are read back from stage 1's archives."""
    if not len(features):
        return features
    stream = io.BytesIO()
    kaldiio.save_ark(stream, {"u": features}, compression_method=SPEECH_FEATURE)
    stream.seek(0)
    return next(iter(kaldiio.load_ark(stream)))[1]
