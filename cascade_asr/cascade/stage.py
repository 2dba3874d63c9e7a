"""Run one stage: build, take over, freeze, train, prove, record."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade_asr.cascade.lineage import Lineage, fingerprint_on_disk, write_config
from cascade_asr.cascade.plan import StagePlan
from cascade_asr.cascade.task import Task
from cascade_asr.errors import ConfigError
from cascade_asr.files import write_json
from cascade_asr.training import checkpoint, device
from cascade_asr.training.fencing import Fence, may_always_write
from cascade_asr.training.finished import (
    DoneStage,
    imported_from,
    read_done,
    remove_leftovers,
    repair_marker,
    restored,
    set_aside,
)
from cascade_asr.training.freezing import (
    check_unchanged,
    fingerprint,
    freeze,
    set_training_mode,
    take_over,
)
from cascade_asr.training.frozen_outputs import cached
from cascade_asr.training.history import History
from cascade_asr.training.identity import (
    GIVEN,
    TENSORS,
    changes,
    checkpoint_identity,
    deciding_options,
    holds_weights,
    identity_digest,
    read_identity,
    recorded_digest,
    with_tensors,
)
from cascade_asr.training.interruption import Interruption
from cascade_asr.training.lock import Lock, Locked, take
from cascade_asr.training.protocols import CascadeModel, Ranks, TrainingData
from cascade_asr.training.state import FitResult
from cascade_asr.training.trainer import Trainer

if TYPE_CHECKING:  # importing it takes 1.4 s, which commands without training should not spend
    from lightning_fabric import Fabric

logger = logging.getLogger(__name__)

Evaluate = Callable[[Path], dict[str, float]]


@dataclass
class StageRunner:
    """Trains the stages of one experiment, each at most once.

    Attributes:
        task: what is trained, and on which data.
        fabric: launched; None if nothing is trained or written.
        interruption: signals that ask to stop.
        check_may_write: raises if another attempt has taken over.
        given: training options of the command line, as written; they are recorded.
        again: name of a stage to train again even if it is done.
    """

    task: Task
    fabric: Fabric | None
    interruption: Interruption
    check_may_write: Callable[[], None] = may_always_write
    given: str = ""
    again: str = ""
    _lock: Lock | None = dataclasses.field(default=None, init=False, repr=False)

    def directory(self, plan: StagePlan) -> Path:
        """Folder of a stage."""
        return self.task.directory / plan.name

    def run(self, plan: StagePlan, source: DoneStage | None) -> DoneStage:
        """Train a stage, resume it, or find it done with the same options.

        A folder of that name from a different training is set aside, not deleted, and
        only once the new model is built and has its source's weights.

        Args:
            plan: what to freeze, re-initialise and train.
            source: the finished stage whose weights are taken over; None for
                full training.

        Raises:
            TrainingError: if training fails or a frozen tensor moved.
            ConfigError: if the source is of another architecture.
            Interrupted: after a signal, with the state saved.
            Superseded: if another attempt has taken over.
            Locked: if another process is training it.
        """
        directory = self.directory(plan)
        with self._alone(directory, plan.title):
            return self._run(plan, source, directory)

    @contextmanager
    def _alone(self, directory: Path, title: str) -> Iterator[None]:
        """Keep others from writing to a folder during the block; if one rank fails, all do.

        Raises:
            Locked: if another process is writing there.
        """
        self.check_may_write()
        fence = Fence.from_environment()
        problem = None
        if self.fabric.is_global_zero:
            try:
                path = directory.with_name(f".{directory.name}.lock")
                self._lock = take(path, f"{title}: {directory}", str(fence.path) if fence else "")
            except Locked as error:
                problem = str(error)
        problem = self.fabric.broadcast(problem) if self.fabric.world_size > 1 else problem
        if problem:
            raise Locked(problem)
        try:
            yield
        finally:
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def _may_write(self) -> None:
        self.check_may_write()
        if self._lock is not None:
            self._lock.check()

    def _run(self, plan: StagePlan, source: DoneStage | None, directory: Path) -> DoneStage:
        """`run`, in a folder that this process has locked."""
        identity = self._identity(plan, source)
        digest = identity_digest(identity)
        done = None
        if not self._is_asked_again(plan) and self.is_current(plan, source):
            done = read_done(directory) or restored(directory)
        if done is not None:
            if self.fabric.is_global_zero:
                remove_leftovers(directory)
            logger.info("%s: already done in %s; skipping", plan.title, directory)
            self._repair(directory, identity, done)
            return done
        self._require_same_data(plan)
        model = self.task.build_model(plan.config, plan.seed)
        frozen_names = self._take_over(model, plan, source)
        before = fingerprint(model, plan.frozen)
        self._claim(plan, directory, identity)
        result = self._train(model, plan, directory, frozen_names, identity)
        if self.fabric.is_global_zero:
            after = fingerprint_on_disk(directory / "model.pth", plan.frozen)
            check_unchanged(before, after)
            self._may_write()
            self._lineage(plan, source, digest, result).write(directory, model, before)
        self.fabric.barrier()
        finished = read_done(directory)
        assert finished is not None
        return finished

    def enter(
        self, plan: StagePlan, model: CascadeModel, evaluate: Evaluate, origin: dict[str, Any]
    ) -> DoneStage:
        """Enter a model that was trained elsewhere, as if full training had produced it.

        Args:
            plan: plan of full training.
            model: the model with its weights.
            evaluate: gives the model's dev metrics; may write to the folder it is given.
            origin: where the model came from, for ``lineage.json``.

        Raises:
            ConfigError: if a training of that name exists.
        """
        directory = self.directory(plan)
        if directory.exists():
            raise ConfigError(
                f"{directory}: already exists; use another --exp, or move it away"
            )
        temporary = directory.with_name(f".{directory.name}.partial")
        shutil.rmtree(temporary, ignore_errors=True)
        identity = self._identity(plan, None)
        try:
            write_json(temporary / "identity.json", identity)
            write_config(temporary / "config.yaml", plan)
            checkpoint.save(temporary / "model.pth", model.state_dict())
            metrics = evaluate(temporary)
            history = History(temporary, 0, 0, plan.config.use_tensorboard)
            history.add("valid", 0, 0, metrics)
            history.close()
            result = FitResult(metrics, [], 0, 0, 0, 0.0, 0.0)
            lineage = self._lineage(plan, None, identity_digest(identity), result)
            lineage.write(temporary, model, {}, origin)
            temporary.rename(directory)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        finished = read_done(directory)
        assert finished is not None
        return finished

    def _identity(self, plan: StagePlan, source: DoneStage | None) -> dict[str, Any]:
        """Everything that decides the result of a stage."""
        return {
            "config": plan.config.digest(),
            "options": deciding_options(plan.config),
            "seed": plan.seed,
            "frozen": [layer.name for layer in plan.frozen],
            "reinitialise": plan.is_reinitialised,
            "random_top": plan.is_random_frozen,
            "frozen_dropout": plan.frozen_dropout,
            "source": source.model_sha256 if source else None,
            "data": self._data_digest,
            **({"reset": [layer.name for layer in plan.reset]} if plan.reset else {}),
            **({TENSORS: plan.tensors} if plan.frozen or plan.reset else {}),
            **({GIVEN: self.given} if self.given else {}),
        }

    @cached_property
    def _data_digest(self) -> str:
        """Digest of the data as they were when this process began."""
        return self.task.data_digest()

    def _require_same_data(self, plan: StagePlan) -> None:
        """Raise ConfigError if a stage would be trained on other data than those before it."""
        if self.task.data_digest() != self._data_digest:
            raise ConfigError(
                f"{plan.title}: the training set or the dev set has changed since this run began, and "
                "the trainings before it saw the old one; run stages 1 and 2 with the options of "
                "before, or use another --dumpdir or --tag for the new data; then run this again"
            )

    def changes(self, plan: StagePlan, source: DoneStage | None) -> list[str] | None:
        """Differences between the training in a stage's folder and the one that is asked for.

        Returns:
            ``option: old -> new``; empty for the same training; None if the folder
            holds none, or does not say which.
        """
        identity = self._identity(plan, source)
        found = self._found(self.directory(plan), identity)
        return None if found is None else changes(found, identity, plan.config)

    def is_current(self, plan: StagePlan, source: DoneStage | None) -> bool:
        """Whether a stage's folder holds a training with these options and this source."""
        return self.changes(plan, source) == []

    def _found(self, directory: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
        """Identity of the training in a folder, from its marker if the file is lost."""
        found = read_identity(directory)
        if found is None and recorded_digest(directory) == identity_digest(identity):
            return identity
        found = found if found is not None else checkpoint_identity(directory)
        return None if found is None else with_tensors(found, directory, identity)

    def _claim(self, plan: StagePlan, directory: Path, identity: dict[str, Any]) -> None:
        """Claim the folder for this training; set aside the weights of any other."""
        reason = self._reason_to_set_aside(plan, directory, identity)
        imported = imported_from(directory) if reason else ""
        self.fabric.barrier()  # until all ranks have read it
        if imported:
            raise ConfigError(
                f"{directory} was imported from {imported}, and would be trained from new weights: "
                f"{reason}; give the options that it was imported with (--train-config "
                f"{directory.parent}/imported.yaml), or import it again, with --train-config, into "
                "another --exp"
            )
        if self.fabric.is_global_zero:
            if reason:
                aside = set_aside(directory)
                logger.warning(
                    "%s: %s; training again, the old one is now %s", plan.title, reason, aside
                )
            write_json(directory / "identity.json", identity)
        self.fabric.barrier()

    def _is_asked_again(self, plan: StagePlan) -> bool:
        """Whether a finished stage is to be trained again; an unfinished one resumes."""
        return plan.name == self.again and (self.directory(plan) / "done.json").is_file()

    def _reason_to_set_aside(
        self, plan: StagePlan, directory: Path, identity: dict[str, Any]
    ) -> str:
        """Why a folder's content is not this training; empty if it is, or if there is none."""
        if self._is_asked_again(plan):
            return "it is to be trained again"
        found = self._found(directory, identity)
        if found is None:
            return "identity.json is missing or damaged" if holds_weights(directory) else ""
        changed = changes(found, identity, plan.config)
        if not changed:
            started = checkpoint_identity(directory)
            if started:
                started = with_tensors(started, directory, identity)
                changed = changes(started, identity, plan.config)
        if changed:
            return f"options changed ({'; '.join(changed)})"
        if not (directory / "model.pth").is_file():
            return ""
        unfinished = not (directory / "done.json").exists()
        if unfinished and (directory / "checkpoint.pt").is_file():
            return ""  # killed between the two: the checkpoint gives the same model again
        return "done.json is missing or damaged"

    def _repair(self, directory: Path, identity: dict[str, Any], done: DoneStage) -> None:
        """Rewrite damaged files of a finished stage."""
        if not self.fabric.is_global_zero:
            return
        if read_identity(directory) is None:
            write_json(directory / "identity.json", identity)
        repair_marker(done)

    def _take_over(
        self, model: CascadeModel, plan: StagePlan, source: DoneStage | None
    ) -> frozenset[str]:
        """Copy the source's weights to the frozen layers, or to all; return frozen tensors' names.

        Feature normalisation belongs to no layer: it is that of this experiment.
        """
        if source is not None:
            weights = checkpoint.load(source.model_path)
            checkpoint.check_weights(model, weights, source.model_path)
            take_over(model, weights, plan.kept)
        freeze(model, plan.frozen)
        return frozenset(
            name for layer in plan.frozen for name in (*layer.parameters, *layer.buffers)
        )

    def _train(
        self,
        model: CascadeModel,
        plan: StagePlan,
        directory: Path,
        frozen: frozenset[str],
        identity: dict[str, Any],
    ) -> FitResult:
        ranks = Ranks(self.fabric.global_rank, self.fabric.world_size)
        data = self.task.data(model, plan.config, ranks)
        device.fit_threads(self.fabric, model)
        device.fit_ranks(self.fabric, model)
        if self.fabric.is_global_zero:
            data.record(directory)
            write_config(directory / "config.yaml", plan, self.given)
            total = sum(parameter.numel() for parameter in model.parameters())
            trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
            logger.info(
                "%s: training %s (%d of %d parameters), %d batches per epoch, on %s",
                plan.title,
                ", ".join(layer.name for layer in plan.trained),
                trained,
                total,
                len(data.train),
                device.describe(self.fabric),
            )
        trainer = Trainer(
            self.fabric,
            plan.config,
            directory,
            plan.title,
            lambda each: set_training_mode(each, plan.frozen, plan.frozen_dropout),
            frozen,
            self.interruption,
            self._may_write,
            identity,
        )
        with self._cached(model, plan, directory, data):
            return trainer.fit(model, data.train, data.dev)

    @contextmanager
    def _cached(
        self, model: CascadeModel, plan: StagePlan, directory: Path, data: TrainingData
    ) -> Iterator[None]:
        """Inside, outputs of frozen lower layers are cached if this is asked for."""
        if not plan.config.cache_frozen or not plan.frozen:
            yield
            return
        set_training_mode(model, plan.frozen, plan.frozen_dropout)
        # with such a name, cascade-asr clean removes what a killed process left
        folder = directory / f".frozen_outputs.{self.fabric.global_rank}.partial"
        with cached(model, folder, len(data.train) + len(data.dev)):
            yield

    def _lineage(
        self, plan: StagePlan, source: DoneStage | None, digest: str, result: FitResult
    ) -> Lineage:
        return Lineage(plan, source, digest, self._data_digest, result, device.record(self.fabric))
