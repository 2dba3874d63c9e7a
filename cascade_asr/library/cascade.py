"""Top-down cascade training of your own PyTorch module, in a few lines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from cascade_asr.cascade.engine import Engine
from cascade_asr.cascade.names import CASCADE, parse_controls
from cascade_asr.cascade.options import cascade_config_from
from cascade_asr.cascade.planning import Plan, make_plan, write_plan
from cascade_asr.cascade.stage import StageRunner
from cascade_asr.errors import ConfigError
from cascade_asr.files import read_json, write_json
from cascade_asr.library.data import ItemLoader, as_dataset, digest
from cascade_asr.library.models import ModuleModels
from cascade_asr.library.network import Measure
from cascade_asr.library.task import ModuleOptions, ModuleTask
from cascade_asr.library.trial import check_order_of_layers, check_smallest_batch
from cascade_asr.options.schema import from_mapping
from cascade_asr.results.branches import (
    ExperimentResult,
    branch_table,
    read_experiment,
)
from cascade_asr.results.headline import headline
from cascade_asr.results.module import measured
from cascade_asr.results.record import experiment_record
from cascade_asr.results.views import write_views
from cascade_asr.training import checkpoint
from cascade_asr.training.device import make_fabric
from cascade_asr.training.evaluate import evaluate as evaluate_batches
from cascade_asr.training.finished import require_done
from cascade_asr.training.identity import changed_options, read_identity
from cascade_asr.training.interruption import Interruption

logger = logging.getLogger(__name__)


class Cascade:
    """Full training, cascade stages and controls of a module in one folder.

    What is already finished with the same options and data is not trained again; an
    interrupted training resumes. Changes to the *code* of ``build`` and ``measure``
    are not detected: use another folder after such a change.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from torch.nn.functional import cross_entropy
        >>> def build():
        ...     return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(),
        ...                          nn.Linear(8, 2))
        >>> def measure(network, inputs, targets):
        ...     logits = network(inputs)
        ...     return {"loss": cross_entropy(logits, targets, reduction="none"),
        ...             "accuracy": (logits.argmax(1) == targets).float()}
        >>> points = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> labels = (points[:, 0] * points[:, 1] > 0).long()
        >>> cascade = Cascade("exp/xor", build, measure,  # doctest: +SKIP
        ...     train=(points[:150], labels[:150]), dev=(points[150:], labels[150:]),
        ...     metrics=["accuracy"], select=("accuracy", "max"),
        ...     training={"optim": "adam", "optim_conf": {"lr": 0.01}, "max_epoch": 10})
        >>> cascade.run(controls="longer,continue")  # doctest: +SKIP
        >>> print(cascade.table())  # doctest: +SKIP

    Args:
        directory: folder of the experiment; created if it does not exist.
        build: called without arguments; returns the module with new weights drawn from
            torch's random state (each training sets its own seed first).
        measure: called as ``measure(network, inputs, targets)`` with a batch; returns a
            dict of tensors (B,), one value per item. ``loss`` is what is minimised.
        train, dev: a dataset of (input, target) pairs, or two tensors (N, …).
        metrics: what ``measure`` returns besides ``loss``.
        select: dev metric that ranks epochs and stages, and ``min`` or ``max``.
        layers: submodules from input to output, if `find_layers` guesses wrong.
        training: options of training (`ModuleOptions`), such as ``max_epoch``, ``seed``.
        cascade: options of the cascade, as in conf/cascade.yaml.
        ngpu: number of GPUs; 0 is the CPU; None takes all that exist.

    Raises:
        ConfigError: listing every wrong option, before anything is trained.
    """

    def __init__(
        self,
        directory: str | Path,
        build: Callable[[], nn.Module],
        measure: Measure,
        train: Any,
        dev: Any,
        *,
        metrics: Sequence[str] = (),
        select: tuple[str, str] = ("loss", "min"),
        layers: Sequence[str | Sequence[str]] | None = None,
        training: dict[str, Any] | None = None,
        cascade: dict[str, Any] | None = None,
        ngpu: int | None = 0,
    ) -> None:
        self.directory = Path(directory)
        _check_types(metrics, layers, training, cascade, ngpu)
        self._options = _training_options(training or {}, select)
        self._cascade = cascade_config_from(dict(cascade or {}), {}, "cascade")
        names = tuple(dict.fromkeys(("loss", *metrics)))
        for each in names:
            if len(each.split()) != 1:  # a score is called by its set and its metric, "test accuracy"
                raise ConfigError(f"metrics: {each!r} is not one word; write, for example, top_5")
        self.task = ModuleTask(
            self.directory,
            build,
            measure,
            names,
            as_dataset(train, "train"),
            as_dataset(dev, "dev"),
            select,
            layers,
        )
        self.task.check_config(self._options, "training")
        self._ngpu = ngpu
        self._fabric = None
        self._told: set[str] = set()
        self.plan: Plan = make_plan(self.task, self._options, self._cascade)
        self._check_another_module()
        self._require_something_to_train([CASCADE])

    def run(self, controls: str | Sequence[str] | None = "none") -> ExperimentResult:
        """Train what is not finished: full training, all stages, and the controls.

        Args:
            controls: ``none``, ``all``, or names such as ``longer,continue``, also as a list.

        Raises:
            ConfigError: for a control that does not exist, or if the order of layers that was
                found is not the one in which the network calls them.
            TrainingError: if a training fails; finished ones are kept.
        """
        known = [name for name in self.plan.branches if name != CASCADE]
        wanted = controls if isinstance(controls, str) else ",".join(controls or ())
        chosen = parse_controls(wanted, known)
        self._require_something_to_train(chosen)
        check_order_of_layers(self.task, self._options, self._device())
        check_smallest_batch(self.task, self._options, self._device())
        self.task.adopt()
        write_plan(self.directory / "plan.json", self.plan)
        runner = StageRunner(self.task, self._device(), Interruption())
        engine = Engine(runner, self.plan.branches, self._cascade, self.plan.select)
        engine.train_full()
        for name in (CASCADE, *chosen):
            engine.run(range(1, len(self.plan.branches[name].stages)), name)
        return self.results()

    def results(self) -> ExperimentResult:
        """The results of what is finished so far."""
        self._require_full_training()
        found = read_experiment(self.directory)
        for name in dict.fromkeys(row.selected for row in found.rows):
            self._tell_of_other_options(name)
        return found

    def table(self) -> str:
        """A headline and a Markdown table: full training, cascade and controls."""
        results = self.results()
        return f"{headline([results])}\n\n{branch_table(results)}"

    def report(self) -> Path:
        """Write RESULTS.md, report.html, report.json and report.csv into the folder.

        Test sets are those that `evaluate` recorded. The models are run over some dev items.

        Returns:
            Path of the page.
        """
        self._require_full_training()
        inspector = ModuleModels(self.task, self._trained)
        found = measured(self.directory, self._options, inspector)
        write_views(experiment_record(self.directory, found))
        return self.directory / "report.html"

    @property
    def selected(self) -> str:
        """Name of the training that the dev metric selects, such as ``stage2``."""
        self._require_full_training()
        return read_json(self.directory / "selection.json")["selected"]

    def load(self, name: str | None = None) -> nn.Module:
        """The module with the weights of a finished training, in evaluation mode.

        Args:
            name: such as ``full`` or ``stage1``; None is the selected one.
        """
        return self._trained(name).network.eval()

    def evaluate(self, data: Any, name: str | None = None, as_set: str = "") -> dict[str, float]:
        """Metrics of a finished training on other data.

        Args:
            data: a dataset of pairs, or two tensors.
            name: name of the training; None is the selected one.
            as_set: a name for these data, such as ``test``: the metrics are then recorded
                and become columns of `table`.

        Raises:
            ConfigError: if other data have been evaluated under that name, or it is not one word.
        """
        chosen = name or self.selected
        dataset = as_dataset(data, as_set or "data")
        if len(as_set.split()) > 1:  # the first word of a column names the set
            raise ConfigError(f"as_set: {as_set!r} is not one word; write, for example, test_other")
        if as_set:
            self._require_same_set(dataset, as_set)
        model = self._device().to_device(self._trained(chosen))
        values = evaluate_batches(self._device(), model, ItemLoader(dataset, self._options.batch_size))
        if as_set:
            path = self.directory / chosen / "scores.json"
            kept = read_json(path) if path.is_file() else {}
            write_json(path, kept | {f"{as_set} {key}": value for key, value in values.items()})
        return values

    def evaluate_branches(self, data: Any, as_set: str = "test") -> dict[str, dict[str, float]]:
        """Metrics of full training and of what the cascade and each control selected.

        They become columns of `table`, and its headline compares the branches on them.

        Args:
            data: a dataset of pairs, or two tensors.
            as_set: a name for these data.

        Returns:
            Metrics by branch, such as ``{"full": {"accuracy": 0.98}, "cascade": ...}``.
        """
        selected = {row.name: row.selected for row in self.results().rows}
        values = {
            name: self.evaluate(data, name, as_set) for name in dict.fromkeys(selected.values())
        }
        return {branch: values[name] for branch, name in selected.items()}

    def _require_full_training(self) -> None:
        """Raise ConfigError if nothing has been trained yet, from which one could be selected."""
        if not (self.directory / "selection.json").is_file():
            raise ConfigError(f"{self.directory}: no training is finished there yet; call run() first")

    def _require_same_set(self, dataset: Dataset, name: str) -> None:
        """Raise ConfigError if other data have been evaluated under this name."""
        path = self.directory / "evaluated_sets.json"
        known = read_json(path) if path.is_file() else {}
        found = digest(dataset, name)
        if known.setdefault(name, found) != found:
            raise ConfigError(
                f"as_set='{name}': other data were evaluated under this name, and their metrics would "
                f"be compared with these; give another name, or remove {path} and "
                f"{self.directory}/*/scores.json"
            )
        write_json(path, known)

    def _check_another_module(self) -> None:
        """Check that a second ``build`` with another seed makes another module with other weights.

        Raises:
            ConfigError: if it returns the same module, whose weights are not new.
        """
        again = self.task.build_model(self._options, self._options.seed + 1)
        first = list(self.plan.model.parameters())
        if {id(each) for each in again.parameters()} & {id(each) for each in first}:
            raise ConfigError(
                "build: returns the same module at every call; it has to make a new one, because "
                "every training starts from weights of its own"
            )
        if all(map(torch.equal, first, again.parameters())):
            logger.warning(
                "build: makes the same weights whatever the seed; all trainings would start from "
                "them, and best-of-n and other seeds repeat one training. Draw them from torch's "
                "random state, without a seed of build's own"
            )

    def _require_something_to_train(self, branches: Sequence[str]) -> None:
        """Raise ConfigError for a stage that would train only what ``build`` has frozen."""
        trainable = {
            name for name, each in self.plan.model.named_parameters() if each.requires_grad
        }
        for stage in [each for name in branches for each in self.plan.branches[name].stages]:
            names = {name for layer in stage.trained for name in layer.parameters}
            if not names & trainable:
                raise ConfigError(
                    f"{stage.title}: trains {', '.join(layer.name for layer in stage.trained)}, "
                    "where build leaves no parameter with requires_grad; choose other cuts"
                )

    def _trained(self, name: str | None) -> Any:
        name = name or self.selected
        stage = self.plan.stage(name)
        folder = self.directory / name
        if not (folder / "done.json").is_file():
            branch = next(each for each, own in self.plan.branches.items() if stage in own.stages)
            call = "run()" if branch == CASCADE else f"run(controls='{branch}')"
            raise ConfigError(f"{folder}: this training is not finished; call {call} first")
        done = require_done(folder, "loading a model")
        self._tell_of_other_options(name)
        model = self.task.build_model(stage.config, stage.seed)
        checkpoint.load_weights(model, checkpoint.load(done.model_path), done.model_path)
        return model

    def _tell_of_other_options(self, name: str) -> None:
        """Warn once if a training in the folder has other options than this cascade."""
        folder = self.directory / name
        planned = {each.name: each for own in self.plan.branches.values() for each in own.stages}
        if name in self._told:
            return
        if name in planned:
            changed = changed_options(read_identity(folder), planned[name].config)
        else:
            changed = ["this plan has no such training"]
        if changed:
            self._told.add(name)
            logger.warning(
                "%s: was trained with other options: %s; run() trains it again", folder, "; ".join(changed)
            )

    def _device(self) -> Any:
        if self._fabric is None:
            self._fabric = make_fabric(self._ngpu, self._options.precision)
        return self._fabric


def _check_types(
    metrics: object, layers: object, training: object, cascade: object, ngpu: object
) -> None:
    """Raise ConfigError for arguments of another type, such as the name of a file of options."""
    for name, given in (("training", training), ("cascade", cascade)):
        if given is not None and not isinstance(given, Mapping):
            raise ConfigError(
                f"{name}: expected a dict of options, found {given!r}; of a YAML file, give what "
                "yaml.safe_load reads"
            )
    for name, given in (("metrics", metrics), ("layers", layers)):
        if isinstance(given, str):
            raise ConfigError(f"{name}: expected a list of names, such as [{given!r}], found {given!r}")
    if ngpu is not None and type(ngpu) is not int:
        raise ConfigError(f"ngpu: expected a number of GPUs, or None for all, found {ngpu!r}")


def _training_options(given: dict[str, Any], select: tuple[str, str]) -> ModuleOptions:
    """Options of training; unless given, the criterion that ranks epochs follows ``select``."""
    if len(select) != 2 or select[1] not in ("min", "max"):
        raise ConfigError(f"select: expected a metric and min or max, found {select!r}")
    criterion = ["valid", *select]
    defaults = {
        "best_model_criterion": [criterion],
        "early_stopping_criterion": criterion,
        "use_tensorboard": False,
    }
    return from_mapping(ModuleOptions, defaults | given, "training", {})
