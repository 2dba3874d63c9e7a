"""Compare experiments or trainings: a table, tests, and how their configurations differ.

Examples:
    cascade-asr compare exp/rnn exp/conformer              # what each experiment selected
    cascade-asr compare exp/rnn/full exp/rnn/stage2 --sets test_seen --html compare.html
    cascade-asr compare seeds --outdir exp/rnn_seeds exp/rnn_seed1 exp/rnn_seed2 exp/rnn_seed3
    cascade-asr compare models --dump dump exp/rnn/longer1 exp/rnn/stage2 test_seen test_unseen

Every training is tested against the first one, utterance by utterance: word error rates in
percent, MAPSSWE, and a paired bootstrap of 1000 samples with 95 % intervals. Perplexities of
language models are compared in percent and in bits per token. If one of them was not tested yet,
dev values and options are compared. Results on different data or with different vocabularies are
refused, and so is a set that was decoded before the training was replaced. "seeds" writes
RESULTS.md for experiments that differ only in their seed; "models" prints the tests of two
trainings.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cascade_asr import command
from cascade_asr.errors import ConfigError
from cascade_asr.files import atomic_write
from cascade_asr.results.branches import read_experiment, seeds_table
from cascade_asr.results.comparison import compare_systems, open_system
from cascade_asr.results.comparison_page import comparison_page, comparison_text
from cascade_asr.results.experiments import is_experiment
from cascade_asr.results.headline import headline
from cascade_asr.results.markdown import compare_models
from cascade_asr.results.paired_tests import paired_lines
from cascade_asr.results.seeds import check_seeds


def seeds(arguments: argparse.Namespace) -> None:
    """Write mean, standard deviation and paired tests over seeds to ``RESULTS.md``.

    Raises:
        ConfigError: if the experiments differ in more than their seed, or one is none.
    """
    # exp/TAG_seed* also names the folder of the tables, exp/TAG_seeds
    tables = arguments.outdir.resolve()
    given = [each for each in arguments.experiments if each.resolve() != tables]
    for each in given or arguments.experiments:
        if not each.is_dir() or not is_experiment(each):
            raise ConfigError(f"{each}: not an experiment; expected a folder such as exp/TAG_seed1")
    results = [read_experiment(directory) for directory in given]
    check_seeds(given)
    names = ", ".join(str(each) for each in given)
    lines = [
        "",
        f"Results of {len(results)} seed{'s' * (len(results) > 1)}: {names}",
        "",
        headline(results),
        "",
        seeds_table(results),
        "",
        "Mean ± standard deviation over seeds, of the training that the dev metric selects in each "
        "branch. Paired t-tests over seeds:",
        "",
        *paired_lines(results),
        "",
    ]
    with atomic_write(arguments.outdir / "RESULTS.md") as stream:
        stream.write("\n".join(lines))


def models(arguments: argparse.Namespace) -> None:
    """Print MAPSSWE and bootstrap tests of two decoded models on each set."""
    for name in arguments.sets:
        for line in compare_models(
            arguments.model_a, arguments.model_b, arguments.dump, name, arguments.data
        ):
            print(line)


def experiments(arguments: argparse.Namespace) -> None:
    """Print table, tests and differences of trainings that were tested on the same data."""
    systems = [
        open_system(each, arguments.dump, arguments.data) for each in arguments.experiments
    ]
    compared = compare_systems(systems, arguments.sets or ())
    print(comparison_text(compared))
    if arguments.html:
        with atomic_write(arguments.html) as stream:
            stream.write(comparison_page(compared))


def _seeds_and_models(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="seeds|models")
    over_seeds = commands.add_parser("seeds", help="branches over experiments of several seeds")
    over_seeds.add_argument("--outdir", type=Path, required=True, help="folder for RESULTS.md")
    over_seeds.add_argument("experiments", type=Path, nargs="+", help="exp/TAG_seedN")
    over_seeds.set_defaults(run=seeds)
    two = commands.add_parser("models", help="two decoded models, B against A")
    two.add_argument("--dump", type=Path, required=True, help="folder of stages 1 and 2")
    two.add_argument("--data", type=Path, default=Path("data"), help="folder of stage 0")
    two.add_argument("model_a", type=Path, help="exp/TAG/STAGE")
    two.add_argument("model_b", type=Path, help="exp/TAG/STAGE")
    two.add_argument("sets", nargs="+", help="test sets inside the dump")
    two.set_defaults(run=models)


def _experiments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "experiments", type=Path, nargs="+", metavar="EXP",
        help="exp/TAG, or exp/TAG/STAGE; the others are tested against the first one",
    )  # fmt: skip
    parser.add_argument(
        "--sets", nargs="+", action="extend", metavar="SET",
        help="test sets; default: all that every one of them was tested on",
    )  # fmt: skip
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="also write a page; default: print only"
    )
    parser.add_argument(
        "--dump", type=Path, help="folder of stages 1 and 2; default: that of each one's recipe"
    )
    parser.add_argument(
        "--data", type=Path, help="folder of stage 0; default: that of each one's recipe"
    )
    parser.set_defaults(run=experiments)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if sys.argv[1:2] in (["seeds"], ["models"]):
        _seeds_and_models(parser)
    else:
        _experiments(parser)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    command.run(main)
