"""Compare branches over seeds, or two trained models utterance by utterance.

Examples:
    python -m cascade_asr.cli.compare seeds --outdir exp/rnn_seeds \\
        exp/rnn_seed1 exp/rnn_seed2 exp/rnn_seed3
    python -m cascade_asr.cli.compare models --dump dump \\
        exp/rnn/longer1 exp/rnn/stage2 test_seen test_unseen
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cascade_asr import command
from cascade_asr.files import atomic_write
from cascade_asr.results.branches import headline, read_experiment, seeds_table
from cascade_asr.results.markdown import compare_models
from cascade_asr.results.paired_tests import paired_lines
from cascade_asr.results.seeds import check_seeds


def seeds(arguments: argparse.Namespace) -> None:
    """Mean, standard deviation and paired tests; written to ``RESULTS.md``.

    Raises:
        ConfigError: for experiments that differ in more than their seed.
    """
    results = [read_experiment(directory) for directory in arguments.experiments]
    check_seeds(arguments.experiments)
    names = ", ".join(str(each) for each in arguments.experiments)
    lines = [
        "",
        f"Results of {len(results)} seeds: {names}",
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
    """MAPSSWE and bootstrap of two decoded models on each set."""
    for name in arguments.sets:
        for line in compare_models(
            arguments.model_a, arguments.model_b, arguments.dump, name, arguments.data
        ):
            print(line)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="seeds|models")
    over_seeds = commands.add_parser("seeds", help="branches over experiments of several seeds")
    over_seeds.add_argument("--outdir", type=Path, required=True, help="where RESULTS.md goes")
    over_seeds.add_argument("experiments", type=Path, nargs="+", help="exp/TAG_seedN")
    over_seeds.set_defaults(run=seeds)
    two = commands.add_parser("models", help="two decoded models, B against A")
    two.add_argument("--dump", type=Path, required=True, help="folder of stages 1 and 2")
    two.add_argument("--data", type=Path, default=Path("data"), help="folder of stage 0")
    two.add_argument("model_a", type=Path, help="exp/TAG/STAGE")
    two.add_argument("model_b", type=Path, help="exp/TAG/STAGE")
    two.add_argument("sets", nargs="+", help="test sets inside the dump")
    two.set_defaults(run=models)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    command.run(main)
