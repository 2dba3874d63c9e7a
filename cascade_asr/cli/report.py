"""Score all stages and write RESULTS.md, report.html, report.json and report.csv (stage 6).

Example:
    python -m cascade_asr.cli.report --exp exp/rnn --dump dump test_seen test_unseen

Sets with a folder data/SET/hub5 are scored by hubscr.pl of NIST's SCTK, in subsets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cascade_asr import command
from cascade_asr.results.collect import collect
from cascade_asr.results.data_sizes import speech_sizes
from cascade_asr.results.markdown import record_of
from cascade_asr.results.views import write_views


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder, exp/TAG")
    parser.add_argument("--dump", type=Path, required=True, help="folder of stages 1 and 2")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of stage 0")
    parser.add_argument("--sctk", type=Path, help="folder of hubscr.pl; none: looked for")
    parser.add_argument("sets", nargs="+", help="test sets inside the dump")
    arguments = parser.parse_args()
    results = collect(
        arguments.exp, arguments.dump, arguments.sets, arguments.data, arguments.sctk
    )
    write_views(record_of(results, speech_sizes(arguments.dump)))


if __name__ == "__main__":
    command.run(main)
