"""What the scorer will make of a reference, checked before there is a hypothesis."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from cascade_asr.errors import DataError
from cascade_asr.scoring.network import read_network
from cascade_asr.scoring.options import ScoringOptions
from cascade_asr.scoring.scorer import score_transcripts
from cascade_asr.scoring.transcripts import Transcripts, read_speakers, read_transcripts
from cascade_asr.scoring.words import Report

OPTIONS = ScoringOptions(encoding="utf-8")


def faults_of_reference(folder: Path, unscored: Collection[str], report: Report) -> list[str]:
    """Score the ``text`` of a data folder against itself.

    Args:
        folder: a data folder with ``text`` and ``utt2spk``.
        unscored: words that are ignored on both sides.
        report: receives warnings about what is scored, but not as one might expect.

    Returns:
        Everything that the scorer refuses, each with file, line and remedy.
    """
    try:
        speakers = read_speakers(folder / "utt2spk", lambda _: None)
        reference = read_transcripts(folder / "text", OPTIONS, report, "text", speakers)
    except DataError as error:
        return [str(error)]
    reference = reference.without(word.encode() for word in unscored)
    faults = _faults_of_lines(reference)
    if not faults:
        _score_against_itself(reference, faults, report)
    return faults


def _faults_of_lines(reference: Transcripts) -> list[str]:
    faults = []
    for identifier, line in reference.lines.items():
        if b"{" not in line.text:
            continue
        try:
            read_network(line.text, OPTIONS, reference.where(identifier), lambda _: None)
        except DataError as error:
            faults.append(str(error))
    return faults


def _score_against_itself(reference: Transcripts, faults: list[str], report: Report) -> None:
    try:
        result = score_transcripts(
            reference, reference, OPTIONS, "reference", speaker_required=False
        )
    except DataError as error:
        faults.append(str(error))
        return
    for warning in result.warnings:
        report(warning)
    if not result.total.words:
        report(f"{reference.source}: no utterance has a word; every error rate will be 0")
    for utterance, key in zip(result.utterances, reference.lines, strict=True):
        if utterance.errors:
            faults.append(
                f"{reference.where(key)}: scored against itself, the reference has "
                f"{utterance.errors} errors; correct its alternates"
            )
