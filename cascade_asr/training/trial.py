"""Try out a training before spending hours on it.

One step of a network with its optimizer and its schedule, on the CPU, on the
extremes of its data: a library's objection to a value in a configuration is then
reported in stage 2, not in the first or the fortieth hour.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from cascade_asr.errors import CascadeError, ConfigError, told
from cascade_asr.options.places import located
from cascade_asr.options.training import TrainingOptions
from cascade_asr.training.freezing import trainable_parameters
from cascade_asr.training.optimization import build_optimizer, make_updates
from cascade_asr.training.protocols import TrainingBatch
from cascade_asr.training.schedules import Schedule
from cascade_asr.training.state import seed_update

MOST_UPDATES = 3_000  # updates of a schedule that are tried

# part of a source file's path, and the block of options that its errors are about
_BLOCKS = (
    ("/encoder", "encoder_conf"),
    ("/decoder", "decoder_conf"),
    ("/ctc", "ctc_conf"),
    ("/specaug", "specaug_conf"),
    ("/awd_lstm", "lm_conf"),
    ("/lr_scheduler", "scheduler_conf"),
    ("/schedulers/", "scheduler_conf"),
    ("/optim/", "optim_conf"),
)


def try_training(
    model: nn.Module,
    config: TrainingOptions,
    batches: Iterable[TrainingBatch],
    where: str,
    set_training_mode: Callable[[nn.Module], Any] = nn.Module.train,
) -> None:
    """Make one update of a network for each batch, and evaluate them.

    The network is changed; the caller's random state is not.

    Args:
        model: model with new weights, on the CPU.
        config: how it will be trained.
        batches: extremes of the training set, such as its longest and shortest.
        where: the configuration's file, for the messages.
        set_training_mode: a partly frozen network needs a special function.

    Raises:
        ConfigError: naming the block of options that a failure comes from.
    """
    empty = [name for name, each in model.named_parameters() if each.numel() == 0]
    if empty:
        raise ConfigError(located(where, [f"encoder_conf: {too_narrow(empty[0])}"]))
    with torch.random.fork_rng(), _told_as_configuration(where):
        set_training_mode(model)
        optimizer = build_optimizer(trainable_parameters(model), config.optim, config.optim_conf)
        # `try_schedule` follows it to the end
        schedule = Schedule(optimizer, config.scheduler, config.scheduler_conf, 1_000)
        for index, batch in enumerate(batches):
            seed_update(config.seed, index, 0)
            loss, _ = model(batch)
            if not math.isfinite(loss.item()):
                raise ConfigError(
                    f"{where}: the loss with new weights is {loss.item()} ({batch.description}); "
                    "check dropout rates, init and the features"
                )
            (loss / len(batch)).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.after_update()
        schedule.after_epoch(1.0)
        model.eval()
        with torch.no_grad():
            for batch in batches:
                model(batch)


def too_narrow(name: str) -> str:
    """Message for a new network of which a weight has no elements."""
    return (
        f"the features are too narrow for this network ({name} is empty); compute wider ones, or "
        "choose an input_layer that subsamples less"
    )


def try_schedule(config: TrainingOptions, total_updates: int, where: str) -> None:
    """Run through the schedule of a whole training with a single weight.

    Args:
        config: its optimizer and schedule.
        total_updates: updates of the whole training.
        where: the configuration's file, for the messages.

    Raises:
        ConfigError: if the schedule cannot make so many, or so few, updates.
    """
    if config.scheduler is None:
        return
    weight = nn.Parameter(torch.zeros(1))
    try:
        optimizer = build_optimizer([weight], config.optim, config.optim_conf)
        schedule = Schedule(optimizer, config.scheduler, config.scheduler_conf, total_updates)
        last = schedule.last_update
        if last is not None and last < total_updates:
            raise ConfigError(
                f"it ends after {last} updates; leave out total_steps, epochs and "
                "steps_per_epoch: it then lasts as long as the training"
            )
        make_updates(optimizer, weight, min(total_updates, MOST_UPDATES), schedule)
    except Exception as error:
        reason = (
            str(error)
            if isinstance(error, ConfigError)
            else (
                f"{told(error)}; train longer (max_epoch, smaller batches), or change the schedule"
            )
        )
        problem = (
            f"scheduler {config.scheduler}, scheduler_conf: cannot be followed for the "
            f"{total_updates} updates of this training: {reason}"
        )
        raise ConfigError(located(where, [problem])) from error


@contextmanager
def _told_as_configuration(where: str) -> Iterator[None]:
    """Turn a library's exception inside into a message about a block of options."""
    try:
        yield
    except CascadeError:
        raise
    except Exception as error:
        block = _block_of(error)
        message = f"{block}: a trial step fails with these values: {told(error)}"
        raise ConfigError(located(where, [message])) from error


def _block_of(error: Exception) -> str:
    """The outermost part of the network or of the optimization that the error passed through."""
    for frame in traceback.extract_tb(error.__traceback__):
        path = frame.filename.replace("\\", "/").lower()
        path = path[path.rfind("site-packages") + 1 :]
        for part, block in _BLOCKS:
            if part in path and "/cascade_asr/training/" not in path:
                return block
    return "training options"
