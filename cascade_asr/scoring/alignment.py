"""sclite's alignment: a substitution costs 4, an insertion or a deletion 3.

Published numbers depend on how ties are broken. In each cell the diagonal wins if
it costs no more than both others, else the deletion if it is strictly cheaper than
the insertion, else the insertion; the path is read backwards from the end.

Plain transcripts are aligned many at a time, one anti-diagonal of all their
tables per numpy call; networks one by one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from cascade_asr.scoring.network import Network
from cascade_asr.scoring.words import Word

CORRECT, SUBSTITUTION, DELETION, INSERTION = b"CSDI"
SUBSTITUTION_COST, GAP_COST, OPTIONAL_GAP_COST = 4, 3, 2
NULL_GAP_COST = np.float32(0.001)
NULL_PAIR_COST = 1

DIAGONAL, UP, LEFT, ORIGIN = 0, 1, 2, 3
CELLS_PER_BATCH = 2_000_000

_WRONG = re.compile(rb"[SDI]")
_RUNS = re.compile(rb"C+|[SDI]")

WordPair = tuple[Sequence[bytes], Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Alignment:
    """Two word sequences and the operations that align them.

    Attributes:
        reference: words that ``C``, ``S`` and ``D`` consume, in order.
        hypothesis: words that ``C``, ``S`` and ``I`` consume, in order.
        operations: one of the letters C, S, D, I for each column.

    A missing or extra optional word counts as correct; its partner is ``b""``.
    """

    reference: Sequence[bytes]
    hypothesis: Sequence[bytes]
    operations: bytes

    def runs(self) -> Iterator[tuple[bytes, Sequence[bytes], Sequence[bytes]]]:
        """Yield (operations, reference words, hypothesis words) of each run.

        A run is one wrong column, or a maximal sequence of correct ones.
        """
        row = column = 0
        for match in _RUNS.finditer(self.operations):
            operations = match[0]
            rows = 0 if operations == b"I" else len(operations)
            columns = 0 if operations == b"D" else len(operations)
            yield (
                operations,
                self.reference[row : row + rows],
                self.hypothesis[column : column + columns],
            )
            row += rows
            column += columns

    def errors(self) -> Iterator[tuple[bytes | None, bytes | None]]:
        """Yield (reference word or None, hypothesis word or None) of each wrong column."""
        insertions = deletions = 0
        for match in _WRONG.finditer(self.operations):
            position, operation = match.start(), match[0]
            reference = hypothesis = None
            if operation != b"I":
                reference = self.reference[position - insertions]
            if operation != b"D":
                hypothesis = self.hypothesis[position - deletions]
            insertions += operation == b"I"
            deletions += operation == b"D"
            yield reference, hypothesis

    def columns(self) -> Iterator[tuple[int, bytes | None, bytes | None]]:
        """Yield (operation, reference word or None, hypothesis word or None)."""
        reference, hypothesis = iter(self.reference), iter(self.hypothesis)
        for operation in self.operations:
            yield (
                operation,
                None if operation == INSERTION else next(reference),
                None if operation == DELETION else next(hypothesis),
            )


def align_words(pairs: Sequence[WordPair]) -> list[bytes]:
    """Align plain word sequences.

    Args:
        pairs: (reference, hypothesis) of each utterance.

    Returns:
        The operations of each pair, in the order given.

    >>> align_words([(b"a b b a".split(), b"c c c a b".split())])
    [b'SSSCI']
    """
    operations: list[bytes] = [b""] * len(pairs)
    pending: list[tuple[int, int, int]] = []
    for index, (reference, hypothesis) in enumerate(pairs):
        rows, columns = len(reference), len(hypothesis)
        # Only a common end can be cut off: under the tie rule a common
        # beginning does not always align with itself.
        while rows and columns and reference[rows - 1] == hypothesis[columns - 1]:
            rows -= 1
            columns -= 1
        if rows and columns:
            pending.append((rows, columns, index))
        else:
            operations[index] = b"D" * rows + b"I" * columns + b"C" * (len(reference) - rows)
    pending.sort()
    for batch in _batches(pending):
        _align_batch(pairs, batch, operations)
    return operations


def _batches(pending: list[tuple[int, int, int]]) -> Iterator[list[tuple[int, int, int]]]:
    """Group pairs of similar size so that the tables of a batch stay small."""
    batch: list[tuple[int, int, int]] = []
    widest = 0
    for item in pending:
        widest = max(widest, item[1])
        cells = (item[0] + widest + 1) * (item[0] + 1)
        if batch and cells * (len(batch) + 1) > CELLS_PER_BATCH:
            yield batch
            batch, widest = [], item[1]
        batch.append(item)
    if batch:
        yield batch


def _align_batch(
    pairs: Sequence[WordPair], batch: list[tuple[int, int, int]], operations: list[bytes]
) -> None:
    rows = max(item[0] for item in batch)
    columns = max(item[1] for item in batch)
    numbers: dict[bytes, int] = defaultdict(count().__next__)
    reference = np.full((rows, len(batch)), -1, np.int32)
    hypothesis = np.full((columns, len(batch)), -2, np.int32)
    for position, (length, width, index) in enumerate(batch):
        words, hypothesis_words = pairs[index]
        reference[:length, position] = list(map(numbers.__getitem__, words[:length]))
        hypothesis[:width, position] = list(map(numbers.__getitem__, hypothesis_words[:width]))
    moves = _fill(reference, hypothesis)
    traced = _trace(moves, reference, hypothesis, batch)
    for row, (length, _, index) in zip(traced, batch):
        suffix = len(pairs[index][0]) - length
        operations[index] = row.tobytes().lstrip(b"\0") + b"C" * suffix


def _fill(reference: np.ndarray, hypothesis: np.ndarray) -> np.ndarray:
    """Fill the tables of a batch.

    Args:
        reference: (rows, B) word numbers; padded at the end.
        hypothesis: (columns, B) word numbers; padded at the end.

    Returns:
        (rows + columns + 1, rows + 1, B) uint8: the move into cell (i, j) of
        each table at index [i + j, i].
    """
    rows, batch = reference.shape
    columns = hypothesis.shape[0]
    kind = np.int16 if GAP_COST * (rows + columns) < 2**15 - 8 else np.int32
    moves = np.empty((rows + columns + 1, rows + 1, batch), np.uint8)
    moves[0, 0] = ORIGIN
    before, previous, current = (np.zeros((rows + 1, batch), kind) for _ in range(3))
    backwards = hypothesis[::-1]
    for diagonal in range(1, rows + columns + 1):
        low, high = max(1, diagonal - columns), min(rows, diagonal - 1) + 1
        if low < high:
            # Row i of this diagonal meets column diagonal - i.
            offset = columns - diagonal
            different = reference[low - 1 : high - 1] != backwards[low + offset : high + offset]
            substitution = before[low - 1 : high - 1] + different.astype(kind) * kind(
                SUBSTITUTION_COST
            )
            deletion, insertion = previous[low - 1 : high - 1], previous[low:high]
            gap = np.minimum(deletion, insertion) + kind(GAP_COST)
            moves[diagonal, low:high] = (substitution > gap) * (
                np.uint8(LEFT) - (deletion < insertion)
            )
            np.minimum(substitution, gap, out=current[low:high])
        if diagonal <= columns:
            current[0] = GAP_COST * diagonal
            moves[diagonal, 0] = LEFT
        if diagonal <= rows:
            current[diagonal] = GAP_COST * diagonal
            moves[diagonal, diagonal] = UP
        before, previous, current = previous, current, before
    return moves


def _trace(
    moves: np.ndarray,
    reference: np.ndarray,
    hypothesis: np.ndarray,
    batch: list[tuple[int, int, int]],
) -> np.ndarray:
    """Read the paths backwards; return letters (B, steps), with zeros before the first."""
    row = np.array([item[0] for item in batch])
    column = np.array([item[1] for item in batch])
    utterance = np.arange(len(batch))
    steps = int((row + column).max())
    letters = np.zeros((len(batch), steps), np.uint8)
    for step in range(steps - 1, -1, -1):
        move = moves[row + column, row, utterance]
        if (move == ORIGIN).all():
            break
        # At a border the index -1 reads a word, which is not used there.
        same = reference[row - 1, utterance] == hypothesis[column - 1, utterance]
        letters[:, step] = np.choose(
            move, (np.where(same, CORRECT, SUBSTITUTION), DELETION, INSERTION, 0)
        )
        row = row - (move <= UP)
        column = column - ((move == DIAGONAL) | (move == LEFT))
    return letters


def align_networks(reference: Network, hypothesis: Network) -> Alignment:
    """Align two networks along their cheapest pair of paths.

    Costs of a null word are added in single precision, as in sclite, because
    rounding decides ties between paths with several null words.
    """
    single = any(word.null for word in (*reference.words, *hypothesis.words))
    gaps = [_gap_cost(word) for word in hypothesis.words]
    pairs = _pair_costs(reference.words, hypothesis.words)
    table: list[_Row] = []
    for row, word in enumerate(reference.words):
        if row:
            before = [table[arc] for arc in reference.predecessors[row]]
            table.append(
                _next_row(row, before, _gap_cost(word), pairs[word], hypothesis.predecessors, gaps)
            )
        else:
            origin = np.float32(0) if single else 0
            table.append(_first_row(origin, hypothesis.predecessors, gaps))
    end_row = min(reference.last, key=lambda arc: min(table[arc].cost[b] for b in hypothesis.last))
    end_column = min(hypothesis.last, key=table[end_row].cost.__getitem__)
    return _read_path(table, reference.words, hypothesis.words, (end_row, end_column))


class _Row:
    """One row of the table.

    Attributes:
        number: number of the row.
        cost: cost of the cheapest path into each cell.
        back: the (row, column) that this path comes from.
        entry: for each column, the cheapest of its preceding columns.
    """

    __slots__ = ("number", "cost", "back", "entry")

    def __init__(self, number: int) -> None:
        self.number = number
        self.cost: list[Any] = []
        self.back: list[tuple[int, int]] = []
        self.entry: list[int] = []


def _first_row(origin: Any, predecessors: list[list[int]], gaps: list[Any]) -> _Row:
    row = _Row(0)
    row.cost, row.back, row.entry = [origin], [(0, 0)], [0]
    for column in range(1, len(gaps)):
        left = _cheapest(predecessors[column], row.cost)
        row.cost.append(row.cost[left] + gaps[column])
        row.back.append((0, left))
        row.entry.append(left)
    return row


def _next_row(
    number: int,
    before: list[_Row],
    deletion_gap: Any,
    pair_costs: list[int],
    predecessors: list[list[int]],
    gaps: list[Any],
) -> _Row:
    """Fill a row from the rows that can precede it; the first strict minimum wins."""
    row = _Row(number)
    cost, back, entry = row.cost, row.back, row.entry
    above = corner_row = before[0]
    for column, gap in enumerate(gaps):
        if len(before) > 1:
            above = min(before, key=lambda r: r.cost[column])
            corner_row = min(before, key=lambda r: r.cost[r.entry[column]])
        deletion = above.cost[column] + deletion_gap
        if not column:
            cost.append(deletion)
            back.append((above.number, 0))
            entry.append(0)
            continue
        left = _cheapest(predecessors[column], cost)
        insertion = cost[left] + gap
        corner = corner_row.entry[column]
        substitution = corner_row.cost[corner] + pair_costs[column]
        entry.append(left)
        if substitution <= deletion and substitution <= insertion:
            cost.append(substitution)
            back.append((corner_row.number, corner))
        elif deletion < insertion:
            cost.append(deletion)
            back.append((above.number, column))
        else:
            cost.append(insertion)
            back.append((number, left))
    return row


def _cheapest(arcs: list[int], cost: list[Any]) -> int:
    return arcs[0] if len(arcs) == 1 else min(arcs, key=cost.__getitem__)


def _pair_costs(words: list[Word], others: list[Word]) -> dict[Word, list[int]]:
    """For each distinct word, its cost against each word of the other side."""
    return {word: [_pair_cost(word, other) for other in others] for word in set(words)}


def _gap_cost(word: Word) -> Any:
    if word.null:
        return NULL_GAP_COST
    return OPTIONAL_GAP_COST if word.optional else GAP_COST


def _pair_cost(word: Word, other: Word) -> int:
    if word.null and other.null:
        return NULL_PAIR_COST
    return 0 if matches(word, other) else SUBSTITUTION_COST


def matches(word: Word, other: Word) -> bool:
    """Whether two words count as equal; fragments match by their beginning or end."""
    first, second = word.match, other.match
    if word.fragment or other.fragment:
        for part, whole in ((first, second), (second, first)):
            if len(part) > 1 and part.startswith(b"-"):
                return whole.endswith(part[1:])
            if len(part) > 1 and part.endswith(b"-"):
                return whole.startswith(part[:-1])
    return first == second


def _read_path(
    table: list[_Row],
    reference: list[Word],
    hypothesis: list[Word],
    end: tuple[int, int],
) -> Alignment:
    columns: list[tuple[int, bytes | None, bytes | None]] = []
    row, column = end
    while row or column:
        above, left = table[row].back[column]
        word, other = reference[row], hypothesis[column]
        if above == row:
            if other.optional:
                columns.append((CORRECT, b"", other.value))
            elif not other.null:
                columns.append((INSERTION, None, other.value))
        elif left == column:
            if word.optional:
                columns.append((CORRECT, word.value, b""))
            elif not word.null:
                columns.append((DELETION, word.value, None))
        elif not (word.null and other.null):
            operation = CORRECT if matches(word, other) else SUBSTITUTION
            columns.append((operation, word.value, other.value))
        row, column = above, left
    columns.reverse()
    return Alignment(
        [word for _, word, _ in columns if word is not None],
        [word for _, _, word in columns if word is not None],
        bytes(operation for operation, _, _ in columns),
    )
