"""Collect what the task of an experiment measured, for each kind of recipe."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cascade_asr.errors import CascadeError
from cascade_asr.results import speech, text
from cascade_asr.results.collect import collect
from cascade_asr.results.data_sizes import speech_sizes, text_sizes
from cascade_asr.results.inspection import Inspector
from cascade_asr.results.measures import Measured
from cascade_asr.results.speech_models import SpeechModels
from cascade_asr.results.text_models import TextModels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Given:
    """Where the results of an experiment are.

    Attributes:
        directory: ``exp/TAG``.
        sets: test sets.
        dump: folder of stages 1 and 2.
        data: folder of stage 0, which has the references of sets that are scored as Hub5.
        sctk: folder of hubscr.pl; None searches for it.
        dev_set: set on which the models are inspected; None does not load them.
        samples: how many of its utterances have their alignments drawn; 0 does not load the models.
    """

    directory: Path
    sets: list[str]
    dump: Path
    data: Path | None = None
    sctk: Path | None = None
    dev_set: str | None = None
    samples: int = 3


def measure_speech(given: Given) -> Measured:
    """Score every decoded stage: error rates."""
    results = collect(given.directory, given.dump, given.sets, given.data, given.sctk)
    inspector = _inspector(
        given, lambda dev: SpeechModels(given.directory, given.dump / dev, given.samples)
    )
    return speech.measured(results, speech_sizes(given.dump), inspector)


def measure_text(given: Given) -> Measured:
    """Read the perplexities that stage 5 wrote."""
    results = text.collect_texts(given.directory, given.sets, given.dump)
    inspector = _inspector(given, lambda dev: TextModels(given.directory, given.dump, dev))
    return text.measured(results, text_sizes(given.dump), inspector)


KINDS: dict[str, Callable[[Given], Measured]] = {"speech": measure_speech, "text": measure_text}


def _inspector(given: Given, make: Callable[[str], Inspector]) -> Inspector | None:
    """None if none is wanted, or the dev set no longer exists."""
    if given.dev_set is None or given.samples < 1:
        return None
    try:
        return make(given.dev_set)
    except (CascadeError, OSError) as error:
        logger.warning("the models are not inspected: %s", error)
        return None
