"""Write the tables and the plot of docs/results.md from the JSON lines in results/.

    python experiments/document.py          # writes docs/results.md and docs/results.svg
    python experiments/document.py --check  # fails if the tables are out of date

The text between the marks ``<!-- tables -->`` and ``<!-- end of tables -->`` is replaced.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from claims import CLAIMS, all_lines, findings, in_words, shown_p
from comparison import DEV, Line, Seeds, compare, measures, value

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE, PLOT = DOCS / "results.md", DOCS / "results.svg"
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"


def groups(lines: list[Line]) -> dict[tuple[str, str], list[Line]]:
    """Group lines by task and condition, in the order in which they were run."""
    found: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        found.setdefault((line["task"], line["condition"]), []).append(line)
    return found


def mean_and_deviation(values: list[float]) -> str:
    """Format values as ``8.71 ± 0.42``, or a single value by itself."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def condition_table(lines: list[Line]) -> Iterator[str]:
    """Yield a row for each branch: its last training, over the seeds.

    Columns are the metrics that full training has; a dash is one that a row's trainings do not have.
    """
    seeds = Seeds(lines)
    metrics = measures(seeds.last("full").values())
    titles = [lines[0]["metric"] + " on dev", *(each if " " in each else f"{each} on test" for each in metrics[1:])]
    yield f"| training | seeds | {' | '.join(titles)} | updates | converged |"
    yield "| --- | --- |" + " --- |" * (len(titles) + 2)
    rows = [(f"{branch}, last stage", seeds.last(branch)) for branch in seeds.branches]
    if "cascade" in seeds.branches:
        rows.append(("cascade, selected by dev", seeds.selected("cascade")))
    for title, found in rows:
        title = "full training" if title == "full, last stage" else title
        chosen = list(found.values())
        known = measures(chosen)
        cells = [
            mean_and_deviation([value(line, each) for line in chosen]) if each in known else "-"
            for each in metrics
        ]
        updates = statistics.mean(line["updates"] for line in chosen)
        converged = sum(bool(line["converged"]) for line in chosen)
        yield (
            f"| {title} | {len(chosen)} | {' | '.join(cells)} | {updates:,.0f} "
            f"| {converged} of {len(chosen)} |"
        )


def gain_of_longer(lines: list[Line]) -> str:
    """Say by how much ``longer`` ends below full training on dev, if it was trained."""
    seeds = Seeds(lines)
    if "longer" not in seeds.branches:
        return ""
    found = compare(seeds.last("full"), seeds.last("longer"), DEV)
    ahead = "gains" if found.mean >= 0 else "loses"
    return f"On dev, `longer` {ahead} {abs(found.mean):.2f} over full training. "


def claims_table(lines: list[Line]) -> Iterator[str]:
    """Yield a row for each claim, task and condition."""
    yield "| claim | task, condition | compared | on | difference (95 % interval) | seeds | p over seeds | p over items | verdict |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for each in sorted(findings(lines), key=lambda each: each.claim):
        where = "dev" if each.measure == DEV else f"test {each.measure}".replace("test test", "test")
        yield (
            f"| {each.claim} | {each.task} {each.condition} | {each.compared} | {where} "
            f"| {in_words(each.difference)} | {each.difference.seeds} "
            f"| {shown_p(each.difference.p)} | {shown_p(each.difference.p_items)} | {each.verdict} |"
        )


def tables(lines: list[Line]) -> str:
    """Return everything that the script writes into the page."""
    parts = ["### The claims", "", *(f"- ({key}) {text}" for key, text in CLAIMS.items()), ""]
    parts += [*claims_table(lines), ""]
    for (task, condition), found in groups(lines).items():
        machines = sorted({f"{each['processor']}; {each['versions']}" for each in found})
        hours = sum(each["seconds"] for each in found) / 3600
        parts += [f"### {task}: {condition}", "", *condition_table(found), ""]
        parts += [f"{gain_of_longer(found)}{len(found)} trainings, {hours:.2f} h. {' | '.join(machines)}", ""]
    return "\n".join(parts)


def page(text: str, content: str) -> str:
    """Return the page with new tables.

    Raises:
        ValueError: if the marks are missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE}: expected the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{content}\n{END}{after}"


def draw(lines: list[Line], path: Path) -> None:
    """Plot the differences with their intervals, one row for each comparison, by claim."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "cascade_asr", "font.size": 8})
    from matplotlib import pyplot

    found = sorted(
        (each for each in findings(lines) if each.difference.low is not None),
        key=lambda each: each.claim,
    )
    titles = [f"({each.claim}) {each.task} {each.condition}: {each.compared}" for each in found]
    titles = [
        f"{title}, {each.measure}" if titles.count(title) > 1 else title
        for title, each in zip(titles, found, strict=True)
    ]
    figure, axes = pyplot.subplots(figsize=(8, 0.32 * len(found) + 1))
    for row, each in enumerate(found):
        low, high = each.difference.low, each.difference.high
        colour = {"supported": "#2a7f3f", "contradicted": "#b03a2e"}.get(each.verdict, "#777777")
        axes.plot([low, high], [row, row], color=colour, linewidth=2)
        axes.plot([each.difference.mean], [row], "o", color=colour, markersize=4)
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(found)), titles)
    axes.invert_yaxis()
    axes.set_xscale("symlog", linthresh=2.0)
    axes.margins(y=0.01)
    axes.set_xlabel(
        "difference, less is better; 95 % interval over seeds\n"
        "green: the claim is supported, red: contradicted, grey: undecided"
    )
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)


def main(words: list[str]) -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args(words)
    lines = all_lines()
    text = PAGE.read_text(encoding="utf-8")
    made = page(text, tables(lines))
    if arguments.check:
        if made != text:
            print(f"{PAGE}: its tables are not those of results/; run experiments/document.py")
        return int(made != text)
    PAGE.write_text(made, encoding="utf-8")
    draw(lines, PLOT)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
