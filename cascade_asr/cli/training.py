"""Train: stage 3 (full training) and stage 4 (the cascade) of a recipe.

Examples:
    python -m cascade_asr.cli.training full --exp exp/rnn --dump dump \\
        --train-set train --dev-set dev --train-config conf/train.yaml
    python -m cascade_asr.cli.training cascade --cascade-stages 2,3 …
"""

from __future__ import annotations

from cascade_asr.interruption import Interruption

interruption = Interruption().install()  # before torch is imported, which takes seconds

import argparse  # noqa: E402
import dataclasses  # noqa: E402
import logging  # noqa: E402
from pathlib import Path  # noqa: E402

from cascade_asr.cascade.config import CascadeConfig, load_cascade_config  # noqa: E402
from cascade_asr.cascade.engine import Engine  # noqa: E402
from cascade_asr.cascade.plan import StagePlan, parse_stage_numbers, plan_cascade  # noqa: E402
from cascade_asr.cascade.stage import StageRunner  # noqa: E402
from cascade_asr.cli import command  # noqa: E402
from cascade_asr.config import TrainConfig, load_train_config  # noqa: E402
from cascade_asr.data.atomic import write_json  # noqa: E402
from cascade_asr.data.manifest import read_manifest  # noqa: E402
from cascade_asr.data.tokens import Tokenizer  # noqa: E402
from cascade_asr.device import make_fabric  # noqa: E402
from cascade_asr.errors import ConfigError  # noqa: E402
from cascade_asr.experiment import (  # noqa: E402
    Experiment,
    build_model,
    check_config,
    check_criteria,
    feature_dimension,
    plan_loader,
)
from cascade_asr.data.batches import padding_share  # noqa: E402
from cascade_asr.fencing import Fence, may_always_write  # noqa: E402
from cascade_asr.model import ASRModel  # noqa: E402

logger = logging.getLogger(__name__)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what", choices=("check", "full", "cascade"),
        help="check: validate configurations and plan batches, train nothing",
    )
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder, exp/TAG")
    parser.add_argument("--dump", type=Path, required=True, help="folder of stages 1 and 2")
    parser.add_argument("--train-set", required=True, help="set to train on")
    parser.add_argument("--dev-set", required=True, help="set that selects")
    parser.add_argument("--train-config", type=Path, required=True, help="training options, YAML")
    parser.add_argument("--cascade-config", type=Path, help="cascade options, YAML")
    parser.add_argument("--cascade-stages", default="all", help="all, or numbers such as 2,3")
    parser.add_argument("--seed", type=int, help="instead of the configuration's seed")
    parser.add_argument("--ngpu", type=int, help="GPUs; 0 for the CPU; default: those there are")
    parser.add_argument("--processes", type=int, default=1, help="ranks on the CPU of a machine")
    parser.add_argument("--nodes", type=int, default=1, help="machines; their ranks come from srun")
    parser.add_argument("--log", type=Path, help="append the log to this file too")
    return parser.parse_args()


def read_configs(arguments: argparse.Namespace) -> tuple[TrainConfig, CascadeConfig]:
    """Both configurations, checked as far as they can be without a model."""
    config, notes = load_train_config(arguments.train_config)
    for note in notes:
        logger.warning(note)
    if arguments.seed is not None:
        config = dataclasses.replace(config, seed=arguments.seed)
    check_config(config, str(arguments.train_config))
    cascade = CascadeConfig()
    if arguments.cascade_config:
        cascade = load_cascade_config(arguments.cascade_config)
    return config, cascade


def make_plan(
    experiment: Experiment, config: TrainConfig, cascade: CascadeConfig
) -> tuple[ASRModel, list[StagePlan], list[str]]:
    """The model, the stages over its layers, and the dev metric that selects."""
    manifest = read_manifest(experiment.manifest_path(experiment.train_set))
    model = build_model(
        config,
        Tokenizer.from_directory(experiment.tokens),
        feature_dimension(manifest),
        experiment.global_cmvn,
        config.seed,
    )
    stages = plan_cascade(model.layers(), cascade, config)
    for stage in stages[1:]:
        check_config(stage.config, f"cascade stage {stage.number}")
    for stage in stages:
        check_criteria(stage.config, model, stage.title)
    select = cascade.select or (["wer_ctc", "min"] if model.ctc is not None else ["acc", "max"])
    if select[0] not in model.metric_names("valid"):
        raise ConfigError(
            f"select: metric '{select[0]}' is not logged; there are: "
            f"{', '.join(model.metric_names('valid'))}"
        )
    return model, stages, select


def check(
    experiment: Experiment,
    model: ASRModel,
    config: TrainConfig,
    cascade: CascadeConfig,
    stages: list[StagePlan],
) -> None:
    """Tell what training would do, and stop where it could not; write ``plan.json``."""
    for name in (experiment.train_set, experiment.dev_set):
        plan = plan_loader(model, config, experiment, name)
        frames = plan.dataset.manifest.frames
        print(
            f"{name}: {len(plan.dataset)} utterances, {len(plan.dropped)} dropped as too short for "
            f"their text, {len(plan.batches)} batches, {100 * padding_share(plan.batches, frames):.1f} "
            f"% padding, longest {frames.max()} frames"
        )
        for utterance, available, needed in plan.dropped[:10]:
            print(f"  dropped {utterance}: {available} encoder frames, {needed} needed")
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    total = sum(counts.values())
    for stage in stages:
        trained = sum(counts[name] for layer in stage.trained for name in layer.parameters)
        print(f"{stage.title}: trains {trained} of {total} parameters, seed {stage.seed}")
    write_json(
        experiment.directory / "plan.json",
        {
            "stop": cascade.stop,
            "stages": [
                {key: getattr(stage, key) for key in ("number", "name", "title", "source")}
                for stage in stages
            ],
        },
    )


def main() -> None:
    arguments = parse_arguments()
    if arguments.log:
        command.log_to(arguments.log)
    config, cascade = read_configs(arguments)
    experiment = Experiment(
        arguments.exp, arguments.dump, arguments.train_set, arguments.dev_set
    )
    fabric = None
    if arguments.what != "check":
        fabric = make_fabric(
            arguments.ngpu, config.precision, arguments.processes, arguments.nodes
        )
    if fabric is None or fabric.is_global_zero:
        experiment.adopt()
    if fabric is not None:
        fabric.barrier()
    model, stages, select = make_plan(experiment, config, cascade)
    if fabric is None:
        check(experiment, model, config, cascade, stages)
        return
    fence = Fence.from_environment()
    runner = StageRunner(
        experiment, fabric, interruption, fence.check if fence else may_always_write
    )
    engine = Engine(runner, stages, cascade, select)
    if arguments.what == "full":
        engine.train_full()
    else:
        engine.run(parse_stage_numbers(arguments.cascade_stages, stages))


if __name__ == "__main__":
    command.run(main)
