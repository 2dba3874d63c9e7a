"""Write RESULTS.md, report.html, report.json and report.csv of a language-model experiment (stage 6).

Example:
    python -m cascade_asr.cli.lm_report --exp exp/small valid test
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cascade_asr import command
from cascade_asr.results.data_sizes import text_sizes
from cascade_asr.results.text import collect_texts, record_of
from cascade_asr.results.views import write_views


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder, exp/TAG")
    parser.add_argument("--dump", type=Path, default=Path("dump"), help="folder of stage 2")
    parser.add_argument("texts", nargs="+", help="texts that stage 5 evaluated")
    arguments = parser.parse_args()
    results = collect_texts(arguments.exp, arguments.texts)
    write_views(record_of(results, text_sizes(arguments.dump)))


if __name__ == "__main__":
    command.run(main)
