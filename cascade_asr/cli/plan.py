"""Show a cascade before it runs: layers, stages and controls, cost, and what is done.

Examples:
    cascade-asr plan --exp exp/rnn                  # options not given are read from its folder
    cascade-asr plan --exp exp/rnn --layers         # the names for `cuts`
    cascade-asr plan --exp exp/rnn --controls all
    cascade-asr plan --exp exp/rnn --cascade-config conf/cascade_tail.yaml    # what if
    python -m cascade_asr.cli.plan --exp exp/new --dump dump --train-set train \\
        --dev-set dev --train-config conf/train.yaml --cascade-config conf/cascade.yaml

Costs are in weight updates, and once full training is done also in hours.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging

from cascade_asr import command
from cascade_asr.cascade.controls import available_controls
from cascade_asr.cascade.engine import Engine
from cascade_asr.cascade.names import CASCADE, CONTROLS, parse_controls
from cascade_asr.cascade.overview import Cost, layer_table, tree
from cascade_asr.cascade.plan import StagePlan
from cascade_asr.cascade.planning import Plan, make_plan
from cascade_asr.cascade.stage import StageRunner
from cascade_asr.cascade.task import Task
from cascade_asr.cli.recorded_arguments import complete
from cascade_asr.files import read_json
from cascade_asr.options.training import TrainingOptions
from cascade_asr.recipe.task_arguments import add_task_arguments, make_task, read_configs
from cascade_asr.training.interruption import Interruption
from cascade_asr.training.protocols import CascadeModel

logger = logging.getLogger(__name__)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_task_arguments(parser, recorded=True)
    parser.add_argument("--layers", action="store_true", help="list the layers and nothing else")
    parser.add_argument(
        "--controls", default="none",
        help=f"controls to show: none, all, or some of {','.join(CONTROLS)}; default: none",
    )  # fmt: skip
    parser.add_argument(
        "--list-controls", metavar="CONTROLS", help="print the controls that this value of --controls stands for"
    )
    return parser.parse_args()


def seconds_per_update(task: Task, plan: Plan) -> dict[str, float]:
    """Measured seconds per update of each finished training, by name."""
    measured = {}
    for branch in plan.branches.values():
        for stage in branch.stages:
            path = task.directory / stage.name / "done.json"
            if path.is_file():
                content = read_json(path)
                if content["updates"]:  # an imported model was trained elsewhere
                    measured[stage.name] = content["seconds"] / content["updates"]
    return measured


class ParameterCounts:
    """Parameter counts of a training's network.

    Stages may have a different network from full training, for example with tied weights
    untied. A network is built once, and only if it differs from the plan's.

    Args:
        task: builds networks.
        plan: the plan whose trainings are asked for.
    """

    def __init__(self, task: Task, plan: Plan) -> None:
        self.task = task
        self.known = {_network(plan.stages[0]): _sizes(plan.model)}

    def __call__(self, stage: StagePlan) -> dict[str, int]:
        """By name; a matrix with two names counts once."""
        key = _network(stage)
        if key not in self.known:
            self.known[key] = _sizes(self.task.build_model(stage.config, stage.config.seed))
        return self.known[key]


def _network(stage: StagePlan) -> str:
    """The options of a training that define its network rather than how it is trained."""
    ignored = {field.name for field in dataclasses.fields(TrainingOptions)}
    return repr({key: value for key, value in vars(stage.config).items() if key not in ignored})


def _sizes(model: CascadeModel) -> dict[str, int]:
    return {name: each.numel() for name, each in model.named_parameters()}


def overview(task: Task, plan: Plan, controls: list[str]) -> list[str]:
    """The whole plan as lines of text."""
    runner = StageRunner(task, None, Interruption())
    engine = Engine(runner, plan.branches, plan.cascade, plan.select)
    done = {name: set(engine.done(name)) for name in plan.branches}
    measured = seconds_per_update(task, plan)
    per_epoch: dict[int, int] = {}

    def cost(stage: StagePlan) -> Cost:
        key = id(stage.config)
        if key not in per_epoch:
            per_epoch[key] = task.data(plan.model, stage.config).updates_per_epoch
        updates = per_epoch[key] * stage.config.max_epoch
        pace = measured.get(stage.name, measured.get("full"))
        return Cost(updates, None if pace is None else pace * updates)

    def state(branch: str, stage: StagePlan) -> str:
        folder = task.directory / stage.name
        if stage.number in done[branch]:
            return "done"
        if (folder / "done.json").is_file():
            return "done with other options: would be trained again"
        return "in progress" if (folder / "checkpoint.pt").is_file() else "to do"

    shown = [CASCADE, *controls]
    stages = [each for name in shown for each in plan.branches[name].own]
    costs = [cost(stage) for stage in (plan.stages[0], *stages)]
    lines = [
        f"{task.directory}: selection by dev {plan.select[0]} ({plan.select[1]})",
        *tree(plan, shown, cost, state, ParameterCounts(task, plan)),
        f"in all {sum(each.updates for each in costs):,} updates",
    ]
    if all(each.seconds is not None for each in costs):
        lines[-1] += f", {sum(each.seconds for each in costs) / 3600:.1f} h one after another"
    return lines


def main() -> None:
    arguments = parse_arguments()
    complete(arguments)
    task = make_task(arguments)
    config, cascade = read_configs(task, arguments)
    if arguments.list_controls is not None:
        print(*parse_controls(arguments.list_controls, available_controls(cascade, config)))
        return
    task.adopt(update=False)
    plan = make_plan(task, config, cascade)
    if arguments.layers:
        counts = ParameterCounts(task, plan)(plan.stages[-1])  # whose layers these are
        print(f"layers by grain '{cascade.grain}', input first:")
        print("\n".join(layer_table(plan.layers, counts)))
        return
    controls = parse_controls(arguments.controls, available_controls(cascade, config))
    print("\n".join(overview(task, plan, controls)))


if __name__ == "__main__":
    command.run(main)
