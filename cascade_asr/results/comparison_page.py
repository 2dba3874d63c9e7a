"""A comparison of trainings as text, and as one HTML file that needs no network."""

from __future__ import annotations

from html import escape

from cascade_asr.results.columns import table
from cascade_asr.results.comparison import ComparedSystems
from cascade_asr.results.page import POLICY, asset, html_table

SCRIPT = (
    "const root=document.documentElement;const set=(dark)=>{root.dataset.theme=dark?'dark':'light'};"
    "set(matchMedia('(prefers-color-scheme: dark)').matches);"
    "document.getElementById('theme').onclick=()=>set(root.dataset.theme!=='dark');"
    "root.dataset.ready='true'"
)


def comparison_text(compared: ComparedSystems) -> str:
    """Table, tests and differences in Markdown."""
    parts = [table(compared.header, compared.rows)]
    if compared.sentences:
        parts.append("\n".join(f"- {each}" for each in compared.sentences))
    if compared.notes:
        parts.append("\n".join(f"Note: {each}." for each in compared.notes))
    if compared.changes:
        parts += ["Options that differ:",
                  table(["option", *compared.names], compared.changes)]  # fmt: skip
    else:
        parts.append("Their recorded options do not differ.")
    return "\n\n".join(parts)


def comparison_page(compared: ComparedSystems) -> str:
    """Table, tests and differences as one HTML page."""
    title = escape(" · ".join(compared.names))
    rows = [("", [escape(cell) for cell in row]) for row in compared.rows]
    changes = [
        ("", [f"<code>{escape(key)}</code>", *map(escape, values)])
        for key, *values in compared.changes
    ]
    differences = (
        html_table(["option", *compared.names], changes)
        if changes
        else "<p>Their recorded options do not differ.</p>"
    )
    notes = "".join(f"<li>{escape(each)}</li>" for each in compared.notes)
    remark = f'<div class="remark"><ul>{notes}</ul></div>' if notes else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<link rel="icon" href="data:,"><title>{title}</title>'
        f"<style>{asset('page.css')}</style></head><body>"
        f'<header><div class="bar"><h1>{title}</h1><button id="theme" type="button" '
        'title="light or dark">◐</button></div></header><main>'
        f"<section><h2>Results</h2>{html_table(compared.header, rows)}</section>"
        '<section class="key">'
        + "".join(f"<p>{escape(each)}</p>" for each in compared.sentences)
        + f"{remark}</section><section><h2>Options that differ</h2>{differences}"
        f"</section></main><script>{SCRIPT}</script></body></html>\n"
    )
