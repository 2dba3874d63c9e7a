"""One explicit training loop; it knows nothing of cascades.

Lightning Fabric places the model, casts to bf16 or fp16 and connects the
ranks. Everything random in an update is derived from (seed, update, rank), and
the order of the batches from (seed, epoch), so a training that was killed and
restarted ends with the same weights as one that was not.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

from cascade_asr.data.loader import explain_lost_workers
from cascade_asr.networks.fast.switch import is_fast
from cascade_asr.options.training import TrainingOptions
from cascade_asr.training import checkpoint
from cascade_asr.training.averaging import averaging_begins, evaluation_weights
from cascade_asr.training.best_epochs import BestEpochs
from cascade_asr.training.convergence import in_words
from cascade_asr.training.evaluate import evaluate, means_over_ranks, sum_over_ranks
from cascade_asr.training.fencing import may_always_write
from cascade_asr.training.finiteness import Finiteness, can_skip
from cascade_asr.training.freezing import check_buffers, tensor_digest, trainable_parameters
from cascade_asr.training.history import History, Progress
from cascade_asr.training.interruption import Interrupted, Interruption
from cascade_asr.training.optimization import (
    build_optimizer,
    scaled_learning_rate,
    total_updates,
)
from cascade_asr.training.protocols import Batches, CascadeModel, Statistics, TrainingBatch
from cascade_asr.training.schedules import Schedule
from cascade_asr.training.state import (
    Clock,
    FitResult,
    Position,
    add_statistics,
    read_metric,
    seed_update,
    signed,
)
from cascade_asr.training.stopping import Stopping

if TYPE_CHECKING:  # importing it takes 1.4 s, which commands without training should not spend
    from lightning_fabric import Fabric

logger = logging.getLogger(__name__)

PARTS = ("model", "optimizer", "schedule", "scaler", "position", "sums")  # of a checkpoint


class Trainer:
    """Trains one model in one directory.

    Args:
        fabric: launched; decides device, precision and ranks.
        config: how to train.
        directory: folder for checkpoint, history and the averaged ``model.pth``.
        title: title of the log lines.
        set_training_mode: puts the model into training mode; a partly frozen
            one needs a special function.
        frozen: names of tensors that training does not change.
        interruption: signals that ask to stop.
        check_may_write: called before each write; raises if another attempt
            has taken over.
        identity: what decides the result, for the checkpoint.
    """

    def __init__(
        self,
        fabric: Fabric,
        config: TrainingOptions,
        directory: Path,
        title: str = "training",
        set_training_mode: Callable[[nn.Module], Any] = nn.Module.train,
        frozen: frozenset[str] = frozenset(),
        interruption: Interruption | None = None,
        check_may_write: Callable[[], None] = may_always_write,
        identity: dict[str, Any] | None = None,
    ) -> None:
        self.identity = identity
        self.fabric = fabric
        self.config = config
        self.directory = directory
        self.title = title
        self.set_training_mode = set_training_mode
        self.frozen = frozen
        self.interruption = interruption or Interruption()
        self.check_may_write = check_may_write
        self.position = Position()
        self._sums: Statistics = {}

    def fit(self, model: CascadeModel, train: Batches, valid: Batches) -> FitResult:
        """Train until the last epoch or until patience ends; average the best epochs.

        It resumes from ``checkpoint.pt`` if there is one.

        Args:
            model: called as ``model(batch) -> (summed loss, statistics)``.
            train: batches to train on.
            valid: batches of the dev set.

        Raises:
            TrainingError: on a NaN loss (naming the utterances), a full disk, or a frozen
                buffer that the first update changes; the last checkpoint is kept.
            ConfigError: if the checkpoint is of another architecture, or a
                criterion names a metric that is not logged.
            DataError: if features cannot be read, or a process that reads them died.
            Interrupted: after a signal, with the state saved.
        """
        self.model, config = model, self.config
        optimizer = build_optimizer(
            trainable_parameters(model), config.optim, config.optim_conf,
            in_one_pass=is_fast() and self._scaler is None,
        )  # fmt: skip
        updates = total_updates(train, config.max_epoch, config.accum_grad)
        lasts = total_updates(train, config.schedule_epochs or config.max_epoch, config.accum_grad)
        self.schedule = Schedule(
            optimizer, config.scheduler, config.scheduler_conf, lasts, config.schedule_epochs
        )
        self.wrapped, self.optimizer = self.fabric.setup(model, optimizer)
        self.position.after_schedule = self.schedule.ended
        self._resume()
        self._finiteness = Finiteness(self.position, self._checkpoint_path, self._defers())
        self._frozen_buffers = {
            name: tensor_digest(each) for name, each in model.named_buffers() if name in self.frozen
        }
        self.fabric.barrier()
        position, is_first_rank = self.position, self.fabric.is_global_zero
        self.history = (
            History(self.directory, position.epoch, position.update, config.use_tensorboard)
            if is_first_rank
            else None
        )
        self.progress = Progress(
            self.title, updates, position.update, config.log_interval, is_first_rank, self.directory
        )
        try:
            with explain_lost_workers():
                while not self.position.finished:
                    self._run_epoch(train, valid)
                return self._finish(valid)
        except Interrupted:
            raise
        except BaseException:
            self.interruption.release()
            raise
        finally:
            self.progress.close()
            if self.history:
                self.history.close()

    # ---- one epoch -------------------------------------------------------

    def _run_epoch(self, train: Batches, valid: Batches) -> None:
        self.set_training_mode(self.model)
        batches = train.epoch(self.position.epoch, self.position.batch)
        self._last_save = time.monotonic()
        clock = Clock(self.position)
        with closing(batches):  # a traceback would keep its processes alive
            while group := list(islice(batches, self.config.accum_grad)):
                statistics = self._update(group)
                if self._frozen_buffers:  # once: what moves then does so in every update
                    check_buffers(self.model, self._frozen_buffers)
                    self._frozen_buffers = {}
                self.position.batch += len(group)
                self._add(statistics)
                self._log_update()
                self._save_where_due(clock.add())
        self._finiteness.check()
        train_values = self._means(self._sums)
        valid_values = self._evaluate(valid, self._evaluation_weights)
        clock.add()
        self._end_epoch(train_values, valid_values)

    def _update(self, group: list[TrainingBatch]) -> Statistics:
        """One update of the weights from one or more batches."""
        position = self.position
        seed_update(self.config.seed, position.update, self.fabric.global_rank)
        world_size = self.fabric.world_size
        weight, frames = self._sum_over_ranks(
            sum(len(batch) for batch in group),
            sum(batch.frames for batch in group),
        )
        position.frames += int(frames)
        total: Statistics = {}
        for index, batch in enumerate(group):
            batch = batch.to(self.fabric.device)
            last = index == len(group) - 1
            with self.fabric.no_backward_sync(self.wrapped, enabled=not last):
                loss, statistics = self.wrapped(batch)
                self._finiteness.note_loss(loss, batch)
                # DDP averages gradients over ranks; ours are sums over utterances
                self.fabric.backward(loss * (world_size / weight))
            for name, (value, count) in statistics.items():
                so_far = total.get(name, (0.0, 0.0))
                total[name] = (so_far[0] + value, so_far[1] + count)
        self._step(group)
        position.update += 1
        self.schedule.after_update()
        return total

    def _step(self, group: list[TrainingBatch]) -> None:
        """Clip the gradient and update the weights, unless the gradient is not finite.

        In fp16 the scaler skips such an update and lowers its scale.
        """
        norm = self.fabric.clip_gradients(
            self.wrapped,
            self.optimizer,
            max_norm=self.config.grad_clip if self.config.grad_clip > 0 else math.inf,
            norm_type=self.config.grad_clip_type,
            error_if_nonfinite=False,
        )
        if self._scaler is not None or self._finiteness.guard(self._bare_optimizer, norm):
            with scaled_learning_rate(self.optimizer, group):
                self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _log_update(self) -> None:
        position = self.position
        values: dict[str, float] = {}
        if position.update % self.config.log_interval == 0:
            self._finiteness.check()
            values = self._means(self._sums)
            values["lr"] = self.optimizer.param_groups[0]["lr"]
            if self.history:
                self.check_may_write()
                self.history.add("train", position.epoch, position.update, values)
        shown = {name: values[name] for name in ("loss", "acc", "perplexity", "lr") if name in values}
        self.progress.advance(position.update, position.epoch, shown)

    def _end_epoch(self, train: dict[str, float], valid: dict[str, float]) -> None:
        """Log, rank and save this epoch; decide whether it was the last."""
        position, config = self.position, self.config
        if self.history:
            self.check_may_write()
            self.history.add("train_epoch", position.epoch, position.update, train)
            self.history.add("valid", position.epoch, position.update, valid)
        shown = " ".join(f"{name} {value:.4g}" for name, value in valid.items())
        self.progress.message(f"epoch {position.epoch}/{config.max_epoch} done; dev: {shown}")
        metrics = {"train": train, "valid": valid}
        watched = read_metric(metrics, config.val_scheduler_criterion)
        is_lowered = self.schedule.after_epoch(watched)
        if averaging_begins(self._bare_optimizer, watched):
            self.progress.message("weights are averaged from now on")
        self._keep_if_among_best(metrics)
        self.schedule.keep_or_restore(self.model)
        reasons = self._stopping.after_epoch(metrics, self.schedule.ended, is_lowered)
        for reason in reasons:
            self.progress.message(reason)
        position.finished = bool(reasons) or position.epoch >= config.max_epoch
        position.epoch += 1
        position.batch = 0
        self._sums = {}
        self._save()
        if self.fabric.is_global_zero:
            self.check_may_write()
            self._best.remove_dropped()
        self._leave_if_asked()

    @property
    def _stopping(self) -> Stopping:
        return Stopping(self.config, self.position)

    # ---- the best epochs --------------------------------------------------

    @property
    def _best(self) -> BestEpochs:
        capacity = max(1, self.config.keep_nbest_models)
        return BestEpochs(self.directory, self.position.best, capacity)

    def _keep_if_among_best(self, metrics: dict[str, dict[str, float]]) -> None:
        split, name, mode = self.config.best_model_criterion[0]
        metric, epoch = read_metric(metrics, [split, name]), self.position.epoch
        if math.isnan(metric):
            logger.warning("epoch %d: %s %s is not a number: the worst of all values", epoch, split, name)
        value = signed(metric, mode)
        if self._best.rank(value, epoch) and self.fabric.is_global_zero:
            self.check_may_write()
            with self._evaluation_weights():
                self._best.save(epoch, self.model.state_dict())

    def _finish(self, valid: Batches) -> FitResult:
        """Average the best epochs, evaluate the average, write model.pth."""
        epochs = self._best.epochs
        averaged = self._best.average(self.frozen)
        self.model.load_state_dict(averaged)
        metrics = self._evaluate(valid)
        if self.fabric.is_global_zero:
            self.check_may_write()
            checkpoint.save(self.directory / "model.pth", averaged)
        self.fabric.barrier()
        shown = " ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self.progress.message(f"average of epochs {', '.join(map(str, epochs))}; dev: {shown}")
        verdict = self._stopping.convergence
        self.progress.message(f"{in_words(verdict.converged)}: {verdict.reason}")
        return FitResult(
            metrics=metrics,
            averaged_epochs=epochs,
            epochs=self.position.epoch - 1,
            updates=self.position.update,
            frames=self.position.frames,
            seconds=round(self.position.seconds, 1),
            cpu_seconds=round(self._sum_over_ranks(self.position.cpu_seconds)[0], 1),
            resumed=self.position.resumed,
            convergence=verdict.record(),
        )

    # ---- evaluation and statistics -----------------------------------------

    def _evaluate(
        self,
        valid: Batches,
        weights: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> dict[str, float]:
        return evaluate(self.fabric, self.model, valid, weights, self._leave_if_asked)

    def _defers(self) -> bool:
        """Whether losses are checked later, because reading them would wait for a GPU."""
        skips = self._scaler is not None or can_skip(self._bare_optimizer)
        return self.fabric.device.type != "cpu" and skips

    @property
    def _bare_optimizer(self) -> Optimizer:
        """The optimizer without Fabric around it."""
        return self.optimizer.optimizer

    def _evaluation_weights(self) -> AbstractContextManager[None]:
        return evaluation_weights(self._bare_optimizer)

    def _add(self, statistics: Statistics) -> None:
        add_statistics(self._sums, statistics)

    def _means(self, sums: Statistics) -> dict[str, float]:
        return means_over_ranks(self.fabric, self.model, sums)

    def _sum_over_ranks(self, *values: float) -> list[float]:
        return sum_over_ranks(self.fabric, *values)

    # ---- checkpoints --------------------------------------------------------

    @property
    def _checkpoint_path(self) -> Path:
        return self.directory / "checkpoint.pt"

    @property
    def _scaler(self) -> Any:
        """The loss scaler of fp16; None in other precisions."""
        return getattr(self.fabric.strategy.precision, "scaler", None)

    def _save_where_due(self, now: float) -> None:
        self._leave_if_asked()
        due = now - self._last_save >= self.config.checkpoint_interval_s
        if self._any_rank(due):
            self._save()
            self._last_save = now

    def _leave_if_asked(self) -> None:
        if self._any_rank(self.interruption.signal_number is not None):
            self._save()
            self.fabric.barrier()  # a rank that exits would get the others killed while they save
            raise Interrupted(
                self.interruption.exit_status,
                f"stopped at epoch {self.position.epoch}, update {self.position.update}; saved in "
                f"{self._checkpoint_path}; rerun the same command to resume",
            )

    def _any_rank(self, here: bool) -> bool:
        return self._sum_over_ranks(float(here))[0] > 0

    def _save(self) -> None:
        self._finiteness.check()
        # the first rank continues with the sums of all ranks, and their processor time
        cpu_seconds = self._sum_over_ranks(self.position.cpu_seconds)[0]
        sums = {
            name: tuple(self._sum_over_ranks(*map(float, pair)))
            for name, pair in sorted(self._sums.items())
        }
        if not self.fabric.is_global_zero:
            return
        self.check_may_write()
        scaler = self._scaler
        checkpoint.save(
            self._checkpoint_path,
            {
                "identity": self.identity,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "scaler": scaler.state_dict() if scaler is not None else {},
                "position": asdict(self.position) | {"cpu_seconds": cpu_seconds},
                "sums": sums,
                "model_state": self.model.training_state(),
            },
        )

    def _resume(self) -> None:
        if self.fabric.is_global_zero:
            for path in self.directory.glob(".*.tmp"):
                path.unlink()  # a killed training left it incomplete
        if not self._checkpoint_path.exists():
            # an earlier one was killed and left nothing but its log
            self.position.resumed = int((self.directory / "history.jsonl").exists())
            return
        state = checkpoint.load(self._checkpoint_path)
        checkpoint.require_parts(state, PARTS, self._checkpoint_path)
        checkpoint.load_weights(self.model, state["model"], self._checkpoint_path)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.model.load_training_state(state.get("model_state"))
        scaler = self._scaler
        if scaler is not None and state["scaler"]:
            scaler.load_state_dict(state["scaler"])
        self.position = Position(**state["position"])
        self._best.require()
        self.position.resumed += 1
        if not self.fabric.is_global_zero:
            self.position.cpu_seconds = 0.0
        # every rank has every name, because they are summed over ranks one by one
        self._sums = dict.fromkeys(state["sums"], (0.0, 0.0))
        if self.fabric.is_global_zero:
            self._sums = {name: tuple(pair) for name, pair in state["sums"].items()}
            logger.info(
                "%s: resuming at epoch %d, update %d",
                self.title,
                self.position.epoch,
                self.position.update,
            )
