"""All views of the record of an experiment, whatever its task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cascade_asr.results.markdown import as_markdown
from cascade_asr.results.page import page
from cascade_asr.results.provenance import write_results
from cascade_asr.results.record import as_csv, as_json


def write_views(record: dict[str, Any]) -> None:
    """Write RESULTS.md, report.html, report.json and report.csv to the experiment's folder."""
    write_results(
        Path(record["directory"]),
        {
            "report.json": as_json(record),
            "report.csv": as_csv(record),
            "report.html": page(record),
            "RESULTS.md": as_markdown(record),
        },
    )
