"""From the folder of an experiment to what its task measured, for each kind of recipe."""

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
        data: folder of stage 0, where sets that are scored as Hub5 have their reference.
        sctk: folder of hubscr.pl; None looks for it.
        dev_set: on which the models are looked into; None: they are not loaded.
        samples: its utterances whose alignments are drawn; 0: the models are not loaded.
    """

    directory: Path
    sets: list[str]
    dump: Path
    data: Path | None = None
    sctk: Path | None = None
    dev_set: str | None = None
    samples: int = 3


def measure_speech(given: Given) -> Measured:
    """Error rates: every decoded stage is scored."""
    results = collect(given.directory, given.dump, given.sets, given.data, given.sctk)
    inspector = _inspector(
        given, lambda dev: SpeechModels(given.directory, given.dump / dev, given.samples)
    )
    return speech.measured(results, speech_sizes(given.dump), inspector)


def measure_text(given: Given) -> Measured:
    """Perplexities, as stage 5 wrote them."""
    results = text.collect_texts(given.directory, given.sets)
    inspector = _inspector(given, lambda dev: TextModels(given.directory, given.dump, dev))
    return text.measured(results, text_sizes(given.dump), inspector)


KINDS: dict[str, Callable[[Given], Measured]] = {"speech": measure_speech, "text": measure_text}


def _inspector(given: Given, make: Callable[[str], Inspector]) -> Inspector | None:
    """None where nobody wants one, or the dev set is not there any more."""
    if given.dev_set is None or given.samples < 1:
        return None
    try:
        return make(given.dev_set)
    except (CascadeError, OSError) as error:
        logger.warning("the models are not looked into: %s", error)
        return None
