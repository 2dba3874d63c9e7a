"""sclite's .dtl report: totals, confusion pairs and the words behind the errors."""

from __future__ import annotations

from collections import Counter

from cascade_asr.scoring.sclite_reports import round_half_up
from cascade_asr.scoring.score import Counts, ScoreResult, percent


def detail_report(result: ScoreResult) -> bytes:
    """The .dtl report of a set; ``substitions`` is sclite's spelling."""
    total = result.total
    title = result.title.encode("utf-8", "surrogateescape")
    parts = [
        b"DETAILED OVERALL REPORT FOR THE SYSTEM: " + title + b"\n\n",
        _utterance_section(result),
        _word_section(total),
        *_word_lists(result),
    ]
    return b"".join(parts)


def _utterance_section(result: ScoreResult) -> bytes:
    total = result.total
    with_kind = [
        sum(utterance.counts[kind] > 0 for utterance in result.utterances) for kind in (1, 2, 3)
    ]
    lines = [
        b"SENTENCE RECOGNITION PERFORMANCE\n",
        b" sentences                                        %4d" % total.utterances,
        b" with errors                            %b   (%4d)\n"
        % (_share(total.wrong_utterances, total.utterances), total.wrong_utterances),
    ]
    for name, number in zip((b"substitions", b"deletions", b"insertions"), with_kind):
        share = _share(number, total.utterances)
        lines.append(b"   with %-32b%b   (%4d)" % (name, share, number))
    return b"\n".join(lines) + b"\n\n\n"


def _word_section(total: Counts) -> bytes:
    def line(name: bytes, number: int) -> bytes:
        share = _share(number, total.words) if total.words else b"UNDEF%"
        return b"%-26b=  %b   (%4d)\n" % (name, share, number)

    accuracy = b"UNDEF%"
    if total.words:
        accuracy = b"%5.1f%%" % _round_signed(100.0 - percent(total.errors, total.words))
    return b"".join(
        [
            b"WORD RECOGNITION PERFORMANCE\n\n",
            line(b"Percent Total Error", total.errors) + b"\n",
            line(b"Percent Correct", total.correct) + b"\n",
            line(b"Percent Substitution", total.substitutions),
            line(b"Percent Deletions", total.deletions),
            line(b"Percent Insertions", total.insertions),
            b"Percent Word Accuracy     =  " + accuracy + b"\n\n\n",
            b"Ref. words                =           (%4d)\n" % total.words,
            b"Hyp. words                =           (%4d)\n"
            % (total.correct + total.substitutions + total.insertions),
            b"Aligned words             =           (%4d)\n" % (total.words + total.insertions),
        ]
    )


def _share(part: int, whole: int) -> bytes:
    return b"%5.1f%%" % round_half_up(percent(part, whole), 1)


def _round_signed(value: float) -> float:
    return round_half_up(value, 1) if value >= 0 else 0.0 - round_half_up(-value, 1)


def _word_lists(result: ScoreResult) -> list[bytes]:
    pairs: list[bytes] = []
    inserted: list[bytes] = []
    deleted: list[bytes] = []
    substituted: list[bytes] = []
    falsely_recognized: list[bytes] = []
    for utterance in result.utterances:
        if not utterance.errors:
            continue
        for reference, hypothesis in utterance.alignment.errors():
            if reference is None:
                inserted.append(hypothesis)
            elif hypothesis is None:
                deleted.append(reference)
            else:
                pairs.append(reference + b" ==> " + hypothesis)
                substituted.append(reference)
                falsely_recognized.append(hypothesis)
    return [
        b"\n" + _word_list(b"CONFUSION PAIRS", pairs),
        b"\n\n" + _word_list(b"INSERTIONS", inserted),
        b"\n\n" + _word_list(b"DELETIONS", deleted),
        b"\n\n" + _word_list(b"SUBSTITUTIONS", substituted),
        b"\n* NOTE: The 'Substitution' words are those reference words\n"
        b"        for which the recognizer supplied an incorrect word.\n\n",
        b"\n" + _word_list(b"FALSELY RECOGNIZED", falsely_recognized),
        b"\n* NOTE: The 'Falsely Recognized' words are those hypothesis words\n"
        b"        which the recognizer incorrectly substituted for a reference word.\n\n",
    ]


def _word_list(title: bytes, words: list[bytes]) -> bytes:
    """Entries by decreasing count, then in byte order."""
    counts = Counter(words)
    lines = [
        b"%-30b   Total                 (%d)\n" % (title, len(counts)),
        b"%-30b   With >=  1 occurrences (%d)\n\n" % (b"", len(counts)),
    ]
    entries = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    lines += [b"%4d: %4d  ->  %b\n" % (i, n, word) for i, (word, n) in enumerate(entries, 1)]
    lines.append(b"     -------\n     %5d\n\n" % len(words))
    return b"".join(lines)
