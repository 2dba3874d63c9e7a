"""One HTML file of a speech experiment, with nothing outside it."""

from __future__ import annotations

from cascade_asr.results.collect import Results
from cascade_asr.results.page import page
from cascade_asr.results.speech import record_of


def html(results: Results) -> str:
    """The whole report as one page."""
    return page(record_of(results))
