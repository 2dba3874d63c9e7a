"""When a search ends: bounds on the length, and ESPnet's end detection."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

END_DISTANCE = -10.0  # log-probability by which late hypotheses must fall behind
END_LENGTHS = 3  # number of lengths in a row that must fall behind
RETRY_STEP = 0.1  # by which minlenratio changes if no hypothesis has ended


def length_bounds(frames: int, maxlenratio: float, minlenratio: float) -> tuple[int, int]:
    """Most and fewest tokens of a hypothesis for that many encoder frames.

    A negative ratio is an absolute number of tokens; a maxlenratio of 0 means as
    many tokens as frames.
    """
    longest = frames
    if maxlenratio < 0:
        longest = -int(maxlenratio)
    elif maxlenratio > 0:
        longest = max(1, int(maxlenratio * frames))
    return longest, -int(minlenratio) if minlenratio < 0 else int(minlenratio * frames)


@dataclass
class EndDetection:
    """Detects when later hypotheses of an utterance can hardly win (equation 50).

    Source: Watanabe et al. 2017, "Hybrid CTC/Attention Architecture for
    End-to-End Speech Recognition". As in ESPnet, the length of a hypothesis
    counts both sentence edges, so that the last two steps are not considered.
    """

    best: float = -math.inf
    best_of_step: dict[int, float] = field(default_factory=dict)

    def add(self, step: int, score: float) -> None:
        """Record a hypothesis that ended in this step."""
        self.best = max(self.best, score)
        self.best_of_step[step] = max(self.best_of_step.get(step, -math.inf), score)

    def is_over(self, step: int) -> bool:
        """Whether the search may end after this step."""
        late = [self.best_of_step.get(step - 2 - back) for back in range(END_LENGTHS)]
        return all(score is not None and score - self.best < END_DISTANCE for score in late)
