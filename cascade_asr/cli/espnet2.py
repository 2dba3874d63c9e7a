"""Export a model to ESPnet2's format, or start a cascade from an ESPnet2 model.

Examples:
    python -m cascade_asr.cli.espnet2 export exp/rnn/stage1 exported --archive
    python -m cascade_asr.cli.espnet2 import --model-config config.yaml \\
        --weights valid.acc.ave.pth --exp exp/imported --dump dump --train-set train --dev-set dev

    python -m cascade_asr.cli.espnet2 features config.yaml > conf/fbank_espnet2.conf

`features` prints the fbank options with which stage 1 computes what a model that reads
waveforms (frontend: default) computes itself. `import` writes the model to exp/TAG/full, as
stage 3 would; without --train-config the cascade's stages are trained with its own options.
"""

from __future__ import annotations

import argparse
import logging
import shlex
from pathlib import Path

from cascade_asr import command
from cascade_asr.data.features.log_mel import option_lines
from cascade_asr.errors import ConfigError
from cascade_asr.espnet2.config import read_espnet2_config
from cascade_asr.espnet2.export import export_model, usage
from cascade_asr.espnet2.import_model import Source, import_model, read_source, write_config
from cascade_asr.recipe.task_arguments import add_task_arguments, make_task, read_configs
from cascade_asr.recipe.token_folder import options_of_tokens
from cascade_asr.speech.config import load_train_config
from cascade_asr.training.device import make_fabric, single

logger = logging.getLogger(__name__)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    out = commands.add_parser("export", help="write config.yaml and model.pth for ESPnet2")
    out.add_argument("stage", type=Path, help="folder of a finished stage, such as exp/rnn/stage1")
    out.add_argument("folder", type=Path, help="folder to write; must not exist")
    out.add_argument("--archive", action="store_true", help="also write FOLDER.zip, to pass on")
    into = commands.add_parser("import", help="use an ESPnet2 model as the full training")
    into.add_argument("--model-config", type=Path, required=True, help="its config.yaml")
    into.add_argument("--weights", type=Path, required=True, help="its .pth file")
    into.add_argument("--ngpu", type=int, choices=(0, 1), help="evaluate on a GPU, or on the CPU; "
                      "default: on a GPU if there is one")  # fmt: skip
    add_task_arguments(into, train_config_required=False)
    options = commands.add_parser("features", help="print the fbank options of a model that reads waveforms")
    options.add_argument("model_config", type=Path, help="its config.yaml")
    return parser.parse_args()


def run_export(arguments: argparse.Namespace) -> None:
    """Write and check the exported model, and print how to use it."""
    exported = export_model(arguments.stage, arguments.folder, arguments.archive)
    for note in exported.notes:
        logger.warning(note)
    for name, difference in exported.differences.items():
        print(f"ESPnet's {name} and ours differ by at most {difference:.1e}")
    config, _ = load_train_config(arguments.stage / "config.yaml")
    by_speaker = config.normalize == "speaker_mvn"
    print("\n".join(usage(exported, config.normalize_conf if by_speaker else None)))
    if exported.archive:
        print(f"to pass on: {exported.archive}, ESPnet2's model archive")


def run_import(arguments: argparse.Namespace) -> None:
    """Enter the model as full training, and print how to continue."""
    task = make_task(arguments)
    if task.kind != "speech":
        raise ConfigError("--task text: ESPnet2 language models cannot be imported")
    if (task.directory / "full").exists():
        raise ConfigError(
            f"{task.directory / 'full'}: already exists; use another --exp"
        )
    source = Source(arguments.model_config, arguments.weights)
    given = None
    if arguments.train_config:
        given, _ = read_configs(task, arguments)
    imported = read_source(source, task, given)
    task.adopt()
    for note in imported.notes:
        logger.info(note)
    if given is None:
        arguments.train_config = task.directory / "imported.yaml"
        write_config(arguments.train_config, imported.config)
    config, cascade = read_configs(task, arguments)
    fabric = make_fabric(single(arguments.ngpu), config.precision)
    done = import_model(source, imported, task, config, cascade, fabric)
    words = ["./run.sh", "--stage", "3", "--tag", task.directory.name]
    words += ["--train-config", str(arguments.train_config)]
    for option in ("cascade_config", "train_args", "seed"):
        value = getattr(arguments, option)
        if value not in (None, ""):
            words += [f"--{option.replace('_', '-')}", str(value)]
    tokens = options_of_tokens(arguments.dump, arguments.model_config)
    print(f"{done.directory} is done; to continue:")
    print(f"  {shlex.join(words)} {tokens or ''}".rstrip())
    if tokens is None:
        print("  and the token options that stage 2 was given")
    if task.directory.resolve().parent != Path("exp").resolve():
        print(f"  once {task.directory} is in the folder exp of the recipe, where run.sh looks for {words[4]}")


def print_features(arguments: argparse.Namespace) -> None:
    """Print option lines for --fbank-config."""
    frontend = read_espnet2_config(arguments.model_config, training=False).frontend
    if frontend is None:
        raise ConfigError(
            f"{arguments.model_config}: the model takes extracted features, and does not say how "
            "they were computed"
        )
    print("\n".join(option_lines(frontend)))


def main() -> None:
    arguments = parse_arguments()
    commands = {"export": run_export, "import": run_import, "features": print_features}
    commands[arguments.what](arguments)


if __name__ == "__main__":
    command.run(main)
