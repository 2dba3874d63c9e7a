"""Where an experiment's data and results are, and how its model is built."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from cascade_asr.checkpoint import file_digest
from cascade_asr.config import TrainConfig
from cascade_asr.ctc import CTC
from cascade_asr.data.atomic import atomic_write
from cascade_asr.data.batches import BatchOptions, plan_batches
from cascade_asr.data.cmvn import load_features
from cascade_asr.data.loader import BatchLoader, UtteranceDataset
from cascade_asr.data.manifest import Manifest, content_digest, read_manifest
from cascade_asr.data.tokens import Tokenizer
from cascade_asr.decoders import build_decoder, check_decoder
from cascade_asr.encoders import build_encoder, check_encoder
from cascade_asr.errors import ConfigError, DataError, nearest
from cascade_asr.espnet import espnet_module, quiet_espnet
from cascade_asr.model import ASRModel
from cascade_asr.signatures import check_conf
from cascade_asr.training_checks import check_training_options, out_of_range

NORMALIZATIONS = {
    "utterance_mvn": espnet_module("espnet2.layers.utterance_mvn").UtteranceMVN,
    "global_mvn": espnet_module("espnet2.layers.global_mvn").GlobalMVN,
}
SpecAug = espnet_module("espnet2.asr.specaug.specaug").SpecAug


@dataclass(frozen=True)
class Experiment:
    """The folders of one experiment.

    Attributes:
        directory: ``exp/TAG``; holds a copy of all that its models need.
        dump: ``dump``, made by stages 1 and 2.
        train_set, dev_set: sets inside ``dump``.
    """

    directory: Path
    dump: Path
    train_set: str
    dev_set: str

    @property
    def tokens(self) -> Path:
        """Token folder of this experiment's models."""
        return self.directory / "tokens"

    @property
    def global_cmvn(self) -> Path:
        """Global CMVN statistics of this experiment's models."""
        return self.directory / "cmvn.npz"

    @property
    def fbank_options(self) -> Path:
        """Options that the features of this experiment's models were computed with."""
        return self.directory / "fbank.conf"

    def manifest_path(self, name: str) -> Path:
        """Manifest of a set."""
        return self.dump / name / "manifest.tsv"

    def adopt(self) -> None:
        """Copy tokens and statistics of ``dump`` into the experiment.

        Raises:
            ConfigError: if the experiment has models of other tokens.
        """
        source = self.dump / "tokens"
        if not (source / "tokens.txt").is_file():
            raise ConfigError(f"{source}/tokens.txt: no tokens; run stage 2")
        if (self.tokens / "tokens.txt").is_file():
            # all files: two sentencepiece models may have the same pieces and split otherwise
            if _contents(self.tokens) != _contents(source):
                raise ConfigError(
                    f"{self.directory} holds models of other tokens than {source}/tokens.txt; "
                    "use another --tag, or remove that folder"
                )
        else:
            self.directory.mkdir(parents=True, exist_ok=True)
            temporary = self.directory / ".tokens.partial"
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.copytree(source, temporary)
            temporary.rename(self.tokens)
        for name, target in (("cmvn.npz", self.global_cmvn), ("fbank.conf", self.fbank_options)):
            source = self.dump / self.train_set / name
            if source.is_file():
                with atomic_write(target, "wb") as stream:
                    stream.write(source.read_bytes())

    def data_digest(self) -> str:
        """Hash of texts, lengths and features of both sets: what a model has seen.

        Features enter through their CMVN statistics, which no change leaves alone.
        """
        digests = []
        for name in (self.train_set, self.dev_set):
            digests.append(content_digest(self.manifest_path(name))[:16])
            statistics = self.dump / name / "cmvn.npz"
            digests.append(file_digest(statistics)[:16] if statistics.is_file() else "none")
        return "-".join(digests)


def _contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def check_config(config: TrainConfig, where: str) -> None:
    """Check a configuration against everything it names, before anything is built.

    Raises:
        ConfigError: with all problems, one a line.
    """
    problems = []
    weight = config.model_conf.ctc_weight
    if not 0.0 <= weight <= 1.0:
        problems.append(f"model_conf.ctc_weight is {weight}, expected 0 to 1")
    problems += check_encoder(config.encoder, config.encoder_conf)
    if weight < 1.0:
        problems += check_decoder(config.decoder, config.decoder_conf)
    problems += check_conf(CTC, config.ctc_conf, "ctc_conf", ("odim", "encoder_output_size"))
    known_mvn = (*NORMALIZATIONS, "speaker_mvn")
    if config.normalize is not None and config.normalize not in known_mvn:
        problems.append(
            f"unknown normalize '{config.normalize}'{nearest(config.normalize, known_mvn)}"
        )
    elif config.normalize in NORMALIZATIONS:
        kind = NORMALIZATIONS[config.normalize]
        problems += check_conf(kind, config.normalize_conf, "normalize_conf", ("stats_file",))
    if config.specaug not in (None, "specaug"):
        problems.append(f"unknown specaug '{config.specaug}'; expected specaug or null")
    elif config.specaug:
        problems += check_conf(SpecAug, config.specaug_conf, "specaug_conf") or _refusal(
            lambda: SpecAug(**config.specaug_conf), "specaug_conf"
        )
    problems += check_training_options(config)
    problems += out_of_range(
        config,
        {
            "batch_bins": 1,
            "batch_size": 1,
            "valid_batch_bins": 1,
            "num_workers": 0,
            "short_first_epochs": 0,
        },
    )
    if not 0.0 <= config.model_conf.lsm_weight < 1.0:
        problems.append(
            f"model_conf.lsm_weight is {config.model_conf.lsm_weight}, expected 0 to below 1"
        )
    if len(config.fold_length) != 2 or min(config.fold_length) < 1:
        problems.append(f"fold_length is {config.fold_length}, expected two numbers of 1 or more")
    if problems:
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems))


def _refusal(build: Callable[[], object], where: str) -> list[str]:
    """What a constructor says against values that its signature allows."""
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
        tokenizer: of the recipe.
        input_size: D of the features.
        global_cmvn: statistics, read where ``normalize`` is ``global_mvn``.
        seed: of the initial weights; the caller's random state is left alone.
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
    """New weights by ESPnet's scheme of that name."""
    try:
        with quiet_espnet():
            espnet_module("espnet2.torch_utils.initialize").initialize(model, name)
    except ValueError as error:
        raise ConfigError(f"init: {error}") from error


def _build_normalization(config: TrainConfig, global_cmvn: Path) -> torch.nn.Module | None:
    if config.normalize == "global_mvn":
        if not global_cmvn.is_file():
            raise ConfigError(f"{global_cmvn}: no global CMVN statistics; run stage 1 and stage 3")
        return NORMALIZATIONS["global_mvn"](stats_file=global_cmvn, **config.normalize_conf)
    if config.normalize == "utterance_mvn":
        return NORMALIZATIONS["utterance_mvn"](**config.normalize_conf)
    return None


def feature_dimension(manifest: Manifest) -> int:
    """D of the features of a set, read from its first utterance."""
    return int(load_features(manifest.feats[0], manifest.utterances[0]).shape[1])


@dataclass
class LoaderPlan:
    """The batches of a set and what was left out of it.

    Attributes:
        dataset, batches: what a `BatchLoader` takes.
        dropped: (utterance, encoder frames, frames needed) of utterances whose
            target does not fit.
    """

    dataset: UtteranceDataset
    batches: list[np.ndarray]
    dropped: list[tuple[str, int, int]] = field(default_factory=list)


def plan_loader(
    model: ASRModel, config: TrainConfig, experiment: Experiment, name: str
) -> LoaderPlan:
    """Read a set's manifest, drop what cannot be aligned, and cut batches.

    Raises:
        DataError: if nothing is left.
    """
    manifest = read_manifest(experiment.manifest_path(name))
    usable, dropped = usable_utterances(manifest, model)
    if not len(usable):
        raise DataError(
            f"{manifest.path}: no utterance is long enough for its text after the encoder's "
            "subsampling; use a smaller frame shift or an encoder that subsamples less"
        )
    if dropped:
        manifest = manifest.select(usable)
    speaker_cmvn = None
    if config.normalize == "speaker_mvn":
        speaker_cmvn = experiment.dump / name / "cmvn_speaker.ark"
    dimension = feature_dimension(manifest)
    bins = config.batch_bins
    if name != experiment.train_set and config.valid_batch_bins:
        bins = config.valid_batch_bins
    options = BatchOptions(config.batch_type, bins, config.batch_size, tuple(config.fold_length))
    batches = plan_batches(manifest.frames, manifest.token_lengths, dimension, options)
    return LoaderPlan(UtteranceDataset(manifest, dimension, speaker_cmvn), batches, dropped)


def usable_utterances(
    manifest: Manifest, model: ASRModel
) -> tuple[np.ndarray, list[tuple[str, int, int]]]:
    """Which utterances have enough encoder frames for their text.

    CTC needs a frame for each token and one more between two equal ones.

    Returns:
        Indices to keep, and (utterance, frames, needed) of the others.
    """
    frames = model.encoder.output_lengths(torch.from_numpy(manifest.frames)).numpy()
    needed = np.ones(len(manifest), dtype=np.int64)
    if model.ctc is not None and len(manifest.tokens):
        repeats = np.zeros(len(manifest.tokens) + 1, dtype=np.int64)
        repeats[2:] = np.cumsum(manifest.tokens[1:] == manifest.tokens[:-1])
        starts = manifest.token_ends - manifest.token_lengths
        inside = repeats[manifest.token_ends] - repeats[np.minimum(starts + 1, manifest.token_ends)]
        needed = np.maximum(needed, manifest.token_lengths + inside)
    short = frames < needed
    dropped = [
        (manifest.utterances[index], int(frames[index]), int(needed[index]))
        for index in np.flatnonzero(short)
    ]
    return np.flatnonzero(~short), dropped


def make_loader(
    plan: LoaderPlan, config: TrainConfig, training: bool, rank: int = 0, world_size: int = 1
) -> BatchLoader:
    """A loader over a plan; training shuffles the batches, evaluation does not."""
    return BatchLoader(
        plan.dataset,
        plan.batches,
        seed=config.seed if training else None,
        num_workers=config.num_workers,
        short_first_epochs=config.short_first_epochs if training else 0,
        rank=rank,
        world_size=world_size,
    )
