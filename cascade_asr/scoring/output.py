"""The files that a scoring run writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from cascade_asr.files import atomic_write
from cascade_asr.scoring.sclite_detail import detail_report
from cascade_asr.scoring.sclite_reports import alignment_report, count_report, percent_report
from cascade_asr.scoring.score import Counts, Interval, ScoreResult
from cascade_asr.scoring.significance import Comparison


def write_reports(outdir: Path, result: ScoreResult) -> None:
    """Write ``result.txt`` and ``hyp.trn.{sys,raw,pra,dtl}``."""
    system, raw, pra = percent_report(result), count_report(result), alignment_report(result)
    for suffix, report in (("sys", system), ("raw", raw), ("pra", pra)):
        replace_file(outdir / f"hyp.trn.{suffix}", report)
    replace_file(outdir / "hyp.trn.dtl", detail_report(result))
    replace_file(outdir / "result.txt", system + raw + pra)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file under a temporary name first, so that it is never half-written."""
    with atomic_write(path, "wb") as stream:
        stream.write(content)


def result_record(
    result: ScoreResult, interval: Interval | None, comparison: Comparison | None = None
) -> dict:
    """The content of ``result.json``."""
    unit = "characters" if result.options.characters else "words"
    record = {
        "title": result.title,
        "unit": unit,
        "options": asdict(result.options),
        **_counts_record(result.total),
        "interval": asdict(interval) if interval else None,
        "speakers": {
            name.decode("utf-8", "backslashreplace"): _counts_record(counts)
            for name, counts in result.speaker_counts.items()
        },
        "warnings": list(result.warnings),
    }
    if comparison is not None:
        record["comparison"] = asdict(comparison)
    return record


def hub5_record(
    name: str,
    results: Mapping[str, ScoreResult],
    intervals: Mapping[str, Interval | None],
    warnings: Sequence[str],
) -> dict:
    """The content of ``result.json`` for a set that is scored by subset."""
    subsets = {
        subset: result_record(result, intervals.get(subset)) for subset, result in results.items()
    }
    return {"set": name, "subsets": subsets, "warnings": list(warnings)}


def _counts_record(counts: Counts) -> dict:
    return {
        **asdict(counts),
        "words": counts.words,
        "errors": counts.errors,
        "error_rate": counts.error_rate,
        "utterance_error_rate": counts.utterance_error_rate,
    }


def write_record(path: Path, record: dict) -> None:
    """Write JSON for people and programs; NaN becomes null."""
    text = json.dumps(_without_nan(record), indent=2, ensure_ascii=False)
    replace_file(path, text.encode() + b"\n")


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and value != value else value
