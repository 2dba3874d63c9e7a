"""Write a model in ESPnet2's format, and check that ESPnet's classes compute the same with it."""

from __future__ import annotations

import logging
import shutil
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from cascade_asr.data.features.fbank import feature_type
from cascade_asr.data.features.log_mel import LogMelOptions, mel_matrix, read_log_mel_options
from cascade_asr.data.token_transfer import find_beside
from cascade_asr.data.tokens import Tokenizer
from cascade_asr.errors import ConfigError
from cascade_asr.espnet2.config import OWN_BLOCK, to_espnet2
from cascade_asr.files import read_json
from cascade_asr.networks.ctc import CTC
from cascade_asr.networks.decoders import DECODERS
from cascade_asr.networks.encoders import ENCODERS
from cascade_asr.networks.espnet import espnet_module, quiet_espnet
from cascade_asr.speech.build import NORMALIZATIONS, SpecAug, build_model
from cascade_asr.speech.config import TrainConfig, load_train_config
from cascade_asr.speech.model import ASRModel
from cascade_asr.training import checkpoint
from cascade_asr.training.experiment import kept_with
from cascade_asr.training.finished import require_done

logger = logging.getLogger(__name__)

MEL_FILTERS = "frontend.logmel.melmat"
CONFIG, WEIGHTS, STATISTICS = "config.yaml", "model.pth", "feats_stats.npz"
FEATURE_OPTIONS = "fbank.conf"
CHECKED_FRAMES = 160  # length of the random utterance that is compared
CHECKED_TOKENS = 12
TOLERANCE = 1e-5  # relative to the largest value of an output


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: folder with config.yaml, model.pth and the files they name.
        archive: the same as an ESPnet2 model archive, if asked for.
        differences: largest difference between ESPnet's outputs and ours, by output.
        notes: differences from our model, for the user.
        ctc_weight: CTC weight of the model.
        from_waveforms: whether it takes waveforms instead of features.
    """

    folder: Path
    archive: Path | None
    differences: dict[str, float]
    notes: list[str]
    ctc_weight: float
    from_waveforms: bool


def export_model(stage: Path, folder: Path, archive: bool = False) -> Exported:
    """Write the model of a finished stage in ESPnet2's format, and check it.

    Paths in the config.yaml begin with ``folder`` as given, and so are valid in the
    current folder, as ESPnet2's are.

    Args:
        stage: folder of the stage, such as ``exp/TAG/stage1``.
        folder: folder to make; must not exist.
        archive: also write ``FOLDER.zip``, which ESPnet2 unpacks anywhere.

    Raises:
        ConfigError: if there is no such model, ``folder`` exists, or ESPnet's
            classes compute something different; nothing is then left behind.
    """
    _require_new(folder)  # before it is renamed: "." has no name
    packed = folder.with_name(folder.name + ".zip") if archive else None
    if packed:
        _require_new(packed)
    if not stage.is_dir():
        raise ConfigError(f"{stage}: no such folder; expected one such as exp/TAG/stage1")
    model, content, notes = _describe(stage, folder)
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _write_files(temporary, stage, content, model)
        compared = compare_with_espnet(temporary / CONFIG, temporary / WEIGHTS, model)
        if packed:
            _pack(temporary, folder, packed)
        temporary.rename(folder)
    except BaseException:
        if packed:
            packed.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    from_waveforms = content["frontend"] is not None
    return Exported(folder, packed, compared, notes, model.ctc_weight, from_waveforms)


def _require_new(path: Path) -> None:
    if path.exists():
        raise ConfigError(f"{path} already exists; move it away, or choose another name")


def _describe(stage: Path, folder: Path) -> tuple[ASRModel, dict[str, Any], list[str]]:
    """Our model, the content of its config.yaml for ESPnet2, and notes."""
    done = require_done(stage, "export")
    config, _ = load_train_config(stage / CONFIG)
    experiment = stage.parent
    tokenizer = Tokenizer.from_directory(experiment / "tokens")
    kept = read_json(experiment / "tokens" / "tokens.json")
    statistics = kept_with(stage, "cmvn.npz")
    if not statistics.is_file():
        raise ConfigError(
            f"{statistics}: not found; it contains the feature dimension: copy it from "
            "dump/TRAIN_SET/cmvn.npz"
        )
    with np.load(statistics) as arrays:
        size = len(arrays["sum"])
    model = build_model(config, tokenizer, size, statistics, config.seed)
    checkpoint.load_weights(model, checkpoint.load(done.model_path), done.model_path)
    content, notes = to_espnet2(
        config, tokenizer, kept["token_type"], size, _frontend(kept_with(stage, FEATURE_OPTIONS), config)
    )
    if kept["bpe_model"]:
        content["bpemodel"] = str(folder / kept["bpe_model"])
    if kept["non_linguistic_symbols"]:
        content["non_linguistic_symbols"] = str(folder / kept["non_linguistic_symbols"])
    if config.normalize == "global_mvn":
        content["normalize_conf"] = content["normalize_conf"] | {
            "stats_file": str(folder / STATISTICS)
        }
    content[OWN_BLOCK] |= {"stage": done.directory.name, "model_sha256": done.model_sha256}
    return model.eval(), content, notes


def _frontend(options: Path, config: TrainConfig) -> LogMelOptions | None:
    """ESPnet's frontend, if the features are ESPnet's and it can also normalise them."""
    if config.normalize == "speaker_mvn" or not options.is_file():
        return None
    return read_log_mel_options(options) if feature_type(options) == "espnet2" else None


def _write_files(
    folder: Path, stage: Path, content: dict[str, Any], model: ASRModel
) -> None:
    with (folder / CONFIG).open("w", encoding="utf-8") as stream:
        yaml.safe_dump(content, stream, sort_keys=False, allow_unicode=True)
    weights = model.state_dict()
    if content["frontend"]:
        weights = {MEL_FILTERS: mel_matrix(LogMelOptions(**content["frontend_conf"])), **weights}
    checkpoint.save(folder / WEIGHTS, weights)
    for key in ("bpemodel", "non_linguistic_symbols"):
        if content[key]:
            name = Path(content[key]).name
            shutil.copyfile(stage.parent / "tokens" / name, folder / name)
    if content["normalize"] == "global_mvn":
        shutil.copyfile(kept_with(stage, "cmvn.npz"), folder / STATISTICS)
    options = kept_with(stage, FEATURE_OPTIONS)
    if options.is_file():  # ESPnet does not read it; transcription does
        shutil.copyfile(options, folder / FEATURE_OPTIONS)


def _pack(written: Path, folder: Path, archive: Path) -> None:
    """Write an ESPnet2 model archive, whose ``meta.yaml`` lists its content.

    On unpacking, ESPnet2 replaces the members' names in config.yaml by their new paths.
    """
    inside = Path(folder.name)
    content = yaml.safe_load((written / CONFIG).read_text(encoding="utf-8"))
    for owner, key in (
        (content, "bpemodel"),
        (content, "non_linguistic_symbols"),
        (content["normalize_conf"], "stats_file"),
    ):
        if owner.get(key):
            owner[key] = str(inside / Path(owner[key]).name)
    meta = {
        "files": {"asr_model_file": str(inside / WEIGHTS)},
        "yaml_files": {"asr_train_config": str(inside / CONFIG)},
        "torch": str(torch.__version__),
    }
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as stream:
        stream.writestr("meta.yaml", yaml.safe_dump(meta))
        stream.writestr(
            str(inside / CONFIG), yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        )
        for path in sorted(written.iterdir()):
            if path.name != CONFIG:
                stream.write(path, inside / path.name)


# ---- ESPnet's own model ------------------------------------------------------------------


def espnet_class(kind: type) -> type:
    """The ESPnet class from which one of ours is derived."""
    return next(each for each in kind.__mro__ if each.__module__.startswith("espnet"))


def build_espnet_model(path: Path) -> nn.Module:
    """Build ESPnet's own ``ESPnetASRModel`` from a config.yaml, with new weights.

    Only ESPnet's task needs torchaudio; the classes that it combines do not. Its
    frontend, which needs librosa and others, is left out: the model takes features.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    vocabulary_size = len(content["token_list"])
    normalize = None
    if content["normalize"]:
        conf = dict(content["normalize_conf"])
        if "stats_file" in conf:
            conf["stats_file"] = str(find_beside(path, conf["stats_file"]))
        normalize = NORMALIZATIONS[content["normalize"]](**conf)
    encoder = espnet_class(ENCODERS[content["encoder"]])(
        input_size=_width(content), **content["encoder_conf"]
    )
    width = encoder.output_size()
    decoder = None
    if content["decoder"]:
        decoder = espnet_class(DECODERS[content["decoder"]])(
            vocab_size=vocabulary_size, encoder_output_size=width, **content["decoder_conf"]
        )
    ctc = espnet_class(CTC)(odim=vocabulary_size, encoder_output_size=width, **content["ctc_conf"])
    with quiet_espnet():
        return espnet_module("espnet2.asr.espnet_model").ESPnetASRModel(
            vocab_size=vocabulary_size,
            token_list=content["token_list"],
            frontend=None,
            specaug=SpecAug(**content["specaug_conf"]) if content["specaug"] else None,
            normalize=normalize,
            preencoder=None,
            encoder=encoder,
            postencoder=None,
            decoder=decoder,
            ctc=ctc,
            joint_network=None,
            **content["model_conf"],
        )


def _width(content: dict[str, Any]) -> int:
    """Feature dimension D."""
    return content["input_size"] or content["frontend_conf"]["n_mels"]


def compare_with_espnet(config: Path, weights: Path, ours: ASRModel) -> dict[str, float]:
    """Load an exported model into ESPnet's classes and compare it with ours.

    Encoder output, CTC log-probabilities and decoder logits of both are compared for
    one random utterance.

    Returns:
        Largest absolute difference, by output.

    Raises:
        ConfigError: if ESPnet refuses the configuration or the weights, or a difference
            is more than 1e-5 of the largest value.
    """
    try:
        with torch.random.fork_rng():
            theirs = build_espnet_model(config)
        state = torch.load(weights, map_location="cpu", weights_only=True)
        state.pop(MEL_FILTERS, None)
        theirs.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"{config}: ESPnet's classes reject this export: {error}") from error
    theirs = theirs.float().eval()
    if hasattr(theirs.decoder, "sampling_probability"):
        theirs.decoder.sampling_probability = 0.0  # ESPnet's samples outside training too
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    differences = {}
    random = torch.Generator().manual_seed(0)
    features = torch.randn(1, CHECKED_FRAMES, _width(content), generator=random)
    edge = ours.sentence_edge
    tokens = torch.randint(edge, (1, CHECKED_TOKENS), generator=random)
    tokens[0, 0] = edge
    with quiet_espnet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        pairs = zip(
            _outputs(ours, features, tokens), _outputs(theirs, features, tokens), strict=True
        )
    for (name, mine), (_, their) in pairs:
        if mine.shape != their.shape:
            raise ConfigError(
                f"{config}: export failed its check: {name} of ESPnet is {tuple(their.shape)}, ours "
                f"{tuple(mine.shape)}"
            )
        difference = float((mine - their).abs().max())
        differences[name] = difference
        if not difference <= TOLERANCE * max(1.0, float(mine.abs().max())):
            raise ConfigError(
                f"{config}: export failed its check: {name} of ESPnet differs by {difference:.2g}"
            )
    return differences


@torch.no_grad()
def _outputs(
    model: nn.Module, features: torch.Tensor, tokens: torch.Tensor
) -> list[tuple[str, torch.Tensor]]:
    """Outputs of a model, ours or ESPnet's, for one utterance (1, T, D) and (1, U)."""
    lengths = torch.tensor([features.size(1)])
    encoder_output, encoder_lengths = model.encode(features.clone(), lengths)
    outputs = [("encoder output", encoder_output)]
    if model.ctc is not None:
        outputs.append(("CTC log-probabilities", model.ctc.log_softmax(encoder_output)))
    if model.decoder is not None:
        token_lengths = torch.tensor([tokens.size(1)])
        logits = model.decoder(encoder_output, encoder_lengths, tokens, token_lengths)
        outputs.append(("decoder logits", logits[0] if isinstance(logits, tuple) else logits))
    return outputs


def usage(exported: Exported, normalize_conf: dict[str, bool] | None) -> list[str]:
    """Lines that say how to decode with ESPnet2.

    Args:
        exported: what was written.
        normalize_conf: options of the normalisation by speaker; None if there is none.
    """
    folder = exported.folder
    speech = "dump/SET/feats.scp,speech,kaldi_ark"
    if exported.from_waveforms:
        speech = "AUDIO.scp,speech,sound"  # one file per utterance
    lines = []
    if normalize_conf is not None:
        means, variances = (
            str(normalize_conf.get(name, True)).lower() for name in ("norm_means", "norm_vars")
        )
        speech = "FEATURES.scp,speech,kaldi_ark"
        lines += [
            "features normalised by speaker, with Kaldi's apply-cmvn:",
            f"  apply-cmvn --norm-means={means} --norm-vars={variances} "
            "--utt2spk=ark:dump/SET/utt2spk \\",
            "    ark:dump/SET/cmvn_speaker.ark scp:dump/SET/feats.scp ark,scp:FEATURES.ark,FEATURES.scp",
        ]
    weight = exported.ctc_weight if exported.ctc_weight in (0.0, 1.0) else 0.3
    return [
        *lines,
        "to decode with ESPnet2, from this folder:",
        f"  python -m espnet2.bin.asr_inference --asr_train_config {quote(str(folder / CONFIG))} \\",
        f"    --asr_model_file {quote(str(folder / WEIGHTS))} --output_dir DECODED --ctc_weight {weight} \\",
        f"    --data_path_and_name_and_type {speech}",
    ]
