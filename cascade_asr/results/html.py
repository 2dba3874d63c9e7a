"""One HTML file of a speech experiment, with nothing outside it."""

from __future__ import annotations

from cascade_asr.results.collect import Results
from cascade_asr.results.markdown import record_of
from cascade_asr.results.page import page


def html(results: Results) -> str:
    """The whole report as one page."""
    return page(record_of(results))
