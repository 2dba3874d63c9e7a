"""Score hypotheses against references; the numbers are sclite's.

    python -m cascade_asr.cli.score --ref data/test/text --hyp exp/decode/text \\
        --utt2spk data/test/utt2spk --outdir exp/decode/score_wer
    python -m cascade_asr.cli.score --ref ref.trn --hyp hyp.trn --outdir score
"""

from __future__ import annotations

import argparse
import gc
import logging
import math
from pathlib import Path

from cascade_asr import command
from cascade_asr.errors import ConfigError, DataError
from cascade_asr.scoring.changes import changes, write_changes
from cascade_asr.scoring.options import ENCODINGS, ID_TYPES, ScoringOptions
from cascade_asr.scoring.output import result_record, write_record, write_reports
from cascade_asr.scoring.score import ScoreResult
from cascade_asr.scoring.scorer import score_transcripts
from cascade_asr.scoring.significance import UNITS, Mapsswe, compare, interval, shown_probability
from cascade_asr.scoring.transcripts import Transcripts, read_speakers, read_transcripts

log = logging.getLogger("score")


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m cascade_asr.cli.score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = options.add_argument
    files = "trn file, or Kaldi text"
    add("--ref", required=True, type=Path, help=f"references: {files}")
    add("--hyp", required=True, type=Path, help=f"hypotheses: {files}")
    add("--outdir", required=True, type=Path, help="folder for the reports")
    add("--utt2spk", type=Path, help="speaker of each utterance, for Kaldi text")
    add("--format", choices=("auto", "trn", "text"), default="auto", help="format of --ref and --hyp")
    add("--id-type", default="rm", metavar="|".join(ID_TYPES), help="how an utterance id names its speaker")
    add("--case-sensitive", action="store_true", help="do not ignore case (sclite -s)")
    add("--encoding", default="", choices=ENCODINGS, help="check and split as UTF-8 (sclite -e)")
    add("--char", action="store_true", help="score characters (sclite -c)")
    add("--spaces", action="store_true", help="with --char: count spaces, as ESPnet does")
    add("--no-ascii", action="store_true", help="with --char: keep ASCII words whole")
    add("--delete-hyphen", action="store_true", help="with --char: drop hyphens")
    add("--optional-deletable", action="store_true", help="'(word)' may be missing (sclite -D)")
    add("--fragments", action="store_true", help="'wh-' matches 'what' (sclite -F)")
    add("--remove", action="append", default=[], metavar="WORDS", help="words to leave out, separated by "
        "spaces and spelt as in the texts")
    add("--title", help="name of the system in the reports (default: OUTDIR/hyp.trn)")
    add("--strict", action="store_true", help="a reference without hypothesis is an error")
    add("--compare", type=Path, metavar="OTHER_HYP", help="also score B and compare it with --hyp")
    add("--bootstrap", type=int, default=1000, metavar="N", help="resampled sets (0: no interval)")
    add("--bootstrap-unit", choices=UNITS, default="utterance", help="what is resampled")
    add("--seed", type=int, default=0, help="seed of the bootstrap")
    return options


def main() -> None:
    """Read, score, write, and print the two lines that users look for."""
    arguments = parser().parse_args()
    # The objects form no reference cycles; looking for some costs a tenth of the time.
    gc.disable()
    for name, number in (("seed", arguments.seed), ("bootstrap", arguments.bootstrap)):
        if number < 0:
            raise ConfigError(f"--{name} {number}: expected 0 or more")
    options = ScoringOptions(
        id_type=arguments.id_type,
        case_sensitive=arguments.case_sensitive,
        encoding=arguments.encoding,
        characters=arguments.char,
        spaces=arguments.spaces,
        no_ascii=arguments.no_ascii,
        delete_hyphen=arguments.delete_hyphen,
        optional_deletable=arguments.optional_deletable,
        fragments=arguments.fragments,
    )
    outdir: Path = arguments.outdir
    title = arguments.title or f"{outdir}/hyp.trn"
    notes: list[str] = []
    reader = _Reader(arguments, options, notes)
    reference = reader.read(arguments.ref, conflicts=False)
    hypothesis = reader.read(arguments.hyp)
    result = score_transcripts(
        reference, hypothesis, options, title, arguments.strict, warnings=notes
    )
    other = None
    if arguments.compare:
        other = score_transcripts(
            reference, reader.read(arguments.compare), options, str(arguments.compare)
        )
    if reader.absent:
        shown = b" ".join(sorted(reader.absent)).decode("utf-8", "backslashreplace")
        log.warning("--remove: in none of the texts: %s; words are spelt as there, case included", shown)
    inputs = [arguments.ref, arguments.hyp, *filter(None, [arguments.compare])]
    _require_other_files(outdir, reference, hypothesis, inputs)
    outdir.mkdir(parents=True, exist_ok=True)
    _write(outdir, reference, hypothesis, result, other, arguments)
    for warning in (*result.warnings, *(other.warnings if other else ())):
        log.warning("%s", warning)


class _Reader:
    """Reads files with the options that all of them share."""

    def __init__(
        self, arguments: argparse.Namespace, options: ScoringOptions, notes: list[str]
    ) -> None:
        self.options, self.notes, self.form = options, notes, arguments.format
        self.removed = " ".join(arguments.remove).encode("utf-8", "surrogateescape").split()
        self.absent = set(self.removed)
        self.speakers = None
        if arguments.utt2spk:
            self.speakers = read_speakers(_existing(arguments.utt2spk), notes.append)

    def read(self, path: Path, conflicts: bool = True) -> Transcripts:
        transcripts = read_transcripts(
            _existing(path), self.options, self.notes.append, self.form, self.speakers, conflicts
        )
        if not self.removed:
            return transcripts
        for line in transcripts.lines.values():
            self.absent.difference_update(line.text.split())
        return transcripts.without(self.removed)


def _existing(path: Path) -> Path:
    """A file, or a pipe such as that of ``--hyp <(int2sym.pl ...)``."""
    if not path.exists() or path.is_dir():
        raise DataError(f"{path}: no such file")
    return path


def _require_other_files(
    outdir: Path, reference: Transcripts, hypothesis: Transcripts, inputs: list[Path]
) -> None:
    """Refuse to overwrite an input with anything else; the folder may be that of an earlier scoring."""
    for name, side in (("ref.trn", reference), ("hyp.trn", hypothesis)):
        output = outdir / name
        if output.is_file() and any(map(output.samefile, inputs)) and output.read_bytes() != side.trn():
            raise ConfigError(f"{output}: is read, and would be overwritten; give another --outdir")


def _write(
    outdir: Path,
    reference: Transcripts,
    hypothesis: Transcripts,
    result: ScoreResult,
    other: ScoreResult | None,
    arguments: argparse.Namespace,
) -> None:
    reference.write_trn(outdir / "ref.trn")
    hypothesis.write_trn(outdir / "hyp.trn")
    write_reports(outdir, result)
    bootstrap = (arguments.bootstrap, arguments.seed, arguments.bootstrap_unit)
    comparison = None
    if other is not None:
        comparison = compare(result, other, *bootstrap)
        write_changes(outdir / "compare.tsv", changes(result, other))
    record = result_record(result, interval(result, *bootstrap), comparison)
    write_record(outdir / "result.json", record)
    _print_summary(outdir, record)


def _print_summary(outdir: Path, record: dict) -> None:
    """The lines that ``grep -e Avg -e SPKR -m 2 result.txt`` finds."""
    lines = (outdir / "hyp.trn.sys").read_text("utf-8", "backslashreplace").splitlines()
    for line in [line for line in lines if "SPKR" in line or "Avg" in line][:2]:
        print(line)
    comparison = record.get("comparison")
    if comparison:
        test, spread = Mapsswe(**comparison["mapsswe"]), ""
        if not math.isnan(comparison["low"]):
            better = shown_probability("P(better)", comparison["probability_b_better"])
            spread = f" [{comparison['low']:+.2f}, {comparison['high']:+.2f}], {better}"
        print(
            f"{comparison['title_b']}: {comparison['error_rate_b']:.2f}%, "
            f"{comparison['difference']:+.2f}{spread}; {test.in_words(3)}"
        )


if __name__ == "__main__":
    command.run(main)
