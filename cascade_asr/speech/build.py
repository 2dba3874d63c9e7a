"""Check the configuration of a speech model, and build it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from cascade_asr.data.features.cmvn import SpeakerMVN
from cascade_asr.data.tokens import Tokenizer
from cascade_asr.errors import ConfigError, nearest, told
from cascade_asr.networks.ctc import CTC
from cascade_asr.networks.decoders import build_decoder, check_decoder
from cascade_asr.networks.encoders import build_encoder, check_encoder
from cascade_asr.networks.espnet import espnet_module, quiet_espnet
from cascade_asr.networks.utterance_mvn import UtteranceMVN
from cascade_asr.options.places import located
from cascade_asr.options.signatures import check_conf
from cascade_asr.speech.config import TrainConfig
from cascade_asr.speech.model import ASRModel
from cascade_asr.training.checks import check_training_options
from cascade_asr.training.trial import too_narrow

NORMALIZATIONS = {
    "utterance_mvn": UtteranceMVN,
    "global_mvn": espnet_module("espnet2.layers.global_mvn").GlobalMVN,
}


SpecAug = espnet_module("espnet2.asr.specaug.specaug").SpecAug
SPECAUG_BOUNDS = {
    "time_warp_window": (1, 1_000_000),
    "freq_mask_width_range": (0, 1_000_000),
    "num_freq_mask": (0, 1_000),
    "time_mask_width_range": (0, 1_000_000),
    "time_mask_width_ratio_range": (0, 1),
    "num_time_mask": (0, 1_000),
}


def check_config(config: TrainConfig, where: str) -> None:
    """Check a configuration against everything it names before anything is built.

    Raises:
        ConfigError: with all problems, one per line.
    """
    problems = []
    weight = config.model_conf.ctc_weight
    problems += check_encoder(config.encoder, config.encoder_conf)
    if weight < 1.0:
        problems += check_decoder(config.decoder, config.decoder_conf)
    problems += check_conf(CTC, config.ctc_conf, "ctc_conf", ("odim", "encoder_output_size"))
    known_mvn = {**NORMALIZATIONS, "speaker_mvn": SpeakerMVN}
    if config.normalize is not None and config.normalize not in known_mvn:
        problems.append(
            f"unknown normalize '{config.normalize}'{nearest(config.normalize, known_mvn)}"
        )
    elif config.normalize is not None:
        kind = known_mvn[config.normalize]
        problems += check_conf(kind, config.normalize_conf, "normalize_conf", ("stats_file",))
    problems += _idle_blocks(config)
    if config.specaug not in (None, "specaug"):
        problems.append(f"unknown specaug '{config.specaug}'; expected specaug or null")
    elif config.specaug:
        problems += check_conf(
            SpecAug, config.specaug_conf, "specaug_conf", bounds=SPECAUG_BOUNDS
        ) or _refusal(
            lambda: SpecAug(**config.specaug_conf), "specaug_conf"
        )
    problems += check_training_options(config)
    if not 0.0 <= config.model_conf.lsm_weight < 1.0:
        problems.append(
            f"model_conf.lsm_weight is {config.model_conf.lsm_weight}, expected 0 to below 1"
        )
    if len(config.fold_length) != 2 or min(config.fold_length) < 1:
        problems.append(f"fold_length is {config.fold_length}, expected two numbers of 1 or more")
    if problems:
        raise ConfigError(located(where, problems))


def _idle_blocks(config: TrainConfig) -> list[str]:
    """Blocks of options for a part that is left out, which would have no effect."""
    return [
        f"{name}_conf is given, but {name} is null; name it, or remove {name}_conf"
        for name in ("normalize", "specaug")
        if getattr(config, name) is None and getattr(config, f"{name}_conf")
    ]


def _refusal(build: Callable[[], object], where: str) -> list[str]:
    """A constructor's objections to values that its signature allows."""
    try:
        build()
    except (ValueError, TypeError, AssertionError) as error:
        return [f"{where}: {error}"]
    return []


def build_model(
    config: TrainConfig, tokenizer: Tokenizer, input_size: int, global_cmvn: Path, seed: int
) -> ASRModel:
    """Build a model with new weights.

    Args:
        config: checked with `check_config`.
        tokenizer: tokenizer of the recipe.
        input_size: D, feature dimension.
        global_cmvn: path of the statistics, read if ``normalize`` is ``global_mvn``.
        seed: seed of the initial weights; the caller's random state is not changed.
    """
    vocabulary_size = len(tokenizer.tokens)
    weight = config.model_conf.ctc_weight
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = build_encoder(config.encoder, input_size, config.encoder_conf)
        width = encoder.output_size()
        decoder = None
        if weight < 1.0:
            decoder = build_decoder(config.decoder, vocabulary_size, width, config.decoder_conf)
        ctc = None
        if weight > 0.0:
            ctc = CTC(odim=vocabulary_size, encoder_output_size=width, **config.ctc_conf)
        model = ASRModel(
            tokenizer,
            encoder,
            decoder,
            ctc,
            ctc_weight=weight,
            lsm_weight=config.model_conf.lsm_weight,
            length_normalized_loss=config.model_conf.length_normalized_loss,
            normalize=_build_normalization(config, global_cmvn),
            specaug=SpecAug(**config.specaug_conf) if config.specaug else None,
        )
        if config.init:
            _initialize(model, config.init)
    return model.float()


def _initialize(model: ASRModel, name: str) -> None:
    """Initialise the weights by ESPnet's scheme of that name."""
    empty = [each for each, weight in model.named_parameters() if weight.numel() == 0]
    if empty:
        raise ConfigError(f"encoder_conf: {too_narrow(empty[0])}")
    try:
        with quiet_espnet():
            espnet_module("espnet2.torch_utils.initialize").initialize(model, name)
    except Exception as error:  # whatever ESPnet or PyTorch raises for such a name
        raise ConfigError(f"init: {told(error)}") from error


def _build_normalization(config: TrainConfig, global_cmvn: Path) -> torch.nn.Module | None:
    if config.normalize == "global_mvn":
        if not global_cmvn.is_file():
            raise ConfigError(f"{global_cmvn}: no global CMVN statistics; run stage 1 and stage 3")
        return NORMALIZATIONS["global_mvn"](stats_file=global_cmvn, **config.normalize_conf)
    if config.normalize == "utterance_mvn":
        return NORMALIZATIONS["utterance_mvn"](**config.normalize_conf)
    return None
