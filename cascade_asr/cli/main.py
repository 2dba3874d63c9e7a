"""The console command ``cascade-asr``: one name for all commands of the toolkit.

Examples:
    cascade-asr list
    cascade-asr doctor
    cascade-asr plan --exp exp/train
    cascade-asr list --help

Each sub-command is a module of ``cascade_asr.cli`` and runs as ``python -m`` too.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

from cascade_asr import command
from cascade_asr.errors import ConfigError, nearest
from cascade_asr.version import __version__

# name, module of cascade_asr.cli, purpose; grouped by what a user wants
GROUPS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "Look": (
        ("list", "list_experiments", "experiments: stages, state, dev and test results, age, size"),
        ("status", "status", "running trainings with epoch, update and time left, here and on Slurm"),
        ("plan", "plan", "a cascade's layers, stages, controls and cost, and what is done"),
        ("compare", "compare", "experiments side by side: results, tests, what differs; or over seeds"),
        ("probe", "probe", "replace one layer at a time and score again"),
        ("doctor", "doctor", "whether this machine has what the toolkit needs"),
        ("path", "path", "folder of utils/ and conf/, for recipes outside the clone"),
    ),
    "Run": (
        ("training", "training", "check the options, train in full, train the cascade"),
        ("redo", "redo", "train a stage again; the old one is set aside"),
        ("jobs", "jobs", "trainings as Slurm jobs: submit, status, resubmit, log, cancel"),
        ("transcribe", "transcribe", "turn recordings into text with a trained model"),
        ("new-recipe", "new_recipe", "a recipe for your own data, here or anywhere"),
        ("import-data", "import_data", "make a data folder from a manifest, Common Voice, lhotse, ..."),
        ("espnet2", "espnet2", "export a model to ESPnet2, or start a cascade from one of its models"),
        ("clean", "clean", "remove what is no longer needed; shows sizes and asks first"),
    ),
    "Stages of a recipe": (
        ("data-dir", "data_dir", "check, repair, split and combine Kaldi data folders"),
        ("fbank", "fbank", "features of one part of a data folder"),
        ("dump", "dump", "collect features in a dump folder"),
        ("tokens", "tokens", "tokens and manifests"),
        ("decode", "decode", "decode one share of a set"),
        ("follow-decoding", "follow_decoding", "show the progress of decoding"),
        ("join-decoding", "join_decoding", "join the shares"),
        ("recipe-stage", "recipe_stage", "whether a stage is done, and what it depends on"),
        ("stages", "stages", "names of the trainings to decode"),
        ("score", "score", "score hypotheses; the numbers are sclite's"),
        ("score-hub5", "score_hub5", "score eval2000 or rt03 with hubscr.pl"),
        ("check-references", "check_references", "score references against themselves"),
        ("report", "report", "tables and report of a speech experiment"),
        ("perplexity", "perplexity", "perplexities of language models"),
        ("lm-text", "lm_text", "text of a language model"),
        ("lm-tokens", "lm_tokens", "its tokens"),
        ("lm-report", "lm_report", "tables and report of a language-model experiment"),
        ("sphere", "sphere", "a NIST SPHERE file as WAV"),
    ),
}


def available() -> dict[str, dict[str, tuple[str, str]]]:
    """Module and purpose of each available sub-command, by group and name."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for group, entries in GROUPS.items():
        found[group] = {
            name: (f"cascade_asr.cli.{module}", meaning)
            for name, module, meaning in entries
            if importlib.util.find_spec(f"cascade_asr.cli.{module}") is not None
        }
    return found


def usage() -> str:
    """The help text."""
    lines = ["usage: cascade-asr COMMAND [options]", "", *(__doc__ or "").splitlines()]
    for group, entries in available().items():
        lines += ["", f"{group}:"]
        lines += [f"  {name:<18}{meaning}" for name, (_, meaning) in entries.items()]
    lines += [
        "",
        "Options:",
        "  -h, --help        this text; after COMMAND: its own options, defaults and examples",
        "  --version         the version",
    ]
    return "\n".join(lines)


def dispatch() -> int | None:
    """Run the sub-command that the command line names.

    Raises:
        ConfigError: if there is no sub-command of that name.
    """
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        if words[:1] == ["help"] and len(words) > 1:
            words = [words[1], "--help"]
        else:
            print(usage())
            return 0 if words else 2
    if words[0] in ("-V", "--version"):
        print(f"cascade-asr {__version__}")
        return 0
    commands = {name: entry for group in available().values() for name, entry in group.items()}
    name = words[0].replace("_", "-")
    if name not in commands:
        raise ConfigError(
            f"no command '{words[0]}'{nearest(words[0], commands)}; 'cascade-asr --help' lists all"
        )
    if name == "training" and not {"-h", "--help"} & set(words[1:]):
        # training starts its ranks by running its own command line again, which must be a plain one
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", commands[name][0], *words[1:]])
    # the program's name in the sub-command's help and messages
    sys.argv = [f"cascade-asr {name}", *words[1:]]
    return importlib.import_module(commands[name][0]).main()


def main() -> None:
    """The entry point of the console command; never returns."""
    command.run(dispatch)


if __name__ == "__main__":
    main()
