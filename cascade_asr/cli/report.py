"""Score all stages and write RESULTS.md, report.html, report.json and report.csv (stage 6).

Examples:
    python -m cascade_asr.cli.report --exp exp/rnn --dev-set dev test_seen test_unseen
    python -m cascade_asr.cli.report --task text --exp exp/small --dev-set valid valid test

Sets with a folder data/SET/hub5 are scored by hubscr.pl of NIST's SCTK, in subsets. With
--dev-set the models are loaded, one after another, to show attention, CTC alignments and
how far apart the layers of two trainings are; --samples 0 leaves this out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cascade_asr import command
from cascade_asr.results.kinds import KINDS, Given
from cascade_asr.results.record import experiment_record
from cascade_asr.results.views import write_views


def main(task: str = "speech", description: str | None = __doc__) -> None:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--task", choices=tuple(KINDS), default=task, help="what was trained (default: %(default)s)"
    )
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder, exp/TAG")
    parser.add_argument(
        "--dump", type=Path, default=Path("dump"), help="folder of stages 1 and 2 (default: dump)"
    )
    parser.add_argument(
        "--data", type=Path, default=Path("data"), help="folder of stage 0 (default: data)"
    )
    parser.add_argument(
        "--sctk", type=Path, help="folder of hubscr.pl (default: PATH, then Debian's folder)"
    )
    parser.add_argument(
        "--dev-set", help="set on which the models are inspected (default: they are not loaded)"
    )
    parser.add_argument(
        "--samples", type=int, default=3, help="number of its utterances to draw alignments for; 0: the "
        "models are not loaded (default: %(default)s)"
    )
    parser.add_argument("sets", nargs="+", help="test sets inside the dump, or texts")
    arguments = parser.parse_args()
    given = Given(
        arguments.exp,
        arguments.sets,
        arguments.dump,
        arguments.data,
        arguments.sctk,
        arguments.dev_set,
        arguments.samples,
    )
    write_views(experiment_record(arguments.exp, KINDS[arguments.task](given)))


if __name__ == "__main__":
    command.run(main)
