"""The report of a language-model experiment (stage 6); see `cascade_asr.cli.report`.

Example:
    python -m cascade_asr.cli.lm_report --exp exp/small --dev-set valid valid test
"""

from __future__ import annotations

from cascade_asr import command
from cascade_asr.cli import report


def main() -> None:
    report.main("text", __doc__)


if __name__ == "__main__":
    command.run(main)
