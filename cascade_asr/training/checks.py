"""Checks of training options that need no data, before hours of training."""

from __future__ import annotations

from cascade_asr.errors import ConfigError
from cascade_asr.options.schema import out_of_bounds
from cascade_asr.options.training import TrainingOptions
from cascade_asr.training.device import PRECISIONS
from cascade_asr.training.optimization import check_optimization
from cascade_asr.training.protocols import CascadeModel


def check_training_options(config: TrainingOptions) -> list[str]:
    """Problems with the optimizer, the schedule, and values outside their options' bounds."""
    problems = check_optimization(
        config.optim, config.optim_conf, config.scheduler, config.scheduler_conf
    )
    if config.scheduler is None and config.scheduler_conf:
        problems.append(
            "scheduler_conf is given, but scheduler is null; name it, or remove scheduler_conf"
        )
    if config.schedule_epochs and config.schedule_epochs > config.max_epoch:
        problems.append(
            f"schedule_epochs is {config.schedule_epochs}, expected max_epoch "
            f"({config.max_epoch}) or less"
        )
    if config.precision not in PRECISIONS:
        problems.append(
            f"precision is '{config.precision}', expected {', '.join(PRECISIONS[:-1])} or "
            f"{PRECISIONS[-1]}"
        )
    return problems + _wrong_directions(config) + out_of_bounds(config)


def _wrong_directions(config: TrainingOptions) -> list[str]:
    """Problems if what follows ``val_scheduler_criterion`` takes an improvement for the opposite."""
    criterion = config.val_scheduler_criterion
    known = {
        each[2]
        for each in (*config.best_model_criterion, config.early_stopping_criterion)
        if len(each) == 3 and each[:2] == criterion
    }
    if known not in ({"min"}, {"max"}):
        return []
    (mode,) = known
    metric, better = " ".join(criterion), f"best_model_criterion or early_stopping_criterion: {mode}"
    problems = []
    if (config.scheduler or "").lower() in ("epsdecay", "reducelronplateau"):
        own = config.scheduler_conf.get("mode", "min")
        if own in ("min", "max") and own != mode:
            problems.append(
                f"scheduler_conf.mode is {own}, so {config.scheduler} lowers the rate when "
                f"'{metric}' improves ({better}); set mode: {mode}"
            )
    if config.optim.lower() == "nt_asgd" and mode == "max":
        problems.append(
            f"optim nt_asgd starts to average when '{metric}' grows, which is an improvement "
            f"({better}); let val_scheduler_criterion be a metric of which less is better"
        )
    return problems


def check_criteria(config: TrainingOptions, model: CascadeModel, where: str) -> None:
    """Check before training that every metric that a configuration watches will be logged.

    Raises:
        ConfigError: listing those that will be logged.
    """
    known = {split: model.metric_names(split) for split in ("train", "valid")}
    problems = []
    for option, criteria in (
        ("best_model_criterion", config.best_model_criterion),
        ("early_stopping_criterion", [config.early_stopping_criterion]),
        ("converged.criterion", [config.converged.criterion] * bool(config.converged.criterion)),
        ("val_scheduler_criterion", [config.val_scheduler_criterion]),
    ):
        for criterion in criteria:
            length = 2 if option == "val_scheduler_criterion" else 3
            if len(criterion) != length or (length == 3 and criterion[2] not in ("min", "max")):
                form = "[valid, loss]" if length == 2 else "[valid, loss, min]"
                problems.append(f"{option}: expected {form}, found {criterion}")
            elif criterion[1] not in known.get(criterion[0], []):
                listing = "; ".join(f"{split}: {', '.join(known[split])}" for split in known)
                problems.append(
                    f"{option}: metric '{criterion[0]} {criterion[1]}' is not logged; there are {listing}"
                )
    if problems:
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems))
