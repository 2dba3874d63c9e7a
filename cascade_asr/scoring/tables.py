"""The boxed tables of sclite's summaries, byte for byte.

A table has a title line above rows of cells. Columns are as wide as their widest
cell; if the title is wider, the surplus is spread over the columns. Tables are
centred in 80 columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PAGE_WIDTH = 80
LEFT, CENTRE = "l", "c"
# A bar follows the first and the third of the nine columns, a space the others.
SEPARATORS = b"| |     "


@dataclass
class Table:
    """Rows of byte cells under one title.

    Attributes:
        title: first line of the box; ``//`` starts a new line.
        rows: (separator line's character or none, justification of the first
            cell, cells). All other cells are centred.
    """

    title: bytes
    rows: list[tuple[bytes, str, list[bytes]]] = field(default_factory=list)

    def add(self, separator: bytes, first: str, cells: list[bytes]) -> None:
        """Append a row, with a line of ``separator`` before it."""
        self.rows.append((separator, first, cells))

    def render(self) -> bytes:
        """The box, ending in a newline."""
        columns = len(SEPARATORS) + 1
        sizes = [max(_width(cells[c]) for _, _, cells in self.rows) for c in range(columns)]
        title_size = _width(self.title)
        body_width = 2 + sum(sizes) + columns - 1
        width = max(body_width, title_size + 2)
        margin = b" " * ((PAGE_WIDTH - width) // 2)
        padded = _spread(sizes, width - body_width)
        lines = [b"," + b"-" * (width - 2) + b"."]
        for part in self.title.split(b"//"):
            lines.append(b"|" + _cell(part, CENTRE, title_size, width - 2) + b"|")
        for index, (separator, first, cells) in enumerate(self.rows):
            if separator:
                # Bars cross a '-' line only between two rows of cells.
                crossing = separator == b"-" and index > 0
                lines.append(_rule(separator, padded, crossing))
            for parts in _lines_of(cells):
                line = b"|"
                for c, part in enumerate(parts):
                    line += _cell(part, first if c == 0 else CENTRE, sizes[c], padded[c])
                    line += SEPARATORS[c : c + 1] if c < columns - 1 else b"|"
                lines.append(line)
        lines.append(b"`" + b"-" * (width - 2) + b"'")
        return b"".join(margin + line + b"\n" for line in lines)


def _width(cell: bytes) -> int:
    return max(len(part) for part in cell.split(b"//"))


def _lines_of(cells: list[bytes]) -> list[list[bytes]]:
    parts = [cell.split(b"//") for cell in cells]
    height = max(len(part) for part in parts)
    return [[part[i] if i < len(part) else b"" for part in parts] for i in range(height)]


def _spread(sizes: list[int], surplus: int) -> list[int]:
    """Widths after giving the surplus of a wide title to the columns, left to right."""
    padded, given = [], 0
    for c, size in enumerate(sizes):
        if c < len(sizes) - 1:
            share = int(surplus / len(sizes) * (c + 1) + 0.5) - given
        else:
            share = surplus - given
        given += share
        padded.append(size + share)
    return padded


def _cell(text: bytes, justification: str, text_width: int, width: int) -> bytes:
    before = (width - text_width) // 2
    if justification == CENTRE:
        text = b" " * ((text_width - len(text)) // 2) + text
    return b" " * before + text.ljust(text_width) + b" " * (width - text_width - before)


def _rule(separator: bytes, widths: list[int], crossing: bool) -> bytes:
    line = b"|"
    for c, width in enumerate(widths):
        line += separator * width
        if c < len(widths) - 1:
            line += b"+" if crossing and SEPARATORS[c : c + 1] == b"|" else separator
    return line + b"|"
