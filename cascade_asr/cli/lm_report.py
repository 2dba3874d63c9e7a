"""Write RESULTS.md and report.html of a language-model experiment (stage 6).

Example:
    python -m cascade_asr.cli.lm_report --exp exp/small valid test
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cascade_asr import command
from cascade_asr.results.provenance import write_results
from cascade_asr.results.text import collect_texts, text_html, text_markdown


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder, exp/TAG")
    parser.add_argument("texts", nargs="+", help="texts that stage 5 evaluated")
    arguments = parser.parse_args()
    results = collect_texts(arguments.exp, arguments.texts)
    write_results(
        arguments.exp, {"report.html": text_html(results), "RESULTS.md": text_markdown(results)}
    )


if __name__ == "__main__":
    command.run(main)
