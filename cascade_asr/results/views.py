"""RESULTS.md from the record of an experiment, of whatever task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cascade_asr.results.columns import table
from cascade_asr.results.page import page
from cascade_asr.results.provenance import write_results
from cascade_asr.results.record import as_csv, as_json


def as_markdown(record: dict[str, Any]) -> str:
    """Table, comparisons, caveat and where the files are."""
    lines = ["", f"Results of {record['directory']}", "", table(**record["table"]), ""]
    if record["extra"] is not None:
        lines += [*record["extra"], ""]
    lines += record["sentences"]
    lines += ["", *record["notes"]] if record["notes"] else []
    lines += ["", record["headline"]]
    branches = record["branches"]
    if len(branches["rows"]) > 2:
        lines += ["", "Selected by dev in each branch, with all that was trained for it:", ""]
        lines.append(
            "\n\n".join([table(branches["header"], branches["rows"]), *branches["notes"]])
        )
    return "\n".join([*lines, "", *record["provenance"], "", *record["files"], ""])


def write_views(record: dict[str, Any]) -> None:
    """Write RESULTS.md, report.html, report.json and report.csv into the experiment."""
    write_results(
        Path(record["directory"]),
        {
            "report.json": as_json(record),
            "report.csv": as_csv(record),
            "report.html": page(record),
            "RESULTS.md": as_markdown(record),
        },
    )
