"""A self-contained HTML report of a speech experiment."""

from __future__ import annotations

from cascade_asr.results.collect import Results
from cascade_asr.results.page import page
from cascade_asr.results.speech import record_of


def html(results: Results) -> str:
    """The complete report as one page."""
    return page(record_of(results))
