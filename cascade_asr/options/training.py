"""Options of the training loop, for any task."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from cascade_asr.options.schema import option

LARGEST_SEED = 2**32 - 1  # NumPy's


@dataclass
class ConvergedOptions:
    """When a training counts as converged; see `cascade_asr.training.convergence`."""

    margin: float | None = option(
        None, "largest gain of the dev metric that does not count; null: 1 % of its best value", least=0
    )
    epochs: int = option(3, "epochs after the schedule's end without a larger gain", least=1)
    criterion: list[str] | None = option(
        None, "metric to watch; null: the first best_model_criterion", items=(3, 3)
    )
    stop: bool = option(False, "end the training as soon as it has converged")


@dataclass
class TrainingOptions:
    """How to train, for any task."""

    optim: str = option("adadelta", "optimizer")
    optim_conf: dict[str, Any] = option({}, "arguments of the optimizer; lr is the learning rate")
    scheduler: str | None = option(None, "learning-rate schedule or null")
    scheduler_conf: dict[str, Any] = option({}, "arguments of the schedule (steps are updates)")
    schedule_epochs: int | None = option(
        None, "epochs the schedule lasts; later epochs keep its last rate; null: all", least=1
    )
    max_epoch: int = option(40, "epochs", least=1)
    converged: ConvergedOptions = option(ConvergedOptions, "what counts as converged")
    patience: int | None = option(
        None, "stop at more than this many epochs without improvement", least=0
    )
    grad_clip: float = option(
        5.0, "largest norm of the gradient; 0: no clipping", least=0, infinite=True
    )
    grad_clip_type: float = option(2.0, "order of that norm", least=1, infinite=True)
    accum_grad: int = option(1, "batches per update", least=1)
    precision: str = option("32-true", "32-true, bf16-mixed or 16-mixed")

    val_scheduler_criterion: list[str] = option(
        ["valid", "loss"], "metric that a plateau schedule watches", items=(2, 2)
    )
    early_stopping_criterion: list[str] = option(
        ["valid", "loss", "min"], "metric that patience watches", items=(3, 3)
    )
    best_model_criterion: list[list[str]] = option(
        [["valid", "loss", "min"]],
        "metrics that rank epochs; the first one names the averaged model",
        items=(1, 1000),
    )
    keep_nbest_models: int = option(5, "number of epochs averaged into the final model", least=1)

    seed: int = option(
        0, "seed of initial weights, batch order and dropout", least=0, most=LARGEST_SEED
    )
    log_interval: int = option(50, "updates between two lines of the log", least=1)
    checkpoint_interval_s: float = option(
        300.0, "seconds between checkpoints inside an epoch", least=0
    )
    cache_frozen: bool = option(
        False, "compute outputs of the frozen lower layers once, and keep them on disk during the training"
    )
    use_tensorboard: bool = option(True, "write TensorBoard files")

    # options that do not change the result of a training
    without_effect = (
        "num_workers", "log_interval", "checkpoint_interval_s", "cache_frozen", "use_tensorboard",
    )  # fmt: skip

    def digest(self) -> str:
        """A hash of everything that decides the result, for `done` markers."""
        content = self.deciding()
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def deciding(self) -> dict[str, Any]:
        """The options that decide the result of a training.

        ``converged`` is among them only if it ends the training.
        """
        return self.deciding_among(dataclasses.asdict(self))

    @classmethod
    def deciding_among(cls, content: dict[str, Any]) -> dict[str, Any]:
        """The same for options given as a mapping."""
        kept = {key: value for key, value in content.items() if key not in cls.without_effect}
        if not (kept.get("converged") or {}).get("stop"):
            kept.pop("converged", None)
        return kept
