"""Score eval2000 or rt03 by the Hub5 rules, with hubscr.pl of NIST's SCTK.

    python -m cascade_asr.cli.score_hub5 --set eval2000 --hyp exp/decode_eval2000/text \\
        --segments data/eval2000/segments --stm data/eval2000/stm --glm data/eval2000/glm \\
        --outdir exp/decode_eval2000/score_hub5

OUTDIR gets the reports of each subset in a folder of its own and result.json.
The segments must have the evaluation's original times.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import asdict
from pathlib import Path

from cascade_asr.cli import command
from cascade_asr.errors import DataError
from cascade_asr.scoring.ctm import make_ctm, read_hypotheses, read_segments
from cascade_asr.scoring.hub5 import (
    SUBSETS,
    check_coverage,
    find_sctk,
    read_stm,
    score_subset,
)
from cascade_asr.scoring.output import write_record
from cascade_asr.scoring.result import Counts

log = logging.getLogger("score_hub5")


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m cascade_asr.cli.score_hub5",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = options.add_argument
    add("--set", required=True, choices=SUBSETS, help="decides the subsets")
    add("--hyp", required=True, type=Path, help="Kaldi text of the hypotheses")
    add("--segments", required=True, type=Path, help="Kaldi segments with the original times")
    add("--reco2file-and-channel", type=Path, help="file and channel of each recording")
    add("--stm", required=True, type=Path, help="the evaluation's reference")
    add("--glm", required=True, type=Path, help="the evaluation's word mapping rules")
    add("--outdir", required=True, type=Path, help="folder for the reports")
    add("--sctk", type=Path, help="folder of hubscr.pl (default: PATH, /usr/lib/sctk/bin)")
    add("--strict", action="store_true", help="a segment or side without words is an error")
    return options


def main() -> None:
    """Make the ctm, score each subset, write and print the error rates."""
    arguments = parser().parse_args()
    sctk = find_sctk(arguments.sctk)
    warnings: list[str] = []
    segments = read_segments(arguments.segments, arguments.reco2file_and_channel)
    hypotheses = read_hypotheses(arguments.hyp)
    words = make_ctm(hypotheses, segments, warnings.append, arguments.strict)
    stm = read_stm(arguments.stm)
    if not arguments.glm.is_file():
        raise DataError(f"{arguments.glm}: no such file")
    check_coverage(stm, words, warnings.append, arguments.strict)
    results: dict[str, Counts] = {}
    for subset, prefix in SUBSETS[arguments.set].items():
        folder = arguments.outdir / subset
        counts = score_subset(sctk, stm, words, arguments.glm, prefix, folder)
        if counts is None:
            warnings.append(f"the stm holds no file of subset {subset} ('{prefix}*')")
        else:
            results[subset] = counts
    _write(arguments.outdir, arguments.set, results, warnings)
    for warning in warnings:
        log.warning("%s", warning)


def _write(outdir: Path, name: str, results: dict[str, Counts], warnings: list[str]) -> None:
    subsets = {
        subset: {
            **asdict(counts),
            "words": counts.words,
            "errors": counts.errors,
            "error_rate": counts.error_rate,
        }
        for subset, counts in results.items()
    }
    write_record(
        outdir / "result.json", {"set": name, "subsets": subsets, "warnings": warnings}
    )
    for subset, counts in results.items():
        print(
            f"{subset:8} WER {counts.error_rate:5.1f} [ {counts.errors} / {counts.words}, "
            f"{counts.insertions} ins, {counts.deletions} del, {counts.substitutions} sub ]"
        )


if __name__ == "__main__":
    command.run(main)
