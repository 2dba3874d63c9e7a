"""When each token of a text was spoken: the most probable CTC path that spells it.

Exact Viterbi search over the path lattice of Graves et al., "Connectionist
Temporal Classification", ICML 2006, section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cascade_asr.data.kaldi.blanks import BLANKS, words
from cascade_asr.data.tokens import BLANK_ID


@dataclass(frozen=True)
class Alignment:
    """The best path for a text.

    Attributes:
        starts, ends: first encoder frame of each token, and the frame after its last.
        peaks: highest probability of each token within its frames.
        score: log-probability of the path.
    """

    starts: list[int]
    ends: list[int]
    peaks: list[float]
    score: float

    def tokens_of_frames(self, frames: int) -> np.ndarray:
        """Position in the text of each frame's token, shape (T',); -1 for a blank.

        Args:
            frames: T', encoder frames of the utterance.
        """
        path = np.full(frames, -1, dtype=np.int64)
        for place, (start, end) in enumerate(zip(self.starts, self.ends, strict=True)):
            path[start:end] = place
        return path


def align(log_probabilities: np.ndarray, tokens: Sequence[int]) -> Alignment | None:
    """Align tokens to frames.

    Args:
        log_probabilities: shape (T', V), from CTC.
        tokens: ids, without blanks.

    Returns:
        The alignment; None if no path spells the tokens, because there are too few frames.
    """
    frames = len(log_probabilities)
    if not tokens:
        score = float(log_probabilities[:, BLANK_ID].sum(dtype=np.float64)) if frames else 0.0
        return Alignment([], [], [], score)
    if not frames:
        return None
    states = np.full(2 * len(tokens) + 1, BLANK_ID)  # blank, token, blank, token, ..., blank
    states[1::2] = tokens
    emitted = log_probabilities[:, states].astype(np.float64)  # (T', S)
    cannot_skip = np.ones(len(states), dtype=bool)  # equal tokens have a blank between them
    cannot_skip[3::2] = states[3::2] == states[1:-2:2]
    best = np.full(len(states), -np.inf)
    best[:2] = emitted[0, :2]
    came_from = np.zeros((frames, len(states)), dtype=np.int8)  # 0, 1 or 2 states back
    ways = np.full((3, len(states)), -np.inf)
    for frame in range(1, frames):
        ways[0], ways[1, 1:], ways[2, 2:] = best, best[:-1], best[:-2]
        ways[2, cannot_skip] = -np.inf
        came_from[frame] = ways.argmax(axis=0)
        best = ways.max(axis=0) + emitted[frame]
    state = len(states) - 1 if best[-1] >= best[-2] else len(states) - 2
    score = float(best[state])
    if score == -np.inf:
        return None
    path = np.empty(frames, dtype=np.int64)
    for frame in range(frames - 1, -1, -1):
        path[frame] = state
        state -= int(came_from[frame, state])  # state numbers do not fit into 8 bits
    places = 2 * np.arange(len(tokens)) + 1
    starts, ends = np.searchsorted(path, places), np.searchsorted(path, places, side="right")
    peaks = [
        float(np.exp(emitted[start:end, place].max()))
        for start, end, place in zip(starts, ends, places, strict=True)
    ]
    return Alignment(starts.tolist(), ends.tolist(), peaks, score)


@dataclass(frozen=True)
class Word:
    """A recognised word.

    Attributes:
        text: the word.
        start_s, end_s: in seconds.
        confidence: geometric mean of its tokens' highest CTC probabilities; None if
            there is no CTC alignment, in which case its times are a guess.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float | None


def ctm_line(name: str, word: Word, channel: str = "1") -> str:
    """A line of Kaldi's ctm: recording, channel, start, duration, word, confidence."""
    start, end = round(word.start_s, 2), round(word.end_s, 2)
    line = f"{name} {channel} {start:.2f} {max(end - start, 0.01):.2f} {word.text}"
    return line if word.confidence is None else f"{line} {word.confidence:.2f}"


def word_times(
    tokens: Sequence[int],
    decode: Callable[[Sequence[int]], str],
    log_probabilities: np.ndarray | None,
    seconds: float,
) -> list[Word]:
    """The words of a text with their times.

    Args:
        tokens: ids, without sentence edge.
        decode: turns tokens into text.
        log_probabilities: from CTC, (T', V); if None or too short for the tokens,
            words are spread evenly.
        seconds: duration of the T' frames.
    """
    return group_times(_words_of(tokens, decode), tokens, log_probabilities, seconds)


def group_times(
    groups: Sequence[tuple[str, list[int]]],
    tokens: Sequence[int],
    log_probabilities: np.ndarray | None,
    seconds: float,
    alignment: Alignment | None = None,
) -> list[Word]:
    """The same for any groups of tokens, each given by its name and its tokens' positions.

    Args:
        alignment: alignment of the tokens, if already known.
    """
    if alignment is None and log_probabilities is not None:
        alignment = align(log_probabilities, tokens)
    if alignment is None or log_probabilities is None:
        share = seconds / max(1, len(groups))
        return [
            Word(text, number * share, (number + 1) * share, None)
            for number, (text, _) in enumerate(groups)
        ]
    frame_s = seconds / max(1, len(log_probabilities))
    words = []
    for text, places in groups:
        peaks = [max(alignment.peaks[place], 1e-30) for place in places]
        words.append(
            Word(
                text,
                alignment.starts[places[0]] * frame_s,
                alignment.ends[places[-1]] * frame_s,
                float(np.exp(np.mean(np.log(peaks)))),
            )
        )
    return words


def token_and_word_times(
    tokens: Sequence[int],
    names: Sequence[str],
    decode: Callable[[Sequence[int]], str],
    log_probabilities: np.ndarray | None,
    seconds: float,
) -> tuple[list[Word], list[Word]]:
    """Times of every token, labelled by ``names``, and of every word, from one alignment."""
    alignment = None if log_probabilities is None else align(log_probabilities, tokens)
    singles = [(name, [place]) for place, name in enumerate(names)]
    known = None if alignment is None else log_probabilities
    return tuple(
        group_times(groups, tokens, known, seconds, alignment)
        for groups in (singles, _words_of(tokens, decode))
    )


def _words_of(
    tokens: Sequence[int], decode: Callable[[Sequence[int]], str]
) -> list[tuple[str, list[int]]]:
    """Each word of the text and the positions of its tokens."""
    places: list[list[int]] = []
    before = ""
    for number in range(len(tokens)):
        text = decode(tokens[: number + 1])
        stripped = text.strip(BLANKS)
        count = len(words(stripped))
        if count > len(places):
            places += [[number] for _ in range(count - len(places))]
        elif stripped != before and places:
            places[-1].append(number)
        before = stripped
    found = words(before)
    return list(zip(found, places[: len(found)], strict=True))
