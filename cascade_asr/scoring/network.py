"""Word networks, which transcripts with alternates become.

An alternation ``{ a / b c }`` opens parallel paths. Which of several equally
good paths wins depends on the order in which arcs enter a node, so this module
keeps that order exactly as sclite's list operations produce it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from cascade_asr.scoring.options import ScoringOptions
from cascade_asr.scoring.words import (
    NULL,
    SPACE,
    Report,
    Word,
    clean,
    make_word,
    split_characters,
    tokens,
)

_SPACE = Word(SPACE, SPACE)
_OPTIONAL_SPACE = Word(b"(" + SPACE + b")", SPACE, optional=True)
# what comes before a node: no word, only words that may be missing, or others
_BEFORE = _NO_WORD, _OPTIONAL_WORDS, _WORDS = range(3)


@dataclass(frozen=True)
class Network:
    """Arcs in topological order; arc 0 is an empty head.

    Attributes:
        words: the word of each arc; that of the head is never read.
        predecessors: for each arc, the arcs that can come before it, in
            sclite's order. The head has none.
        last: the arcs that can end the utterance, in sclite's order.
    """

    words: list[Word]
    predecessors: list[list[int]]
    last: list[int]


class _Node:
    __slots__ = ("incoming", "outgoing")

    def __init__(self) -> None:
        self.incoming: list[_Arc] = []
        self.outgoing: list[_Arc] = []


class _Arc:
    __slots__ = ("word", "source", "target")

    def __init__(self, word: Word, source: _Node, target: _Node) -> None:
        self.word, self.source, self.target = word, source, target
        source.outgoing.append(self)
        target.incoming.append(self)

    def remove(self) -> None:
        self.source.outgoing.remove(self)
        self.target.incoming.remove(self)


def read_network(
    text: bytes, options: ScoringOptions, where: str, report: Report, recognised: bool = False
) -> Network:
    """Build the network of one folded text.

    Args:
        where: file and line, for messages.
        report: receives warnings.
        recognised: whether the text is a hypothesis, where odd braces are words.

    Raises:
        DataError: if a brace of a reference is never closed.
    """
    start, stop = _graph(text, options, where, report, recognised)
    if options.spaces:
        start, stop = _with_spaces(start, stop)
    if options.characters:
        _expand_characters(start, options)
    return _flatten(start, stop)


def _graph(
    text: bytes, options: ScoringOptions, where: str, report: Report, recognised: bool
) -> tuple[_Node, _Node]:
    start = node = _Node()
    for token in tokens(text, where, report, recognised):
        following = _Node()
        if isinstance(token, bytes):
            _Arc(make_word(clean(token), options), node, following)
        else:
            for branch in token:
                _join(_graph(branch, options, where, report, recognised), node, following)
        node = following
    return start, node


def _join(branch: tuple[_Node, _Node], source: _Node, target: _Node) -> None:
    """Put a branch between two nodes, after the existing branches."""
    start, stop = branch
    for arc in start.outgoing:
        arc.source = source
        source.outgoing.append(arc)
    for arc in stop.incoming:
        arc.target = target
        target.incoming.append(arc)


def _with_spaces(start: _Node, stop: _Node) -> tuple[_Node, _Node]:
    """The same paths, in the same order, with a space between two words.

    A null word has none, and that of an optional word is optional. Nodes are copied,
    because it depends on the words before a node whether a space follows.
    """
    end = _Node()
    copies: dict[tuple[int, int], _Node] = {(id(stop), before): end for before in _BEFORE}
    order: dict[int, tuple[int, int]] = {}
    waiting = deque([(start, _NO_WORD)])
    first = copies.setdefault((id(start), _NO_WORD), _Node())
    while waiting:
        node, before = waiting.popleft()
        behind: dict[Word | None, _Node] = {None: copies[id(node), before]}
        for arc in node.outgoing:
            space, after = None, before
            if not arc.word.null:
                after = max(before, _OPTIONAL_WORDS if arc.word.optional else _WORDS)
                if before != _NO_WORD:
                    optional = arc.word.optional or before == _OPTIONAL_WORDS
                    space = _OPTIONAL_SPACE if optional else _SPACE
            if space not in behind:
                behind[space] = _Node()
                _Arc(space, behind[None], behind[space])
            key = (id(arc.target), after)
            if key not in copies:
                copies[key] = _Node()
                waiting.append((arc.target, after))
            copied = _Arc(arc.word, behind[space], copies[key])
            order[id(copied)] = (arc.target.incoming.index(arc), before)
    for copy in copies.values():
        copy.incoming.sort(key=lambda arc: order[id(arc)])
    return first, end


def _expand_characters(start: _Node, options: ScoringOptions) -> None:
    """Replace each word by a chain of its characters, in sclite's depth-first order.

    The chain's last arc goes to the end of the target's list, while a one-character
    word keeps its earlier place.
    """
    stack, seen = [start], {id(start)}
    while stack:
        node = stack.pop()
        arcs = list(node.outgoing)
        for arc in arcs:
            if id(arc.target) not in seen:
                seen.add(id(arc.target))
                stack.append(arc.target)
        for arc in arcs:
            _expand_arc(arc, options)


def _expand_arc(arc: _Arc, options: ScoringOptions) -> None:
    word = arc.word
    if len(word.value) <= 1 or (options.spaces and word.match == SPACE):
        return
    pieces = _pieces(word, options)
    if pieces == [word.value]:
        return
    if word.optional:
        words = [Word(b"(" + piece + b")", piece, optional=True) for piece in pieces]
    else:
        words = [Word(piece, piece) for piece in pieces]
    node = arc.source
    for position, piece_word in enumerate(words or [Word(NULL, NULL, null=True)]):
        target = arc.target if position >= len(words) - 1 else _Node()
        _Arc(piece_word, node, target)
        node = target
    arc.remove()


def _pieces(word: Word, options: ScoringOptions) -> list[bytes]:
    if word.optional and len(word.match) == 1:
        deleted = options.delete_hyphen and word.match == b"-"
        return [] if deleted else [word.match]
    return split_characters(word.match, options) if word.match else []


def _flatten(start: _Node, stop: _Node) -> Network:
    """Number the arcs so that each comes after its predecessors."""
    words = [Word(b"", b"")]
    predecessors: list[list[int]] = [[]]
    number: dict[int, int] = {}
    entering: dict[int, list[int]] = {id(start): [0]}
    waiting: dict[int, int] = {}
    ready = deque([start])
    while ready:
        node = ready.popleft()
        before = entering.get(id(node)) or [number[id(arc)] for arc in node.incoming]
        for arc in node.outgoing:
            number[id(arc)] = len(words)
            words.append(arc.word)
            predecessors.append(before)
            target = id(arc.target)
            waiting[target] = waiting.get(target, len(arc.target.incoming)) - 1
            if waiting[target] == 0:
                ready.append(arc.target)
    last = [0] if stop is start else [number[id(arc)] for arc in stop.incoming]
    return Network(words, predecessors, last)
