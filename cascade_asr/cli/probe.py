"""Replace one layer at a time in a trained model and score the dev set again.

"Are all layers created equal?" (Zhang, Bengio, Singer): nothing is trained. Writes
exp/TAG/MODEL/probe.tsv and prints it as a table.

Examples:
    cascade-asr probe --exp exp/rnn           # options not given are read from its folder
    cascade-asr probe --exp exp/rnn --model stage2 --with initial,random,full
    python -m cascade_asr.cli.probe --exp exp/rnn --dump dump --train-set train \\
        --dev-set dev --train-config conf/train.yaml \\
        --cascade-config ../../conf/plans/layer_probe.yaml
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from cascade_asr import command
from cascade_asr.cascade.planning import make_plan
from cascade_asr.cascade.probe import probe_layers, replacement_weights
from cascade_asr.cli.recorded_arguments import complete
from cascade_asr.errors import ConfigError
from cascade_asr.files import atomic_write, read_json
from cascade_asr.recipe.task_arguments import add_task_arguments, make_task, read_configs
from cascade_asr.results.columns import table
from cascade_asr.training import checkpoint
from cascade_asr.training.device import fit_threads, make_fabric, single
from cascade_asr.training.finished import require_done

logger = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_task_arguments(parser, recorded=True)
    parser.add_argument("--model", help="full, stage1, …; default: the selected one")
    parser.add_argument(
        "--with", dest="weights",
        help="initial (what each layer began with, in whichever training that was), random, or names of "
        "other trainings of the experiment; default: the plan's option probe, else initial,random",
    )
    parser.add_argument(
        "--ngpu", type=int, choices=(0, 1), help="0 for the CPU; default: a GPU if there is one"
    )
    arguments = parser.parse_args()
    complete(arguments)
    task = make_task(arguments)
    config, cascade = read_configs(task, arguments)
    task.adopt(update=False)
    plan = make_plan(task, config, cascade)
    name = arguments.model or _selected(task.directory)
    done = require_done(task.directory / name, "the probe")
    stage = plan.stage(name)
    model = task.build_model(stage.config, stage.seed)
    checkpoint.load_weights(model, checkpoint.load(done.model_path), done.model_path)
    names = arguments.weights.split(",") if arguments.weights else cascade.probe
    replacements = replacement_weights(task, plan, name, names)
    for key, weights in replacements.items():
        checkpoint.check_weights(model, weights, task.directory / key)
    fabric = make_fabric(single(arguments.ngpu), stage.config.precision)
    fit_threads(fabric, model)
    dev = task.data(model, stage.config).dev
    rows = []
    for probe in probe_layers(model, plan.layers, replacements, fabric, dev):
        metrics = [f"{value:.4f}" for value in probe.metrics.values()]
        header = ["layer", "weights", *probe.metrics]
        rows.append([probe.layer or "(none)", probe.weights or "trained", *metrics])
        logger.info("%s %s: %s", rows[-1][0], rows[-1][1], " ".join(metrics))
    with atomic_write(task.directory / name / "probe.tsv") as stream:
        stream.writelines("\t".join(row) + "\n" for row in [header, *rows])
    print(table(header, rows))


def _selected(directory: Path) -> str:
    path = directory / "selection.json"
    if not path.is_file():
        raise ConfigError(f"{path}: not found; run stage 3 first")
    return read_json(path)["selected"]


if __name__ == "__main__":
    command.run(main)
