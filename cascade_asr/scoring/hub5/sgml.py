"""Read the alignments that sclite writes with ``-o sgml``, which hubscr.pl uses."""

from __future__ import annotations

import re
from pathlib import Path

from cascade_asr.errors import DataError
from cascade_asr.scoring.alignment import Alignment
from cascade_asr.scoring.options import ScoringOptions
from cascade_asr.scoring.score import ScoreResult, Utterance

_SPEAKER = re.compile(rb'<SPEAKER id="([^"]*)">')
_PATH = re.compile(rb'<PATH id="([^"]*)"')
# operation, reference word, hypothesis word, times; a gap has no word, not even an empty one;
# quotes that belong to a word are written as they are
_COLUMN = re.compile(rb'([CSDI]),(?:"(.*?)")?,(?:"(.*?)")?,([0-9.+-]*)(?::|$)')


def read_sgml(path: Path, title: str) -> ScoreResult:
    """Read one system's alignments, in the order of the file.

    Each conversation side is a speaker. Utterances are numbered by their reference
    segments, so that two systems scored on the same reference have the same ids.

    Args:
        path: the report, such as ``hyp.ctm.filt.sgml``.
        title: name of the system in reports.

    Raises:
        DataError: for a line that is not an alignment, or a truncated report.
    """
    utterances: list[Utterance] = []
    speaker = identifier = None
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, 1):
        if match := _SPEAKER.match(line):
            speaker = match[1]
        elif match := _PATH.match(line):
            identifier = match[1]
            utterances.append(Utterance.of(identifier, speaker, Alignment((), (), b"")))
        elif identifier is not None and line == b"</PATH>":
            identifier = None
        elif identifier is not None:
            alignment = _alignment(line, f"{path}:{number}")
            utterances[-1] = Utterance.of(identifier, speaker, alignment)
    if not lines or lines[-1] != b"</SYSTEM>":
        raise DataError(f"{path}: not complete; sclite did not finish")
    options = ScoringOptions(optional_deletable=True, fragments=True)
    return ScoreResult(title, utterances, options)


def _alignment(line: bytes, where: str) -> Alignment:
    """Parse the columns of one utterance: ``C,"yes","yes",1.00+1.25:D,"no",,``."""
    operations, reference, hypothesis = bytearray(), [], []
    end = 0
    for match in _COLUMN.finditer(line):
        if match.start() != end:
            break
        end = match.end()
        operation, expected, found = match[1], match[2], match[3]
        operations += operation
        if operation != b"I":
            reference.append(expected or b"")
        if operation != b"D":
            hypothesis.append(found or b"")
    if end != len(line):
        raise DataError(f"{where}: not an alignment by sclite: {line[end:end + 40]!r}")
    return Alignment(reference, hypothesis, bytes(operations))
