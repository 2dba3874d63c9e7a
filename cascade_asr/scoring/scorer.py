"""Scoring: align every hypothesis with its reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cascade_asr.errors import DataError
from cascade_asr.scoring.alignment import Alignment, align_networks, align_words
from cascade_asr.scoring.network import read_network
from cascade_asr.scoring.options import ScoringOptions
from cascade_asr.scoring.score import ScoreResult, Utterance
from cascade_asr.scoring.transcripts import (
    Transcripts,
    from_texts,
    joined,
    speaker_of,
    warn_of_parentheses,
)
from cascade_asr.scoring.words import Report, plain_words

LONGEST_SCLITE_WORD = 40


def score_texts(
    reference: Mapping[str, Sequence[str]],
    hypothesis: Mapping[str, Sequence[str]],
    utt2spk: Mapping[str, str] | None = None,
    options: ScoringOptions = ScoringOptions(encoding="utf-8"),
    title: str = "hypothesis",
    strict: bool = False,
) -> ScoreResult:
    """Score words held in memory.

    Args:
        reference: words by utterance.
        hypothesis: words by utterance; may lack utterances (a warning).
        utt2spk: the speaker of each utterance; without it, the speaker is read
            from the utterance id, or is the id itself.
        options: how words are read and matched.
        title: name of the system in reports.
        strict: make a reference without a hypothesis an error.

    Raises:
        DataError: for a hypothesis without a reference, or an empty side.

    >>> score_texts({"u": "a b".split()}, {"u": "b c".split()}).total
    Counts(correct=1, substitutions=0, deletions=1, insertions=1, utterances=1, wrong_utterances=1)
    """
    return score_transcripts(
        from_texts("reference", reference, utt2spk, options),
        from_texts("hypothesis", hypothesis, utt2spk, options),
        options,
        title,
        strict,
        speaker_required=False,
    )


def score_transcripts(
    reference: Transcripts,
    hypothesis: Transcripts,
    options: ScoringOptions,
    title: str,
    strict: bool = False,
    speaker_required: bool = True,
    warnings: Sequence[str] = (),
) -> ScoreResult:
    """Score two sides that `transcripts.read_transcripts` read.

    Args:
        reference: may contain more utterances than the hypothesis (a warning).
        hypothesis: decides the order of utterances and speakers.
        options: how words are read and matched.
        title: name of the system in reports.
        strict: make a reference without a hypothesis an error.
        speaker_required: make an id that names no speaker an error.
        warnings: warnings from reading, to be kept with the result.

    Raises:
        DataError: with file and line; see `_check_ids` and `words.tokens`.
    """
    notes = list(warnings)
    reference, hypothesis = joined(reference, hypothesis, options, notes.append)
    warn_of_parentheses(reference, notes.append)
    _check_ids(reference, hypothesis, strict, notes.append)
    speakers = {
        identifier: _speaker(identifier, hypothesis, options, speaker_required)
        for identifier in hypothesis.lines
    }
    alignments = _align(reference, hypothesis, options, notes.append)
    utterances = [
        Utterance.of(identifier, speakers[identifier], alignment)
        for identifier, alignment in zip(hypothesis.lines, alignments)
    ]
    _warn_of_silent_speakers(utterances, notes.append)
    return ScoreResult(title, utterances, options, tuple(notes))


def _warn_of_silent_speakers(utterances: Sequence[Utterance], report: Report) -> None:
    spoken: dict[bytes, bool] = {}
    for utterance in utterances:
        has_words = len(utterance.alignment.reference) > 0
        spoken[utterance.speaker] = spoken.get(utterance.speaker, False) or has_words
    silent = [speaker for speaker, has_words in spoken.items() if not has_words]
    if len(silent) > 1:
        report(
            f"{len(silent)} speakers have no reference words, first "
            f"'{silent[0].decode('utf-8', 'replace')}'; they are excluded from Mean, S.D. and "
            "Median (sclite excludes the first of them, then the wrong ones)"
        )


def _check_ids(
    reference: Transcripts, hypothesis: Transcripts, strict: bool, report: Report
) -> None:
    if not hypothesis.lines:
        raise DataError(f"{hypothesis.source}: contains no utterance")
    unknown = [key for key in hypothesis.lines if key not in reference.lines]
    if unknown:
        raise DataError(
            f"{hypothesis.where(unknown[0])}: hypothesis {unknown[0].decode('utf-8', 'replace')} "
            f"has no reference in {reference.source} ({len(unknown)} of "
            f"{len(hypothesis.lines)}); do both sides belong to the same set?"
        )
    missing = [key for key in reference.lines if key not in hypothesis.lines]
    if missing:
        message = (
            f"{reference.where(missing[0])}: reference {missing[0].decode('utf-8', 'replace')} "
            f"has no hypothesis in {hypothesis.source} ({len(missing)} of "
            f"{len(reference.lines)} are not scored, as with sclite)"
        )
        if strict:
            raise DataError(f"{message}; decode all utterances, or leave out --strict")
        report(message)


def _speaker(
    identifier: bytes, hypothesis: Transcripts, options: ScoringOptions, required: bool
) -> bytes:
    speaker = speaker_of(identifier, options)
    if speaker is None and required:
        raise DataError(
            f"{hypothesis.where(identifier)}: id {identifier.decode('utf-8', 'replace')} has no "
            f"'-' or '_' between speaker and utterance, as --id-type {options.id_type} needs; "
            "give --utt2spk, or --id-type sp to make each utterance its own speaker"
        )
    return identifier[1:-1] if speaker is None else speaker


def _align(
    reference: Transcripts, hypothesis: Transcripts, options: ScoringOptions, report: Report
) -> list[Alignment]:
    """Align all utterances: plain ones together, networks one by one."""
    plain: list[tuple[list[bytes], list[bytes]]] = []
    known: dict[bytes, bytes] = {}
    network_of: dict[int, Alignment] = {}
    for index, (identifier, line) in enumerate(hypothesis.lines.items()):
        texts = (options.fold(reference.lines[identifier].text), options.fold(line.text))
        words = [plain_words(text, options) for text in texts]
        if words[0] is not None and words[1] is not None:
            # One object per word instead of one per occurrence halves the memory.
            reference_words, hypothesis_words = (
                list(map(known.setdefault, side, side)) for side in words
            )
            plain.append((reference_words, hypothesis_words))
        else:
            plain.append(([], []))
            network_of[index] = align_networks(
                read_network(texts[0], options, reference.where(identifier), report),
                read_network(texts[1], options, hypothesis.where(identifier), report, True),
            )
    alignments = [
        network_of.get(index) or Alignment(pair[0], pair[1], operations)
        for index, (pair, operations) in enumerate(zip(plain, align_words(plain)))
    ]
    words_seen = set(known)
    words_seen.update(*(a.reference for a in network_of.values()))
    words_seen.update(*(a.hypothesis for a in network_of.values()))
    _warn_of_words(words_seen, options, report)
    return alignments


def _warn_of_words(words: set[bytes], options: ScoringOptions, report: Report) -> None:
    """Warn of words that are scored as they are here but confuse sclite."""
    long_words = sorted(word for word in words if len(word) > LONGEST_SCLITE_WORD)
    if long_words:
        report(
            f"{len(long_words)} words have more than {LONGEST_SCLITE_WORD} bytes, such as "
            f"'{long_words[0][:20].decode('utf-8', 'replace')}...'; if one is inserted or "
            "deleted, sclite prints garbage in .pra"
        )
    markup = sorted({b"@", b";"} & words) if options.characters else []
    if markup:
        report(
            f"'{b' '.join(markup).decode()}' inside words is scored as a character here "
            "(sclite -c reads it as markup)"
        )
