"""Score eval2000 or rt03 by the Hub5 rules, with hubscr.pl of NIST's SCTK.

    python -m cascade_asr.cli.score_hub5 --set eval2000 --hyp exp/decode_eval2000/text \\
        --segments data/eval2000/hub5/segments --stm data/eval2000/hub5/stm \\
        --glm data/eval2000/hub5/glm --outdir exp/decode_eval2000/score_hub5
    python -m cascade_asr.cli.score_hub5 --check          # is hubscr.pl installed?

The reports of each subset go to a separate folder in OUTDIR, the results to
OUTDIR/result.json. The segments must have the evaluation's original times.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from cascade_asr import command
from cascade_asr.errors import ConfigError
from cascade_asr.scoring.hub5.hub5 import SUBSETS, Hub5Reference, find_sctk, score_hub5
from cascade_asr.scoring.output import hub5_record, write_record
from cascade_asr.scoring.sclite_reports import shown_rate
from cascade_asr.scoring.score import Counts

log = logging.getLogger("score_hub5")


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m cascade_asr.cli.score_hub5",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = options.add_argument
    add("--check", action="store_true", help="only say where hubscr.pl is")
    add("--set", choices=SUBSETS, help="decides the subsets")
    add("--hyp", type=Path, help="Kaldi text of the hypotheses")
    add("--segments", type=Path, help="Kaldi segments with the original times")
    add("--reco2file-and-channel", type=Path, help="file and channel of each recording")
    add("--stm", type=Path, help="the evaluation's reference")
    add("--glm", type=Path, help="the evaluation's word mapping rules")
    add("--outdir", type=Path, help="folder for the reports")
    add("--sctk", type=Path, help="folder of hubscr.pl (default: PATH, /usr/lib/sctk/bin)")
    add("--strict", action="store_true", help="a segment or side that was not decoded is an error")
    return options


def main() -> None:
    """Make the ctm, score each subset, write and print the error rates."""
    arguments = parser().parse_args()
    sctk = find_sctk(arguments.sctk)
    if arguments.check:
        print(sctk / "hubscr.pl")
        return
    needed = ("set", "hyp", "segments", "stm", "glm", "outdir")
    missing = [name for name in needed if getattr(arguments, name) is None]
    if missing:
        raise ConfigError(f"missing: {' '.join(f'--{name}' for name in missing)}; see --help")
    warnings: list[str] = []
    reference = Hub5Reference.read(
        arguments.set,
        arguments.segments,
        arguments.stm,
        arguments.glm,
        arguments.reco2file_and_channel,
    )
    warnings += [
        f"the stm contains no file of subset {subset} ('{prefix}*')"
        for subset, prefix in SUBSETS[arguments.set].items()
        if subset not in reference.subsets
    ]
    results = score_hub5(
        sctk, reference, arguments.hyp, arguments.outdir, warnings.append, arguments.strict
    )
    record = hub5_record(arguments.set, results, {}, warnings)
    write_record(arguments.outdir / "result.json", record)
    for subset, result in results.items():
        print(_line(subset, result.total))
    for warning in warnings:
        log.warning("%s", warning)


def _line(subset: str, counts: Counts) -> str:
    return (
        f"{subset:8} WER {shown_rate(counts.error_rate):>5} [ {counts.errors} / {counts.words}, "
        f"{counts.insertions} ins, {counts.deletions} del, {counts.substitutions} sub ]"
    )


if __name__ == "__main__":
    command.run(main)
