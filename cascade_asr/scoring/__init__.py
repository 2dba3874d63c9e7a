"""sclite's alignment, reports and statistics, without sclite.

>>> result = score_texts({"u1": ["a", "b"]}, {"u1": ["a", "c"]})
>>> result.error_rate
50.0
"""

from cascade_asr.scoring.options import ScoringOptions
from cascade_asr.scoring.score import Counts, Interval, ScoreResult, Utterance
from cascade_asr.scoring.scorer import score_texts, score_transcripts
from cascade_asr.scoring.significance import Comparison, Mapsswe, compare, interval

__all__ = [
    "Comparison",
    "Counts",
    "Interval",
    "Mapsswe",
    "ScoreResult",
    "ScoringOptions",
    "Utterance",
    "compare",
    "interval",
    "score_texts",
    "score_transcripts",
]
