"""The result of transcribing a recording, and its output formats."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from cascade_asr.library.recordings import in_one_word
from cascade_asr.speech.ctc_alignment import Word, ctm_line

FORMATS = ("txt", "json", "srt", "ctm")
MOST_HYPOTHESES = 10
LONGEST_CAPTION_S, LONGEST_CAPTION = 6.0, 80  # seconds, characters


@dataclass(frozen=True)
class Choice:
    """One of the n best texts.

    Attributes:
        text: the text.
        score: weighted log-probability.
        parts: components of the score, before weighting.
    """

    text: str
    score: float
    parts: dict[str, float]


@dataclass(frozen=True)
class Stretch:
    """A part of a recording between two cuts.

    Attributes:
        start_s, end_s: in seconds.
        nbest: best texts, best first, at least one.
        words: words of the best text, with times in the recording.
    """

    start_s: float
    end_s: float
    nbest: list[Choice]
    words: list[Word]


@dataclass(frozen=True)
class Transcription:
    """The text of a recording.

    Attributes:
        name: name of the recording.
        seconds: its duration.
        segments: one, or several for a long recording.
        channel: channel of the recording that was asked for, counted from 1; None for all.
        most: number of texts in `nbest`, at most.
    """

    name: str
    seconds: float
    segments: list[Stretch] = field(default_factory=list)
    channel: int | None = None
    most: int = MOST_HYPOTHESES

    @property
    def text(self) -> str:
        """The best text."""
        return self.nbest[0].text

    @property
    def score(self) -> float:
        """Its weighted log-probability; minus infinity if nothing was found."""
        return self.nbest[0].score

    @property
    def words(self) -> list[Word]:
        """Its words, with times and confidence."""
        return [word for segment in self.segments for word in segment.words]

    @property
    def nbest(self) -> list[Choice]:
        """The best texts of the whole recording, best first; at least one.

        For a recording that was cut, these are the best combinations of its segments' texts.
        """
        best = [Choice("", 0.0, {})]
        for number, segment in enumerate(self.segments):
            if number == 0:
                best = segment.nbest
                continue
            joined = [_join(one, other) for one in best for other in segment.nbest]
            joined.sort(key=lambda each: each.score, reverse=True)
            best = joined[: self.most]
        return best if self.segments else [Choice("", float("-inf"), {})]

    def formatted(self, output: str) -> str:
        """Lines in one of the formats: txt, json, srt or ctm."""
        if output == "txt":
            return f"{self.text}\n"
        return {"json": self._json, "srt": self._srt, "ctm": self._ctm}[output]()

    def _json(self) -> str:
        content = {"name": self.name, "seconds": round(self.seconds, 3), "text": self.text,
                   "score": _number(self.score), "nbest": [_told(each) for each in self.nbest],
                   "segments": [
                       {"start_s": round(each.start_s, 3), "end_s": round(each.end_s, 3),
                        "text": each.nbest[0].text,
                        "nbest": [_told(choice) for choice in each.nbest],
                        "words": [_rounded(word) for word in each.words]}
                       for each in self.segments
                   ]}  # fmt: skip
        return json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"

    def _ctm(self) -> str:
        """Kaldi's ctm: recording, channel, start, duration, word, confidence."""
        name = in_one_word(self.name)
        channel = str(self.channel or 1)
        return "".join(f"{ctm_line(name, word, channel)}\n" for word in self.words)

    def _srt(self) -> str:
        blocks = [
            f"{number}\n{_clock(words[0].start_s)} --> {_clock(words[-1].end_s)}\n"
            f"{' '.join(word.text for word in words)}\n\n"
            for number, words in enumerate(self._captions(), start=1)
        ]
        return "".join(blocks)

    def _captions(self) -> list[list[Word]]:
        """Groups of words shown together: within one segment, and neither too many nor too long."""
        captions: list[list[Word]] = []
        for segment in self.segments:
            row: list[Word] = []
            for word in segment.words:
                length = sum(len(each.text) + 1 for each in row) + len(word.text)
                if row and (
                    length > LONGEST_CAPTION or word.end_s - row[0].start_s > LONGEST_CAPTION_S
                ):
                    captions.append(row)
                    row = []
                row.append(word)
            if row:
                captions.append(row)
        return captions


def _join(one: Choice, other: Choice) -> Choice:
    text = " ".join(filter(None, (one.text.strip(), other.text.strip())))
    names = dict.fromkeys([*one.parts, *other.parts])
    parts = {name: one.parts.get(name, 0.0) + other.parts.get(name, 0.0) for name in names}
    return Choice(text, one.score + other.score, parts)


def _number(value: float) -> float | None:
    """A finite number, or None, as JSON has no infinity."""
    return None if value in (float("inf"), float("-inf")) else round(value, 4)


def _told(choice: Choice) -> dict:
    parts = {name: _number(value) for name, value in choice.parts.items()}
    return {"text": choice.text, "score": _number(choice.score), "parts": parts}


def _rounded(word: Word) -> dict:
    confidence = None if word.confidence is None else round(word.confidence, 4)
    times = {"start_s": round(word.start_s, 3), "end_s": round(word.end_s, 3)}
    return asdict(word) | times | {"confidence": confidence}


def _clock(seconds: float) -> str:
    """01:02:03,456."""
    total = round(seconds * 1000)
    minutes, milliseconds = divmod(total, 60_000)
    return (
        f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d},"
        f"{milliseconds % 1000:03d}"
    )
