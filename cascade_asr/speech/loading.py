"""From manifests to batches: what is left out, and how sets are divided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from cascade_asr.data.batches import BatchOptions, plan_batches
from cascade_asr.data.features.cmvn import load_features
from cascade_asr.data.loader import BatchLoader, UtteranceDataset
from cascade_asr.data.manifest import Manifest, read_manifest
from cascade_asr.errors import DataError
from cascade_asr.speech.config import TrainConfig
from cascade_asr.speech.model import ASRModel
from cascade_asr.training.experiment import Experiment


def feature_dimension(manifest: Manifest) -> int:
    """Feature dimension D of a set, read from its first utterance."""
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
    """Read a set's manifest, drop what cannot be aligned, and form batches.

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
    dataset = UtteranceDataset(manifest, dimension, speaker_cmvn, config.normalize_conf)
    return LoaderPlan(dataset, batches, dropped)


def usable_utterances(
    manifest: Manifest, model: ASRModel
) -> tuple[np.ndarray, list[tuple[str, int, int]]]:
    """Which utterances have enough encoder frames for their text.

    CTC needs one frame per token and one more between two equal tokens.

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
    """A loader for a plan; training shuffles the batches, evaluation does not."""
    return BatchLoader(
        plan.dataset,
        plan.batches,
        seed=config.seed if training else None,
        num_workers=config.num_workers,
        short_first_epochs=config.short_first_epochs if training else 0,
        rank=rank,
        world_size=world_size,
    )


def batches_by_length(
    indices: Iterable[int], frames: Sequence[int], batch_frames: int
) -> list[list[int]]:
    """Batches of utterances of similar lengths, longest first, as these need most memory.

    Args:
        indices: indices of the utterances.
        frames: feature frames of every utterance of the set.
        batch_frames: most frames in a batch, padding included; a longer utterance
            is a batch by itself.
    """
    batches: list[list[int]] = []
    for index in sorted(indices, key=lambda index: (-int(frames[index]), index)):
        if batches and (len(batches[-1]) + 1) * int(frames[batches[-1][0]]) <= batch_frames:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def groups_of_like_lengths(frames: Sequence[int], least_filled: float) -> list[list[int]]:
    """Groups of indices of utterances of similar lengths, longest first.

    Args:
        frames: number of frames of every utterance.
        least_filled: the shortest utterance of a group has at least this share of the
            longest one's frames.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(frames)), key=lambda index: -frames[index]):
        if groups and frames[index] >= least_filled * frames[groups[-1][0]]:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
