"""Outputs of the frozen lower layers, computed once per batch and kept on disk (``cache_frozen``).

The batches of a set are the same in every epoch, only in another order, so what is read
back is identical, bit for bit, to what would be computed again.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cascade_asr.files import temporary_beside
from cascade_asr.networks.layer import Layer
from cascade_asr.networks.lower_layers import State
from cascade_asr.training.protocols import CascadeModel

logger = logging.getLogger(__name__)

SPARE = 0.9  # share of the free space that may be used


@dataclass
class FrozenOutputs:
    """The cache of the outputs of the highest frozen lower layer.

    Attributes:
        layer: name relative to the encoder, such as ``rnn0``.
        folder: folder with one file per batch.
        batches: number of batches of all sets, to estimate how much will be written.
    """

    layer: str
    folder: Path
    batches: int
    _written: int = 0  # bytes
    _seen: int = 0  # batches
    _is_full: bool = False

    def of(self, utterances: Sequence[str], features: torch.Tensor) -> _OfBatch:
        """The cached outputs of one batch, with (B, T, D) features of these utterances."""
        content = "\n".join([*utterances, str(tuple(features.shape))])
        name = hashlib.sha256(content.encode()).hexdigest()[:32]
        return _OfBatch(self, self.folder / f"{name}.pt", features)

    def has_room(self, size: int) -> bool:
        """Whether what is still to be written fits on the disk, given a batch of ``size`` bytes.

        The total size is logged at the first batch; once there is no room, nothing is written.
        """
        if self._is_full:
            return False
        self._written += size
        self._seen += 1
        needed = self.batches * self._written / self._seen
        free = shutil.disk_usage(self.folder).free
        self._is_full = needed - self._written + size > SPARE * free
        if self._seen == 1 or self._is_full:
            logger.log(
                logging.WARNING if self._is_full else logging.INFO,
                "cache_frozen: the outputs of %s take about %.1f MB in %s, where %.1f MB are free%s",
                self.layer,
                needed / 1e6,
                self.folder,
                free / 1e6,
                "; those that do not fit are computed each time" if self._is_full else "",
            )
        return not self._is_full

    def give_up(self, error: Exception) -> None:
        """Leave the disk to checkpoints: remove what is kept, and keep nothing any more.

        A user's quota may be exceeded although there is room on the disk.
        """
        self._is_full = True
        for path in self.folder.iterdir():
            path.unlink(missing_ok=True)
        logger.warning(
            "cache_frozen: cannot write to %s (%s): nothing is kept any more, and the outputs of "
            "%s are computed each time",
            self.folder,
            (str(error) or type(error).__name__).splitlines()[0],
            self.layer,
        )


@dataclass
class _OfBatch:
    outputs: FrozenOutputs
    path: Path
    features: torch.Tensor

    @property
    def layer(self) -> str:
        return self.outputs.layer

    def recall(self) -> State | None:
        if not self.path.exists():
            return None
        state = torch.load(self.path, weights_only=True)
        device = self.features.device
        on_device = [device if place else "cpu" for place in state["on_device"]]
        return tuple(
            None if each is None else each.to(place)
            for each, place in zip(state["tensors"], on_device, strict=True)
        )

    def keep(self, state: State) -> None:
        size = sum(each.numel() * each.element_size() for each in state if each is not None)
        if not self.outputs.has_room(size):
            return
        temporary = temporary_beside(self.path)
        content = {
            "tensors": [None if each is None else each.detach().cpu().clone() for each in state],
            "on_device": [each is not None and each.device.type != "cpu" for each in state],
        }
        try:
            torch.save(content, temporary)
            temporary.replace(self.path)
        except (OSError, RuntimeError) as error:  # torch.save has either for a full disk
            self.outputs.give_up(error)


def frozen_below(model: CascadeModel) -> tuple[list[Layer], str]:
    """The frozen layers at the bottom of an encoder whose outputs never change.

    Args:
        model: frozen, and in training mode.

    Returns:
        The layers, bottom to top, and why there are none.
    """
    if not hasattr(model, "frozen_outputs"):
        return [], "this kind of model has no encoder"
    if model.specaug is not None:
        return [], "specaug changes the features in each update"
    parameters = dict(model.named_parameters())
    modules = dict(model.named_modules())
    above = set(getattr(model.encoder, "classifier_layers", list)())
    candidates = [each for each in model.encoder.layers() if each.name not in above]

    def is_frozen(layer: Layer) -> bool:
        names = layer.prefixed("encoder").parameters
        return not any(parameters[name].requires_grad for name in names)

    frozen = list(takewhile(is_frozen, candidates))
    if not frozen:
        return [], f"the lowest layer, encoder.{candidates[0].name}, is trained"
    for layer in frozen:
        prefixed = layer.prefixed("encoder")
        if any(modules[name].training and modules[name].p > 0 for name in prefixed.dropouts):
            return [], f"dropout acts in {prefixed.name}; frozen_dropout: false turns it off"
        owners = {modules[name.rpartition(".")[0]] for name in prefixed.buffers}
        assert not any(isinstance(each, _BatchNorm) and each.training for each in owners)
    return frozen, ""


@contextmanager
def cached(model: nn.Module, folder: Path, batches: int) -> Iterator[None]:
    """Inside, the model computes the outputs of its frozen lower layers once per batch.

    If this is not possible, the reason is logged and everything is computed. The cache is
    removed at the end.

    Args:
        model: frozen, and in training mode.
        folder: folder for the cache; removed before and after.
        batches: number of batches of all sets.
    """
    layers, reason = frozen_below(model)
    if not layers:
        logger.warning("cache_frozen: not possible here: %s", reason)
        yield
        return
    shutil.rmtree(folder, ignore_errors=True)  # left by a killed attempt
    folder.mkdir(parents=True)
    model.frozen_outputs = FrozenOutputs(layers[-1].name, folder, batches)
    logger.info("cache_frozen: everything up to encoder.%s is computed once", layers[-1].name)
    try:
        yield
    finally:
        model.frozen_outputs = None
        shutil.rmtree(folder, ignore_errors=True)
