"""Markdown tables whose columns are padded to equal width."""

from __future__ import annotations


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table in which all cells of a column have equal width."""
    widths = [max(len(row[index]) for row in [header, *rows]) for index in range(len(header))]

    def line(cells: list[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return "| " + " | ".join(padded) + " |"

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)])
