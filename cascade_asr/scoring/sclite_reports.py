"""sclite's .sys, .raw and .pra reports, byte for byte."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from cascade_asr.scoring.alignment import CORRECT, Alignment
from cascade_asr.scoring.score import Counts, ScoreResult, Utterance, percent
from cascade_asr.scoring.tables import CENTRE, LEFT, Table

LINE_WIDTH = 1000
LABELS = (b"REF:  ", b"HYP:  ", b"Eval: ")

SUMMARY_TITLE = b"\n\n\n" + b"SYSTEM SUMMARY PERCENTAGES by SPEAKER".center(80) + b"\n\n"
ZERO_REFERENCE_NOTE = (
    b"\n* No Reference words for this/these speaker(s).  Word counts supplied\n"
    b"  rather than percents.\n"
    b"# No Reference words for this/these speaker(s).  NCE not computable.\n"
    b"+ Speaker(s) with no reference data is ignored\n"
)


def round_half_up(value: float, digits: int = 0) -> float:
    """Round as sclite does: 6.25 to 6.3.

    >>> round_half_up(6.25, 1), round_half_up(2.5)
    (6.3, 3.0)
    """
    factor = 10.0**digits
    return int(value * factor + 0.5) / factor


def shown_rate(value: float) -> str:
    """A rate in percent with one decimal, the same as in sclite's reports.

    >>> shown_rate(6.25), format(6.25, ".1f")
    ('6.3', '6.2')
    """
    return f"{round_half_up(value, 1):.1f}"


def fixed(value: float, mark: bytes = b" ", digits: int = 1) -> bytes:
    """A rounded number, five characters wide, and a mark.

    >>> fixed(6.25), fixed(2, b"*", 0)
    (b'  6.3 ', b'    2*')
    """
    return b"%5.*f%b" % (digits, round_half_up(value, digits), mark)


def result_report(result: ScoreResult) -> bytes:
    """What ``sclite -o all stdout`` prints."""
    return percent_report(result) + count_report(result) + alignment_report(result)


def percent_report(result: ScoreResult) -> bytes:
    """The .sys report: percentages by speaker."""
    counts = result.speaker_counts
    table = _summary_table(result)
    for name, speaker in counts.items():
        table.add(b"-", LEFT, [*_heading(name, speaker), *_percent_cells(speaker)])
    total = result.total
    cells = [fixed(value) for value in _rates(total)]
    cells.append(fixed(total.utterance_error_rate))
    table.add(b"=", LEFT, [b" Sum/Avg", *_sizes(total), *cells])
    spoken = [_rates(speaker) for speaker in counts.values() if speaker.words]
    mark = b" " if len(spoken) == len(counts) else b"+"
    _add_statistics(
        table,
        list(counts.values()),
        spoken,
        [speaker.utterance_error_rate for speaker in counts.values()],
        mark,
    )
    note = b"" if mark == b" " else ZERO_REFERENCE_NOTE
    return SUMMARY_TITLE + table.render() + note


def count_report(result: ScoreResult) -> bytes:
    """The .raw report: word counts by speaker."""
    counts = result.speaker_counts
    table = _summary_table(result)
    for name, speaker in counts.items():
        table.add(b"-", LEFT, [*_heading(name, speaker), *_count_cells(speaker)])
    table.add(b"=", LEFT, [b" Sum", *_sizes(result.total), *_count_cells(result.total)])
    speakers = list(counts.values())
    _add_statistics(
        table,
        speakers,
        [_numbers(speaker) for speaker in speakers],
        [float(speaker.wrong_utterances) for speaker in speakers],
        b" ",
    )
    return SUMMARY_TITLE + table.render()


def _summary_table(result: ScoreResult) -> Table:
    table = Table(result.title.encode("utf-8", "surrogateescape"))
    unit = b"# Chr" if result.options.characters else b"# Wrd"
    names = [b"Corr", b" Sub", b" Del", b" Ins", b" Err", b"S.Err"]
    table.add(b"-", LEFT, [b" SPKR", b" # Snt", unit, *names])
    return table


def _heading(name: bytes, counts: Counts) -> list[bytes]:
    return [b" " + name + b" ", *_sizes(counts)]


def _sizes(counts: Counts) -> list[bytes]:
    return [b"%5d" % counts.utterances, b"%5d" % counts.words]


def _numbers(counts: Counts) -> list[float]:
    return [
        counts.correct,
        counts.substitutions,
        counts.deletions,
        counts.insertions,
        counts.errors,
    ]


def _rates(counts: Counts) -> list[float]:
    return [percent(number, counts.words) for number in _numbers(counts)]


def _percent_cells(counts: Counts) -> list[bytes]:
    if counts.words:
        cells = [fixed(rate) for rate in _rates(counts)]
    else:
        cells = [fixed(number, b"*", 0) for number in _numbers(counts)]
    return [*cells, fixed(counts.utterance_error_rate)]


def _count_cells(counts: Counts) -> list[bytes]:
    return [fixed(number, b" ", 0) for number in (*_numbers(counts), counts.wrong_utterances)]


def _add_statistics(
    table: Table,
    speakers: Sequence[Counts],
    values: Sequence[Sequence[float]],
    utterance_errors: Sequence[float],
    mark: bytes,
) -> None:
    """Add Mean, S.D. and Median over speakers.

    Args:
        values: Corr, Sub, Del, Ins, Err of each speaker included.
        utterance_errors: utterance error rates of all speakers.
        mark: printed after the columns from which speakers were left out.
    """
    sizes = [[s.utterances for s in speakers], [s.words for s in speakers]]
    columns = [list(column) for column in zip(*values)] or [[] for _ in range(5)]
    statistics: list[tuple[bytes, Callable[[Sequence[float]], float]]] = [
        (b" Mean ", mean),
        (b" S.D. ", standard_deviation),
        (b"Median", median),
    ]
    for position, (name, statistic) in enumerate(statistics):
        cells = [fixed(statistic(column)) for column in sizes]
        cells += [fixed(statistic(column), mark) for column in columns]
        cells.append(fixed(statistic(utterance_errors)))
        table.add(b"" if position else b"=", CENTRE, [name, *cells])


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; 0 if there are no values."""
    return _sum(values) / len(values) if values else 0.0


def standard_deviation(values: Sequence[float]) -> float:
    """Square root of the variance with divisor n - 1; 0 for fewer than two values."""
    middle = mean(values)
    squares = _sum([(value - middle) * (value - middle) for value in values])
    return math.sqrt(squares / (len(values) - 1)) if squares else 0.0


def median(values: Sequence[float]) -> float:
    """Middle value, or the mean of the two middle ones; 0 if there are no values."""
    ordered = sorted(values)
    half = len(ordered) // 2
    if not ordered:
        return 0.0
    return ordered[half] if len(ordered) % 2 else (ordered[half] + ordered[half - 1]) / 2


def _sum(values: Sequence[float]) -> float:
    """Sum from left to right: Python's sum compensates rounding errors, sclite's does not."""
    total = 0.0
    for value in values:
        total += value
    return total


def alignment_report(result: ScoreResult) -> bytes:
    """The .pra report: the alignment of every utterance, by speaker."""
    title = result.title.encode("utf-8", "surrogateescape")
    parts = [
        b"\n\n\t\tDUMP OF SYSTEM ALIGNMENT STRUCTURE\n\n",
        b"System name:   " + title + b"\n\nSpeakers: \n",
    ]
    parts += [b"   %2d:  %b\n" % (i, name) for i, name in enumerate(result.speakers)]
    parts.append(b"\n")
    for i, (name, utterances) in enumerate(result.speakers.items()):
        parts.append(b"Speaker sentences%4d:  %b   #utts: %d\n" % (i, name, len(utterances)))
        parts += [_utterance_report(u, result.options.case_sensitive) for u in utterances]
    parts.append(b"\n")
    return b"".join(parts)


def _utterance_report(utterance: Utterance, case_sensitive: bool) -> bytes:
    attributes = b"Attributes: Case_sensitve \n" if case_sensitive else b""
    header = b"id: %b\nScores: (#C #S #D #I) %d %d %d %d\n%b" % (
        utterance.identifier,
        *utterance.counts,
        attributes,
    )
    if not utterance.alignment.operations:
        return header + b"\n"
    return header + b"\n".join(_alignment_lines(utterance.alignment, case_sensitive)) + b"\n"


def _alignment_lines(alignment: Alignment, case_sensitive: bool) -> list[bytes]:
    """REF, HYP and Eval lines, broken at the line width."""
    parts = _run_parts(alignment, case_sensitive)
    lines = [label + b"".join(part) + b"\n" for label, part in zip(LABELS, zip(*parts))]
    if len(lines[0]) <= LINE_WIDTH:
        return [b"".join(lines)]
    columns = [_column(*column, case_sensitive) for column in alignment.columns()]
    lines = []
    begin = 0
    while begin < len(columns):
        end, width = begin, 9 if begin else 6
        while end < len(columns) and width < LINE_WIDTH:
            width += len(columns[end][0])
            end += 1
        if end < len(columns):
            # A word wider than the line still gets one; sclite would loop forever.
            end = max(end - 1, begin + 1)
        block = columns[begin:end]
        prefix = b">> " if begin else b""
        lines.append(
            b"".join(
                prefix + label + b"".join([column[row] for column in block]) + b"\n"
                for row, label in enumerate(LABELS)
            )
        )
        begin = end
    return lines


def _run_parts(alignment: Alignment, case_sensitive: bool) -> list[tuple[bytes, bytes, bytes]]:
    """The columns, with each run of correct words in one piece."""
    parts = []
    for operations, reference, hypothesis in alignment.runs():
        if operations[0] != CORRECT:
            word = reference[0] if reference else None
            other = hypothesis[0] if hypothesis else None
            parts.append(_column(operations[0], word, other, case_sensitive))
        elif reference == hypothesis:
            text = b" ".join(reference) + b" "
            parts.append((text, text, b" " * len(text)))
        else:
            parts += [_column(CORRECT, *pair, True) for pair in zip(reference, hypothesis)]
    return parts


def _column(
    operation: int, reference: bytes | None, hypothesis: bytes | None, case_sensitive: bool
) -> tuple[bytes, bytes, bytes]:
    if operation == CORRECT:
        width = max(len(reference), len(hypothesis)) + 1
        return reference.ljust(width), hypothesis.ljust(width), b" " * width
    if reference is None:
        reference = b"*" * len(hypothesis)
    elif hypothesis is None:
        hypothesis = b"*" * len(reference)
    if not case_sensitive:
        reference, hypothesis = reference.upper(), hypothesis.upper()
    width = max(len(reference), len(hypothesis)) + 1
    return (
        reference.ljust(width),
        hypothesis.ljust(width),
        bytes((operation,)).ljust(width),
    )
