"""Train: stage 3 (full training) and stage 4 (the cascade) of a recipe.

Examples:
    python -m cascade_asr.cli.training full --exp exp/rnn --dump dump \\
        --train-set train --dev-set dev --train-config conf/train.yaml
    python -m cascade_asr.cli.training cascade --cascade-stages 2,3 …
"""

from __future__ import annotations

from cascade_asr.training.interruption import Interruption

interruption = Interruption().install()  # before torch is imported, which takes seconds

import argparse  # noqa: E402
import logging  # noqa: E402
from pathlib import Path  # noqa: E402

from cascade_asr import command  # noqa: E402
from cascade_asr.cascade.engine import Engine  # noqa: E402
from cascade_asr.cascade.names import (  # noqa: E402
    CASCADE,
    CONTROLS,
    parse_controls,
    parse_stage_numbers,
)
from cascade_asr.cascade.planning import Plan, make_plan, write_plan  # noqa: E402
from cascade_asr.cascade.stage import StageRunner  # noqa: E402
from cascade_asr.cascade.task import Task  # noqa: E402
from cascade_asr.cascade.trial import try_networks  # noqa: E402
from cascade_asr.cli.plan import overview  # noqa: E402
from cascade_asr.cli.recorded_arguments import record_arguments  # noqa: E402
from cascade_asr.errors import ConfigError  # noqa: E402
from cascade_asr.options.assignments import Assignments  # noqa: E402
from cascade_asr.options.places import located_cascade_errors, located_errors  # noqa: E402
from cascade_asr.options.training import TrainingOptions  # noqa: E402
from cascade_asr.recipe.task_arguments import add_task_arguments, make_task, read_configs  # noqa: E402
from cascade_asr.training.device import (  # noqa: E402
    check_counts,
    end_with_first_rank,
    make_fabric,
    single,
)
from cascade_asr.training.fencing import Fence, may_always_write  # noqa: E402

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
    add_task_arguments(parser)
    parser.add_argument("--cascade-stages", default="all", help="all, none, or numbers such as 2,3")
    parser.add_argument(
        "--controls", default="none",
        help=f"controls to train as well: none, all, or some of {','.join(CONTROLS)}",
    )
    parser.add_argument("--branch", help="train only this branch: cascade or a control")
    parser.add_argument(
        "--ngpu", type=int,
        help="number of GPUs; 0 for the CPU; default: all there are, one for a language model",
    )  # fmt: skip
    parser.add_argument("--processes", type=int, default=1, help="ranks per machine on the CPU")
    parser.add_argument("--nodes", type=int, default=1, help="number of machines; srun starts their ranks")
    parser.add_argument(
        "--threads", type=int,
        help="threads of each process on a CPU; default: one for every 5 million parameters of the "
        "network, at most one per processor",
    )  # fmt: skip
    parser.add_argument("--show-plan", action="store_true", help="with check: also print the plan")
    parser.add_argument("--log", type=Path, help="also append the log to this file")
    parser.add_argument(
        "--again", default="", metavar="STAGE",
        help="train this stage again if it is done; the old one is kept as STAGE.replaced.N",
    )  # fmt: skip
    return parser.parse_args()


def check(task: Task, config: TrainingOptions, plan: Plan, where: str) -> None:
    """Print what training would see, stop at what it could not do, and write ``plan.json``.

    Args:
        task, config, plan: what would be trained.
        where: the configuration's file, for the messages.
    """
    print("\n".join(task.data(plan.model, config).description))
    try_networks(task, plan, where)
    write_plan(task.directory / "plan.json", plan)


def chosen(plan: Plan, arguments: argparse.Namespace) -> tuple[list[int], list[str]]:
    """Stages of the branch, and controls, that the options name.

    Raises:
        ConfigError: for a branch, a stage or a control that the plan lacks.
    """
    branch = arguments.branch or CASCADE
    if branch not in plan.branches:
        raise ConfigError(
            f"--branch {branch}: no such branch; there are: {', '.join(plan.branches)}"
        )
    last = len(plan.branches[branch].own)
    controls = [name for name in plan.branches if name != CASCADE]
    return (
        parse_stage_numbers(arguments.cascade_stages, last),
        parse_controls(arguments.controls, controls),
    )


def main() -> None:
    arguments = parse_arguments()
    if arguments.what == "check":  # it has nothing to save, and ends at once
        interruption.release()
        if interruption.signal_number is not None:
            raise KeyboardInterrupt
    if arguments.log:
        command.log_to(arguments.log)
    counts = (arguments.processes, arguments.nodes, arguments.threads)
    check_counts(arguments.ngpu, *counts)
    task = make_task(arguments)
    config, cascade = read_configs(task, arguments)
    fabric = None
    if arguments.what != "check":
        ngpu = single(arguments.ngpu) if task.kind == "text" else arguments.ngpu
        fabric = make_fabric(ngpu, config.precision, *counts)
        end_with_first_rank(fabric)
    if fabric is None or fabric.is_global_zero:
        task.adopt()
    if fabric is not None:
        fabric.barrier()
    cascade_file = str(arguments.cascade_config) if arguments.cascade_config else None
    given = Assignments.parse(arguments.train_args)
    where = str(arguments.train_config)
    with given.named(where), located_errors(where), located_cascade_errors(cascade_file):
        plan = make_plan(task, config, cascade)
    numbers, controls = chosen(plan, arguments)  # mistakes before hours of full training
    if fabric is None:
        with given.named(where):
            check(task, config, plan, where)
        if arguments.show_plan:
            print("\n".join(overview(task, plan, controls)))
        record_arguments(arguments)
        return
    if fabric.is_global_zero:
        record_arguments(arguments)
        path = task.directory / "plan.json"
        if arguments.what == "cascade" or cascade_file or not path.is_file():
            write_plan(path, plan)  # stage 2 wrote that of another configuration, or none
    fence = Fence.from_environment()
    runner = StageRunner(
        task, fabric, interruption, fence.check if fence else may_always_write, str(given),
        arguments.again,
    )  # fmt: skip
    engine = Engine(runner, plan.branches, cascade, plan.select)
    if arguments.what == "full":
        engine.train_full()
    else:
        engine.run(numbers, arguments.branch or CASCADE)
        for name in controls if not arguments.branch else ():
            engine.run(range(1, len(plan.branches[name].stages)), name)


if __name__ == "__main__":
    command.run(main)
