"""Batches of features and tokens, read from the archives in worker processes.

Only the batches in flight are held in memory, however large the corpus.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import logging
import multiprocessing
import pickle
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from cascade_asr.data.batches import epoch_order
from cascade_asr.data.features.cmvn import SpeakerMVN, load_features
from cascade_asr.data.manifest import Manifest
from cascade_asr.data.tokens import IGNORE_ID
from cascade_asr.errors import DataError

logger = logging.getLogger(__name__)

WAIT_FOR_BATCH_S = 3600  # after which a reading process counts as lost
BEGINS_WITHIN_S = 60.0  # after which a new one counts as locked up
STARTS = 3  # how often that is tried
PARENT_DEATH_SIGNAL = 1  # of prctl(2)
Item = tuple[str, np.ndarray, np.ndarray]  # utterance, features (T, D), tokens (U,)


@dataclass
class Batch:
    """Padded utterances.

    Attributes:
        utterances: their ids.
        features: (B, T, D) float32, zero beyond the lengths.
        feature_lengths: (B,) int64.
        tokens: (B, U) int64, -1 beyond the lengths.
        token_lengths: (B,) int64.
    """

    utterances: list[str]
    features: torch.Tensor
    feature_lengths: torch.Tensor
    tokens: torch.Tensor
    token_lengths: torch.Tensor
    learning_rate_scale: ClassVar[float] = 1.0

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def frames(self) -> int:
        """Feature frames without padding."""
        return int(self.feature_lengths.sum())

    @property
    def description(self) -> str:
        """The utterances, for messages."""
        return f"utterances {' '.join(self.utterances)}"

    def to(self, device: torch.device) -> Batch:
        """The batch with its features and tokens on ``device``; lengths stay on the CPU.

        Copies to a GPU start from pinned memory, so that nothing waits for them.
        """
        features, tokens = self.features, self.tokens
        if device.type == "cuda":
            features, tokens = features.pin_memory(), tokens.pin_memory()
        return Batch(
            self.utterances,
            features.to(device, non_blocking=True),
            self.feature_lengths,
            tokens.to(device, non_blocking=True),
            self.token_lengths,
        )


class UtteranceDataset(Dataset):
    """Features and tokens of the utterances of a manifest.

    Args:
        manifest: as read from stage 2.
        dimension: D that the network expects; other features are an error.
        speaker_cmvn: Kaldi statistics by speaker to normalise with; None: do not normalise.
        normalize_conf: whether means and variances are normalised (`SpeakerMVN`).
    """

    def __init__(
        self,
        manifest: Manifest,
        dimension: int,
        speaker_cmvn: Path | None = None,
        normalize_conf: Mapping[str, bool] | None = None,
    ) -> None:
        self.manifest = manifest
        self.dimension = dimension
        self.normalize = SpeakerMVN(speaker_cmvn, **(normalize_conf or {})) if speaker_cmvn else None

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> Item | DataError:
        """Utterance id, features (T, D) and token ids (U,), or what is wrong with them.

        An error is returned, not raised, because a worker process would wrap
        its traceback into the message.
        """
        try:
            return self._load(index)
        except DataError as error:
            return error

    def _load(self, index: int) -> Item:
        utterance = self.manifest.utterances[index]
        features = load_features(self.manifest.feats[index], utterance)
        if features.shape != (self.manifest.frames[index], self.dimension):
            raise DataError(
                f"utterance '{utterance}': features of shape {features.shape}, expected "
                f"({self.manifest.frames[index]}, {self.dimension}); run stages 1 and 2 again"
            )
        if self.normalize is not None:
            features = self.normalize(features, self.manifest.speakers[index])
        return utterance, features, self.manifest.token_ids(index)


def _pad(items: Sequence[Item | DataError]) -> tuple[list[str], list[np.ndarray]] | DataError:
    """Utterances and the arrays of a `Batch`, longest first; the first error wins."""
    for item in items:
        if isinstance(item, DataError):
            return item
    items = sorted(items, key=lambda item: -len(item[1]))
    feature_lengths = np.array([len(features) for _, features, _ in items], dtype=np.int64)
    token_lengths = np.array([len(tokens) for _, _, tokens in items], dtype=np.int64)
    dimension = items[0][1].shape[1]
    features = np.zeros((len(items), feature_lengths.max(), dimension), dtype=np.float32)
    tokens = np.full((len(items), token_lengths.max()), IGNORE_ID, dtype=np.int64)
    for row, (_, item_features, item_tokens) in enumerate(items):
        features[row, : len(item_features)] = item_features
        tokens[row, : len(item_tokens)] = item_tokens
    return [item[0] for item in items], [features, feature_lengths, tokens, token_lengths]


def collate(items: Sequence[Item | DataError]) -> Batch | DataError:
    """Pad utterances into a batch, longest first; the first error wins."""
    padded = _pad(items)
    if isinstance(padded, DataError):
        return padded
    utterances, arrays = padded
    return Batch(utterances, *map(torch.from_numpy, arrays))


def _pack(items: Sequence[Item | DataError]) -> bytes:
    """A padded batch as bytes, which need only the pipe between the processes.

    Tensors would travel as open files through a socket in TMPDIR. If either is
    not available, this fails in a thread that nobody waits for, and training
    waits forever.
    """
    return pickle.dumps(_pad(items), protocol=5)


def _unpack(content: bytes) -> Batch:
    """The batch that `_pack` made.

    Raises:
        DataError: if that is what `_pack` was given.
    """
    padded = pickle.loads(content)
    if isinstance(padded, DataError):
        raise padded
    utterances, arrays = padded
    return Batch(utterances, *map(torch.from_numpy, arrays))


class BatchLoader:
    """The batches of a set, epoch by epoch, from any position.

    Args:
        dataset: the utterances.
        batches: the plan, from `plan_batches`.
        seed: decides the order of the batches; None keeps the plan's order.
        num_workers: reading processes; 0 reads in this one.
        short_first_epochs: number of initial epochs that go from short to long batches.
        rank, world_size: each of ``world_size`` processes gets every
            ``world_size``-th utterance of each batch, so that a global batch is
            the same for any number of processes.
    """

    def __init__(
        self,
        dataset: UtteranceDataset,
        batches: list[np.ndarray],
        seed: int | None = None,
        num_workers: int = 0,
        short_first_epochs: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.dataset = dataset
        self.batches = merge_small(batches, world_size)
        self.seed = seed
        self.num_workers = num_workers
        self.short_first_epochs = short_first_epochs
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return len(self.batches)

    def batches_of(self, epoch: int) -> int:
        """Number of batches in an epoch, the same for all epochs."""
        return len(self)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield this process's share of the batches of an epoch.

        Args:
            epoch: counted from 1; decides the order.
            start: number of batches to skip, which a resumed training has seen.
        """
        if self.seed is None:
            order = np.arange(len(self))
        else:
            order = epoch_order(len(self), self.seed, epoch, epoch <= self.short_first_epochs)
        shares = [
            self.batches[index][self.rank :: self.world_size].tolist() for index in order[start:]
        ]
        with explain_lost_workers():
            for content in self._packed(shares):
                yield _unpack(content)

    def _packed(self, shares: list[list[int]]) -> Iterator[bytes]:
        """Packed batches of these items, from processes that have begun.

        Python up to 3.11 may lock up a new process while it starts, if threads of the training,
        such as those that connect ranks, begin or end at that moment. Such a process is replaced.

        Raises:
            DataError: if processes repeatedly do not begin.
        """
        for _ in range(STARTS):
            begun = multiprocessing.Semaphore(0)
            others = set(multiprocessing.active_children())
            batches = iter(
                DataLoader(
                    self.dataset,
                    batch_sampler=shares,
                    collate_fn=_pack,
                    num_workers=self.num_workers,
                    worker_init_fn=partial(_begin, begun),
                    timeout=WAIT_FOR_BATCH_S if self.num_workers else 0,
                )
            )
            if all(begun.acquire(timeout=BEGINS_WITHIN_S) for _ in range(self.num_workers)):
                return batches
            locked_up = set(multiprocessing.active_children()) - others
            logger.warning("a process that reads features has not begun; it is replaced")
            del batches  # which ends the processes that can end
            for worker in locked_up:
                worker.kill()
                worker.join()
        raise DataError(
            f"processes that read features did not begin within {BEGINS_WITHIN_S:g} s, {STARTS} "
            "times in a row; set num_workers: 0, and start again: training resumes"
        )


def _begin(begun: Semaphore, worker: int) -> None:
    """Say that a worker has begun, and leave it to the training process what signals mean.

    A worker killed by SIGTERM would end the training before it has saved. When the
    training ends, for whatever reason, so do its workers.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()
    begun.release()


def die_with_parent() -> None:
    """Let this process be killed when the one that has started it ends, for whatever reason."""
    with contextlib.suppress(OSError, AttributeError):  # other systems lack it
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)


def kill_workers() -> None:
    """Kill this process's reading processes, whatever they are doing."""
    for worker in multiprocessing.active_children():
        worker.kill()


# Registered after multiprocessing's own handler, so it runs first: the other sends
# SIGTERM, which workers ignore, and waits for them.
atexit.register(kill_workers)


@contextmanager
def explain_lost_workers() -> Iterator[None]:
    """Say what to do if a reading process was killed; PyTorch may report it anywhere in the block.

    Raises:
        DataError: instead of PyTorch's RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DataError(
            f"a process that reads features died ({error}), usually for lack of memory: lower "
            "num_workers or batch_bins, or ask for more memory, and start again: training resumes"
        ) from error


def merge_small(batches: list[np.ndarray], smallest: int) -> list[np.ndarray]:
    """Join neighbouring batches of fewer than ``smallest`` utterances, no more than needed.

    Raises:
        DataError: if there are fewer than ``smallest`` utterances in all.
    """
    merged: list[np.ndarray] = []
    for batch in batches:
        if merged and len(merged[-1]) < smallest:
            merged[-1] = np.concatenate([merged[-1], batch])
        else:
            merged.append(batch)
    if len(merged) > 1 and len(merged[-1]) < smallest:
        last = merged.pop()
        merged[-1] = np.concatenate([merged[-1], last])
    if not merged or len(merged[0]) < smallest:
        raise DataError(f"fewer utterances than training processes ({smallest})")
    return merged
