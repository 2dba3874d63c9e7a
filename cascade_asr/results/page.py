"""Make report.html from the record of an experiment: one file that needs no network.

What matters is in the HTML itself; a script draws the charts and the table of utterances
from the embedded record. Charts are drawn by Chart.js (MIT licence, in ``assets``).
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cascade_asr.results.record import without_utterances
from cascade_asr.training.convergence import in_words, is_converged
from cascade_asr.training.state import duration

PLAIN = 400_000  # characters of embedded alignments above which they are compressed
LARGEST = 1_900_000  # characters of compressed alignments; the page stays below 3 MB
LARGEST_SAMPLES = 400_000  # characters of compressed drawings of utterances
CHART = "chart.umd.min.js"
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
)
SECTIONS = (("results", "Results"), ("stages", "Stages"), ("curves", "Curves"),
            ("inside", "Inside"), ("compute", "Compute"), ("utterances", "Utterances"), ("setup", "Set-up"),
            ("files", "Files"))  # fmt: skip


def page(record: dict[str, Any]) -> str:
    """The complete report as one page."""
    title = escape(record["directory"])
    chart = re.sub(r"//# sourceMappingURL=\S+", "", asset(CHART))
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            f'<link rel="icon" href="data:,"><title>{title}</title>',
            f"<style>{asset('page.css')}</style></head><body>",
            _top(record, title),
            "<main>",
            _key(record),
            _results(record),
            '<section id="stages"><h2>Stages</h2>',
            '<p class="hint">Each column is a training, with its output on top; an arrow comes '
            "from the training whose weights it starts from.</p>",
            '<div class="wide" id="tree"></div>',
            _lineage(record),
            "</section>",
            '<section id="curves"><h2>Curves over updates</h2><div class="controls">'
            '<label>Metric <select id="curve-metric"></select></label></div>'
            '<div class="grid"><figure><div class="chart" id="curve-box"></div><figcaption>solid: '
            "dev, dashed: training; click a name to hide it</figcaption></figure>"
            '<figure><div class="chart" id="rate-box"></div><figcaption>learning rate'
            "</figcaption></figure></div></section>",
            _inside(record),
            _compute(record),
            _utterances(record),
            _setup(record),
            _files(record),
            "</main>",
            f'<script type="application/json" id="record">{embedded(without_utterances(record))}</script>',
            f'<script type="text/plain" id="alignments">{_alignments(record)}</script>',
            f'<script type="text/plain" id="samples">{_samples(record)}</script>',
            f"<script>/* {asset('LICENSE.chart.js.md')} */</script>",
            f"<script>{chart}</script>",
            f"<script>{asset('page.js')}</script>",
            "</body></html>",
        ]
    ) + "\n"


def asset(name: str) -> str:
    """A file of ``results/assets``."""
    return (files("cascade_asr.results") / "assets" / name).read_text(encoding="utf-8")


def embedded(value: Any) -> str:
    """JSON for a script element, escaped so that no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _alignments(record: dict[str, Any]) -> str:
    """Alignments as JSON, or compressed, in at most `LARGEST` characters.

    What does not fit is dropped in this order: utterances that all trainings recognise
    correctly, then trainings that no branch selected, then the rest. The page says so.
    """
    content = record["utterances"]
    if content is None:
        return ""
    text = embedded(content)
    if len(text) <= PLAIN:
        return text
    chosen = {each["name"] for each in record["trainings"] if each["selected_in"]} | {"full"}
    fewer = _with_errors(content)
    for smaller in (content, fewer, _of_trainings(fewer, chosen)):
        packed = _packed(embedded(smaller))
        if len(packed) <= LARGEST:
            return packed
    return embedded({"trainings": [], "words": [], "sets": {}, "too_many": True})


def _samples(record: dict[str, Any]) -> str:
    """Drawings of single utterances, compressed; as many per training as fit."""
    samples = (record["inspection"] or {}).get("samples")
    while samples:
        packed = _packed(embedded(samples))
        if len(packed) <= LARGEST_SAMPLES:
            return packed
        samples = {name: each[:-1] for name, each in samples.items() if each[:-1]}
    return ""


def _packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _with_errors(content: dict[str, Any]) -> dict[str, Any]:
    sets = {
        name: [row for row in rows if any(set(each[0]) - {"C"} for each in row[3])]
        for name, rows in content["sets"].items()
    }
    return {**content, "sets": sets, "without_correct": True}


def _of_trainings(content: dict[str, Any], names: set[str]) -> dict[str, Any]:
    kept = [index for index, name in enumerate(content["trainings"]) if name in names]
    sets = {
        name: [[*row[:3], [row[3][index] for index in kept]] for row in rows]
        for name, rows in content["sets"].items()
    }
    trainings = [content["trainings"][index] for index in kept]
    return {**content, "trainings": trainings, "sets": sets, "selected_only": True}


def html_table(header: list[str], rows: list[tuple[str, list[str]]], kind: str = "") -> str:
    """An HTML table; each row is (CSS class, cells of escaped HTML)."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        f'<tr class="{mark}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        for mark, cells in rows
    )
    return (
        f'<div class="wide"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _top(record: dict[str, Any], title: str) -> str:
    links = "".join(
        f'<a href="#{name}">{text}</a>'
        for name, text in SECTIONS
        if record.get({"inside": "inspection"}.get(name, name), True)
    )
    return (
        f'<header><div class="bar"><h1>{title}</h1><button id="theme" type="button" '
        f'title="light or dark">◐</button></div><nav>{links}</nav></header>'
    )


def _key(record: dict[str, Any]) -> str:
    """The headline, what it rests on, and where a test set disagrees with dev."""
    first, *rest = re.split(r"(?<=\.) (?=[A-Z])", record["headline"])
    remarks = "".join(f"<li>{escape(each)}</li>" for each in record["remarks"])
    if remarks:
        remarks = (
            f'<div class="remark"><strong>Better on test sets than what dev selected</strong><ul>{remarks}</ul>'
            "<p>Selection is by dev; selecting by a test set would tune the system to it.</p></div>"
        )
    return (
        f'<section class="key"><p class="headline">{escape(first)}</p>'
        + "".join(f"<p>{escape(each)}</p>" for each in rest)
        + f"{remarks}</section>"
    )


def _results(record: dict[str, Any]) -> str:
    selected = record["selected"]
    names = [each["name"] for each in record["trainings"] if each["branch"] in ("full", "cascade")]
    rows = []
    for name, cells in zip(names, record["table"]["rows"], strict=False):
        shown = [escape(cell.replace("**", "")) for cell in cells]
        rows.append(("selected" if name == selected else "", shown))
    sentences = "".join(f"<li>{escape(each)}</li>" for each in record["sentences"])
    extra = "".join(f"<p>{escape(each)}</p>" for each in record["extra"] or [])
    notes = "".join(f"<p>{escape(each)}</p>" for each in record["notes"])
    return (
        '<section id="results"><h2>Results</h2><div id="bars" class="grid"></div>'
        '<figure><div class="chart" id="forest"></div><figcaption id="forest-caption"></figcaption>'
        f"</figure>{html_table(record['table']['header'], rows)}{_counts(record)}{extra}{notes}"
        f"<details><summary>Comparisons in sentences</summary><ul>{sentences}</ul></details></section>"
    )


def _counts(record: dict[str, Any]) -> str:
    """The counts behind the error rates."""
    rows = []
    for each in record["values"]:
        counts = each["counts"]
        if "substitutions" in counts:
            kinds = ("substitutions", "deletions", "insertions")
            text = [each["training"], each["set"], f"{each['value']:.2f} %", f"{counts['words']:,}",
                    *(f"{counts[kind]:,}" for kind in kinds),
                    f"{counts['wrong_utterances']:,} of {counts['utterances']:,}"]  # fmt: skip
            rows.append(("", [escape(cell) for cell in text]))
    if not rows:
        return ""
    header = ["training", "set", "WER", "words", "sub", "del", "ins", "wrong utterances"]
    table = html_table(header, rows, "sortable")
    return f"<details><summary>Substitutions, deletions, insertions</summary>{table}</details>"


def _lineage(record: dict[str, Any]) -> str:
    """Where each training started from, what it trained, and with what seed and code."""
    rows = []
    for each in record["trainings"]:
        by_state = {
            state: ", ".join(x["name"] for x in each["layers"] if x["state"] in state.split())
            for state in ("frozen random", "new", "kept")
        }
        cells = [each["name"], each["source"] or "new weights", by_state["frozen random"] or "nothing",
                 by_state["new"] or "nothing", by_state["kept"] or "nothing", str(each["seed"]),
                 (each["model_sha256"] or "?")[:12], each["code"] or "?"]  # fmt: skip
        rows.append(("", [escape(cell) for cell in cells]))
    header = ["training", "source", "frozen", "new", "kept and trained on", "seed",
              "model SHA-256", "code"]  # fmt: skip
    return f"<details><summary>Lineage</summary>{html_table(header, rows)}</details>"


def _inside(record: dict[str, Any]) -> str:
    """Similarity of layers, distance of weights, alignments of single utterances."""
    found = record["inspection"]
    if not found:
        return ""
    notes = "".join(f"<p>{escape(note)}</p>" for note in found["notes"])
    drawn = (
        '<h3>Attention and CTC alignments</h3><div class="controls">'
        '<label>Utterance <select id="sample"></select></label>'
        '<label>A <select id="sample-a"></select></label>'
        '<label>B <select id="sample-b"></select></label></div>'
        '<p class="hint">Rows: tokens of the reference, from the top; columns: encoder frames; the '
        "darker, the nearer to 1. Attention is the decoder's, given the reference; CTC is the "
        "probability of each token, outlined where the most probable path emits it.</p>"
        '<div class="grid" id="drawn"></div>'
        if found["samples"]
        else ""
    )
    return (
        '<section id="inside"><h2>Inside the networks</h2>'
        f'<p class="hint">Outputs on {escape("; ".join(found["items"]))}, {found["rows"]:,} rows '
        "per layer; layers from the top.</p>"
        '<h3>Similarity of outputs (linear CKA)</h3><div class="controls"><label>Compared with '
        '<select id="cka-with"></select></label></div><div class="wide" id="cka"></div>'
        '<p class="hint">1: the same up to rotation and scale; about 0: nothing in common '
        "(unbiased estimate). A frozen layer above one that was trained again may still differ, "
        "because its inputs do.</p>"
        '<h3>Distance of weights</h3><div class="controls"><label>From those of '
        '<select id="drift-from"><option value="source">its source</option>'
        '<option value="full">full training</option></select></label></div>'
        '<div class="wide" id="drift"></div><p class="hint">Norm of the difference divided by the '
        "norm of the weights there; 0: frozen; about 1.4: new weights of the same size.</p>"
        f"{drawn}{notes}</section>"
    )


def _compute(record: dict[str, Any]) -> str:
    rows = []
    for each in record["trainings"]:
        cells = [each["name"], f"{each['epochs'] or 0:,}", f"{each['updates']:,}",
                 f"{each['frames']:,}", duration(each["seconds"]),
                 "-" if each["flops"] is None else f"{each['flops']:.3g}", _verdict(each),
                 (each["device"] or "?") + (f" * {each['disturbed']}" if each["disturbed"] else "")]
        rows.append(("", [escape(cell) for cell in cells]))
    header = ["training", "epochs", "updates", "frames", "time", "FLOPs (estimated)", "converged?", "device"]
    branches = record["branches"]
    cells = [("", [escape(cell) for cell in row]) for row in branches["rows"]]
    notes = "".join(f"<p>{escape(note)}</p>" for note in branches["notes"])
    return (
        '<section id="compute"><h2>Compute</h2><p class="hint">Each branch, including everything '
        f"trained for it.</p>{html_table(branches['header'], cells)}{notes}"
        f"<h3>Each training</h3>{html_table(header, rows, 'sortable')}</section>"
    )


def _verdict(training: dict[str, Any]) -> str:
    """``converged (loss did not improve in the last 3 epochs, margin 0.1)``."""
    found = training.get("convergence")
    why = f" ({found['reason']})" if found else ""
    return in_words(is_converged(training)) + why


def _utterances(record: dict[str, Any]) -> str:
    if not record["utterances"]:
        return ""
    return (
        '<section id="utterances"><h2>Utterances</h2><div class="controls">'
        '<label>Set <select id="set"></select></label>'
        '<label>A <select id="a"></select></label><label>B <select id="b"></select></label>'
        '<label>Show <select id="filter"><option value="all">all</option>'
        '<option value="differ">A and B differ</option><option value="better">B better</option>'
        '<option value="worse">B worse</option><option value="wrong">with errors</option>'
        '</select></label><label>Search <input id="search" type="search" '
        'placeholder="id, speaker or words"></label></div>'
        '<p class="hint" id="count"></p><div class="wide"><table id="table"><thead></thead>'
        '<tbody></tbody></table></div><div class="controls" id="pages"></div>'
        '<p class="hint"><span class="sub"><del>said</del>→<ins>recognised</ins></span> substitution '
        '<span class="del"><del>said</del></span> deletion <span class="ins"><ins>+recognised</ins>'
        "</span> insertion</p><h3>Most frequent errors</h3><div class='grid' id='confusions'></div>"
        '<div class="grid"><figure><div class="chart" id="speakers"></div><figcaption>WER by speaker'
        '</figcaption></figure><figure><div class="chart" id="lengths"></div><figcaption>WER by words '
        "of the utterance</figcaption></figure></div></section>"
    )


def _setup(record: dict[str, Any]) -> str:
    last = record["trainings"][-1]
    facts = {
        "report made": f"{record['made']} on {record['host']}",
        "trainings ended": " to ".join(
            dict.fromkeys(
                [f(x["finished"] or "?" for x in record["trainings"]) for f in (min, max)]
            )
        ),
        "code": f"cascade_asr {last['code']}, PyTorch {last['torch']}",
        "device": "; ".join(dict.fromkeys(x["device"] or "?" for x in record["trainings"])),
        "parameters": "" if not last["parameters"] else f"{last['parameters']:,}",
        "selected by": f"dev {record['metric']} ({record['mode']})",
    }
    listing = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items() if text
    )
    command = record["command"]
    again = f"<p>To repeat, in the recipe's folder:</p><pre>{escape(command)}</pre>"
    shown = again if command else ""
    sizes = sorted({key for each in record["data"].values() for key in each})
    rows = [
        ("", [escape(name), *(f"{each[key]:,}" if key in each else "-" for key in sizes)])
        for name, each in record["data"].items()
    ]
    data = f"<h3>Data</h3>{html_table(['set', *sizes], rows)}" if rows else ""
    return (
        f'<section id="setup"><h2>Set-up</h2><dl>{listing}</dl>{shown}{data}'
        f"<h3>Configuration</h3>{_configuration(record)}</section>"
    )


def _configuration(record: dict[str, Any]) -> str:
    parts = []
    for number, (name, changes) in enumerate(record["configuration"].items()):
        rows = [
            ("", [f"<code>{escape(x['key'])}</code>", _code(x["value"]), _code(x["default"])])
            for x in changes
        ]
        other = "full training" if number else "default"
        title = f"{name}: {len(rows)} options differ from {'full training' if number else 'defaults'}"
        table = html_table(["option", name, other], rows) if rows else ""
        parts.append(
            f"<details{'' if number else ' open'}><summary>{escape(title)}</summary>{table}</details>"
        )
    return "".join(parts)


def _code(value: Any) -> str:
    text = "-" if value is None else value if isinstance(value, str) else json.dumps(value)
    return f"<code>{escape(text)}</code>"


def _files(record: dict[str, Any]) -> str:
    rows = []
    for each in record["trainings"]:
        links = " ".join(
            f'<a href="{escape(quote(path))}">{escape(_label(path, each["name"]))}</a>'
            for path in each["links"]
        )
        rows.append(("", [escape(each["name"]), f'<span class="links">{links}</span>']))
    logs = " ".join(f'<a href="{escape(quote(x))}">{escape(x)}</a>' for x in record["logs"])
    if logs:
        rows.append(("", ["logs", f'<span class="links">{logs}</span>']))
    title, _, *lines = record["provenance"]
    listing = "".join(f"<li>{escape(line[2:])}</li>" for line in lines)
    return (
        '<section id="files"><h2>Files</h2><p>All numbers: <a href="report.json">report.json</a>, '
        '<a href="report.csv">report.csv</a>, <a href="RESULTS.md">RESULTS.md</a>; or save them '
        'from this page: <button type="button" id="save-json">JSON</button></p>'
        f"{html_table(['training', 'files'], rows)}"
        f"<details><summary>{escape(title)}</summary><ul>{listing}</ul></details></section>"
    )


def _label(path: str, training: str) -> str:
    parts = Path(path).parts
    return "/".join(parts[1:] if parts[0] == training else parts)
