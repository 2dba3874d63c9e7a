"""One HTML file of an experiment, with nothing outside it: no scripts, no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from cascade_asr.results.branches import (
    ExperimentResult,
    branch_rows,
    headline,
    read_experiment,
    time_notes,
)
from cascade_asr.results.collect import Results, Stage
from cascade_asr.results.markdown import comparison_lines
from cascade_asr.results.provenance import provenance_lines
from cascade_asr.scoring.changes import changes
from cascade_asr.training.history import read_history
from cascade_asr.training.state import duration

COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7b4fa3", "#b8860b", "#4f5d75")
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}
td,th{border:1px solid #ccc;padding:.3rem .6rem;text-align:left;vertical-align:top}
th{background:#f3f3f3}.selected td{background:#e8f3e8}code{font-size:.9em}svg{max-width:100%}
.curves{display:flex;flex-wrap:wrap;gap:1rem}
"""
SHOWN_CHANGES = 20
CURVES = ("loss", "acc", "wer_ctc")


def html(results: Results) -> str:
    """The whole report as one page."""
    experiment = read_experiment(results.directory)
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        f"<title>{escape(str(results.directory))}</title><style>{STYLE}</style>",
        f"<h1>{escape(str(results.directory))}</h1>",
        f"<p><strong>{escape(headline([experiment]))}</strong></p>",
        "<h2>Word error rates</h2>",
        _scores(results),
        "<ul>"
        + "".join(f"<li>{escape(line)}</li>" for line in comparison_lines(results))
        + "</ul>",
        *(f"<p>{escape(note)}</p>" for note in results.notes),
        *branch_tables(experiment),
        "<h2>Dev set during training</h2><div class='curves'>",
        *(curve(results.stages, name) for name in CURVES),
        "</div><h2>Lineage</h2>",
        lineage_table(results.stages),
        provenance_html((*results.stages, *results.controls)),
        "<h2>Utterances that changed most against full training</h2>",
        *(_changes(results, name) for name in results.sets),
    ]
    return "\n".join(parts) + "\n"


def provenance_html(stages: Sequence[Stage]) -> str:
    """What each row was computed from."""
    title, _, *lines = provenance_lines(stages)
    return f"<p>{title}</p><ul>" + "".join(f"<li>{escape(x[2:])}</li>" for x in lines) + "</ul>"


def html_table(header: list[str], rows: list[tuple[str, list[str]]]) -> str:
    """A table; each row is (CSS class, cells of escaped HTML)."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        f"<tr class='{kind}'>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        for kind, cells in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _scores(results: Results) -> str:
    header = ["stage", f"dev {results.metric}", *results.sets, "training", "kept"]
    rows = []
    for stage in results.stages:
        cells = [escape(stage.title), f"{stage.dev_value:.2f}"]
        for name in results.sets:
            score = stage.scores[name]
            counts = score.result.total
            span = ""
            if score.interval:
                span = f" ({score.interval.low:.1f} to {score.interval.high:.1f})"
            cells.append(
                f"{counts.error_rate:.1f} %{span}<br><small>{counts.words} words: "
                f"{counts.substitutions} sub, {counts.deletions} del, {counts.insertions} ins</small>"
            )
        cells += [
            f"{duration(stage.lineage['seconds'])}, {stage.lineage['updates']} updates",
            "selected" if stage.selected else "kept" if stage.kept else "not kept",
        ]
        rows.append(("selected" if stage.selected else "", cells))
    return html_table(header, rows)


def branch_tables(experiment: ExperimentResult) -> list[str]:
    """The cascade beside its controls, where there are any."""
    if len(experiment.branches) == 1:
        return []
    header, rows = branch_rows(experiment)
    cells = [("", [escape(cell) for cell in row]) for row in rows]
    notes = [f"<p>{escape(note)}</p>" for note in time_notes([experiment])]
    return ["<h2>Controls</h2>", html_table(header, cells), *notes]


def lineage_table(stages: list[Stage]) -> str:
    """Where each stage comes from, what it trained, on what."""
    header = ["stage", "source", "frozen", "trained", "seed", "model SHA-256", "code", "device"]
    rows = []
    for stage in stages:
        record = stage.lineage
        cells = [
            stage.name,
            record["source"] or "new weights",
            ", ".join(record["frozen_layers"]) or "nothing",
            ", ".join(record["trained_layers"]),
            str(record["seed"]),
            record["model_sha256"][:16],
            record["code"],
            record["device"],
        ]
        rows.append(("", [escape(cell) for cell in cells]))
    return html_table(header, rows)


def _changes(results: Results, name: str) -> str:
    """The utterances whose errors changed most between full training and the selected stage."""
    full = results.stages[0]
    chosen = next(stage for stage in results.stages if stage.selected)
    if chosen is full:
        return f"<p>{escape(name)}: full training is the selected stage.</p>"
    table = changes(full.scores[name].result, chosen.scores[name].result)
    table = sorted(table, key=lambda each: -abs(each.errors_b - each.errors_a))[:SHOWN_CHANGES]
    rows = [
        (
            "",
            [
                escape(text)
                for text in (
                    each.utterance,
                    str(each.errors_a),
                    str(each.errors_b),
                    each.reference,
                    each.hypothesis_a,
                    each.hypothesis_b,
                )
            ],
        )
        for each in table
    ]
    header = ["utterance", "errors before", "after", "reference", "full", chosen.name]
    return f"<h3>{escape(name)}, {chosen.name}</h3>" + html_table(header, rows)


def curve(stages: list[Stage], metric: str) -> str:
    """Dev metric by epoch, a line a stage, as inline SVG; empty where nobody logs it."""
    lines = []
    for stage in stages:
        entries = read_history(stage.directory / "history.jsonl")
        points = [
            (entry["epoch"], entry[metric])
            for entry in entries
            if entry["split"] == "valid" and metric in entry
        ]
        if points:
            lines.append((stage.name, points))
    if not lines:
        return ""
    width, height, margin = 440, 260, 40
    last = max(epoch for _, points in lines for epoch, _ in points)
    values = [value for _, points in lines for _, value in points]
    low, high = min(values), max(values)
    span = (high - low) or 1.0

    def place(epoch: float, value: float) -> str:
        x = margin + (epoch - 1) / max(last - 1, 1) * (width - 2 * margin)
        y = height - margin - (value - low) / span * (height - 2 * margin)
        return f"{x:.1f},{y:.1f}"

    drawn = []
    for index, (name, points) in enumerate(lines):
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join(place(*point) for point in points)
        drawn.append(
            f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>"
            f"<text x='{width - margin + 4}' y='{20 + 16 * index}' fill='{colour}' "
            f"text-anchor='end'>{escape(name)}</text>"
        )
    axes = (
        f"<path d='M{margin} {margin}V{height - margin}H{width - margin}' fill='none' stroke='#888'/>"
        f"<text x='4' y='{margin}'>{high:.3g}</text><text x='4' y='{height - margin}'>{low:.3g}</text>"
        f"<text x='{width - margin}' y='{height - 12}' text-anchor='end'>epoch {last}</text>"
        f"<text x='{margin}' y='16' font-weight='bold'>{escape(metric)}</text>"
    )
    return (
        f"<svg viewBox='0 0 {width} {height}' width='{width}' font-size='12' role='img' "
        f"aria-label='{escape(metric)} by epoch'>{axes}{''.join(drawn)}</svg>"
    )
