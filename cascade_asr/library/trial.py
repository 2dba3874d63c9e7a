"""What is tried with a user's module before it is trained: a batch through a new network."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from cascade_asr.errors import ConfigError
from cascade_asr.library.data import ItemLoader
from cascade_asr.library.task import ModuleOptions, ModuleTask
from cascade_asr.networks.observation import order_of_calls

if TYPE_CHECKING:
    from lightning_fabric import Fabric

logger = logging.getLogger(__name__)


def check_order_of_layers(task: ModuleTask, options: ModuleOptions, fabric: Fabric) -> None:
    """Check that the network calls its layers from the first to the last.

    Otherwise the upper layers of the plan would not be the network's.

    Raises:
        ConfigError: if not, and the order was found instead of given; a given one is warned of.
    """
    network = fabric.to_device(task.build_model(options, options.seed)).eval()
    batch = task.data(network, options).trial_batches()[0]
    layers = network.layers()
    with order_of_calls(network, layers) as called, torch.no_grad(), torch.random.fork_rng():
        with fabric.autocast():
            network(batch.to(fabric.device))
    expected = [layer.name for layer in layers if layer.name in called]
    if called == expected:
        return
    told = (
        f"layers: {', '.join(expected)} is the order {{}}, but the network calls "
        f"{', '.join(called)}"
    )
    if task.layer_names is None:
        raise ConfigError(
            f"{told.format('in which they are registered')}; name them from input to output with "
            f"layers=, for example layers={called}"
        )
    logger.warning("%s; is it the one from input to output?", told.format("given"))


def check_smallest_batch(task: ModuleTask, options: ModuleOptions, fabric: Fabric) -> None:
    """Check that the network can be trained on a batch of one item, if the epochs end with one.

    Raises:
        ConfigError: if not, such as for BatchNorm1d; the first epoch would fail at its end.
    """
    size = options.batch_size
    if ItemLoader(task.train, size, None, 0, fabric.world_size).smallest > 1:
        return
    network = fabric.to_device(task.build_model(options, options.seed)).train()
    batch = next(ItemLoader(task.train, 1).epoch(1)).to(fabric.device)
    try:
        with torch.random.fork_rng(), torch.no_grad(), fabric.autocast():
            network(batch)
    except ValueError as error:
        raise ConfigError(
            f"training: batch_size {size}: the {len(task.train)} items of train leave one for the last batch "
            f"of an epoch, and the network cannot be trained on one alone: {error}; choose another batch_size"
        ) from error
