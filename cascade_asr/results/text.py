"""Results of a language-model experiment: RESULTS.md and one HTML file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from cascade_asr.files import read_json
from cascade_asr.lm.evaluate import read_perplexities
from cascade_asr.results.branches import branch_table, headline, read_experiment
from cascade_asr.results.collect import Stage, read_stage
from cascade_asr.results.columns import table
from cascade_asr.results.html import (
    STYLE,
    branch_tables,
    curve,
    html_table,
    lineage_table,
    provenance_html,
)
from cascade_asr.results.provenance import provenance_lines
from cascade_asr.training.state import duration


@dataclass
class TextResults:
    """All of an experiment with language models.

    Attributes:
        directory: ``exp/TAG``.
        metric: the dev metric used for model selection.
        stages: full training and the cascade's stages.
        texts: names of the evaluated texts.
        perplexities: of each stage by name, then by text (see `evaluate_text`).
    """

    directory: Path
    metric: str
    stages: list[Stage]
    texts: list[str]
    perplexities: dict[str, dict[str, dict[str, Any]]]


def collect_texts(directory: Path, texts: list[str]) -> TextResults:
    """Read what stages 3 to 5 left behind.

    Raises:
        DataError: if a stage has not been evaluated.
    """
    selection = read_json(directory / "selection.json")
    stages = [
        read_stage(directory, entry, entry["name"] == selection["selected"])
        for entry in selection["stages"]
    ]
    perplexities = {stage.name: read_perplexities(stage.directory) for stage in stages}
    return TextResults(directory, selection["metric"], stages, texts, perplexities)


def rows_of(results: TextResults) -> tuple[list[str], list[list[str]]]:
    """Header and cells: one row a stage."""
    full = results.perplexities[results.stages[0].name]
    with_cache = any("cache_perplexity" in each for each in full.values())
    header = ["stage", f"dev {results.metric}", *(f"{name} perplexity" for name in results.texts)]
    header += [f"{name} with cache" for name in results.texts if with_cache]
    rows = []
    for stage in results.stages:
        found = results.perplexities[stage.name]
        cells = [stage.title + (" (selected)" if stage.selected else ""), f"{stage.dev_value:.2f}"]
        cells += [f"{found[name]['perplexity']:.2f}" for name in results.texts]
        if with_cache:
            cells += [f"{found[name]['cache_perplexity']:.2f}" for name in results.texts]
        lineage = stage.lineage
        rows.append([*cells, duration(lineage["seconds"]), f"{lineage['updates']:,}"])
    return [*header, "trained", "updates"], rows


def comparison_lines(results: TextResults) -> list[str]:
    """One sentence a stage and text: how much better or worse than full training, per token."""
    first = results.stages[0].name
    lines = []
    for stage in results.stages[1:]:
        for name in results.texts:
            before, after = (results.perplexities[each][name] for each in (first, stage.name))
            change = 100 * (after["perplexity"] / before["perplexity"] - 1)
            nats = (before["log_probability"] - after["log_probability"]) / after["tokens"]
            lines.append(
                f"{stage.name} against full training on {name}: {change:+.1f} % perplexity, "
                f"{nats / math.log(2):+.4f} bits a token"
            )
    return lines


def text_markdown(results: TextResults) -> str:
    """Tables and where the files are."""
    directory = results.directory
    experiment = read_experiment(directory)
    lines = ["", f"Results of {directory}", "", table(*rows_of(results)), ""]
    lines += [*comparison_lines(results), "", headline([experiment])]
    if len(experiment.branches) > 1:
        lines += ["", "Selected by dev in each branch, with all that was trained for it:", ""]
        lines.append(branch_table(experiment))
    lines += ["", *provenance_lines(results.stages)]
    lines += [
        "",
        f"Report: {directory}/report.html",
        f"Models: {directory}/STAGE/model.pth, lineage in lineage.json, perplexity.json",
        "",
    ]
    return "\n".join(lines)


def text_html(results: TextResults) -> str:
    """The whole report as one page."""
    experiment = read_experiment(results.directory)
    header, rows = rows_of(results)
    marked = [
        ("selected" if stage.selected else "", [escape(cell) for cell in row])
        for stage, row in zip(results.stages, rows, strict=True)
    ]
    title = escape(str(results.directory))
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>",
        f"<p><strong>{escape(headline([experiment]))}</strong></p>",
        "<h2>Perplexities</h2>",
        html_table(header, marked),
        "<ul>" + "".join(f"<li>{escape(x)}</li>" for x in comparison_lines(results)) + "</ul>",
        *branch_tables(experiment),
        "<h2>Dev text during training</h2><div class='curves'>",
        *(curve(results.stages, name) for name in ("loss", "perplexity")),
        "</div><h2>Lineage</h2>",
        lineage_table(results.stages),
        provenance_html(results.stages),
    ]
    return "\n".join(parts) + "\n"
