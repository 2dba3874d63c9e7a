"""How stage 6 scores a test set: by the bundled scorer, or by NIST's rules for Hub5.

A set with a folder ``data/SET/hub5`` is scored by hubscr.pl, with one column per subset;
any other set is scored against its ``text``, in one column.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cascade_asr.data.kaldi.tables import read_table
from cascade_asr.data.tokens import NON_LINGUISTIC_SYMBOLS, read_symbols
from cascade_asr.scoring.hub5.hub5 import Hub5Reference, find_sctk, score_hub5
from cascade_asr.scoring.options import ScoringOptions
from cascade_asr.scoring.output import hub5_record, result_record, write_record, write_reports
from cascade_asr.scoring.score import ScoreResult
from cascade_asr.scoring.scorer import score_texts
from cascade_asr.scoring.significance import interval
from cascade_asr.scoring.transcripts import from_texts
from cascade_asr.scoring.words import SPACE, ascii_words

BOOTSTRAP_SAMPLES = 1000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SetScore:
    """One hypothesis on one set.

    Attributes:
        words: word scores by column of a table: the set, or the set and a subset.
        characters: character error rate in percent, spaces counted; None if not scored.
    """

    words: dict[str, ScoreResult]
    characters: float | None = None


class PlainSet:
    """A set that is scored against its text, as sclite does.

    Args:
        name: name of the set.
        dump: folder of stages 1 and 2.
        unscored: non-linguistic symbols, such as ``<NOISE>``: they are not words, and are
            ignored on both sides.
    """

    bootstrap_unit = "utterance"
    note = None

    def __init__(self, name: str, dump: Path, unscored: frozenset[str]) -> None:
        self.columns = [name]
        self._unscored = unscored
        self._reference = self._texts(dump / name / "text")
        self._speakers = read_table(dump / name / "utt2spk")

    def score(self, decoded: Path) -> SetScore:
        """Score ``decoded/text`` and write sclite's files beside it."""
        hypothesis = self._texts(decoded / "text")
        words, characters = (
            self._written(decoded / folder, hypothesis, each)
            for folder, each in (("score_wer", False), ("score_cer", True))
        )
        return SetScore({self.columns[0]: words}, characters.error_rate)

    def words(self, decoded: Path) -> dict[str, ScoreResult]:
        """Score the words of ``decoded/text`` without writing files."""
        hypothesis = self._texts(decoded / "text")
        options = ScoringOptions(encoding="utf-8")
        result = score_texts(self._reference, hypothesis, self._speakers, options, strict=True)
        return {self.columns[0]: result}

    @property
    def reference(self) -> object:
        """What hypotheses are scored against; equal for sets whose scores may be compared."""
        return self._reference

    def names(self) -> dict[str, tuple[str, str]]:
        """Utterance and speaker of the data folder, by the id that scoring uses."""
        own = {f"{speaker}-{name}": (name, speaker) for name, speaker in self._speakers.items()}
        folded = {key.encode().lower().decode(): each for key, each in own.items()}
        return folded | own

    def report_folder(self, decoded: Path, column: str) -> Path:
        """Where `score` writes its word reports."""
        return decoded / "score_wer"

    def _texts(self, path: Path) -> dict[str, list[str]]:
        return {
            name: [word for word in ascii_words(text) if word not in self._unscored]
            for name, text in read_table(path).items()
        }

    def _written(
        self, folder: Path, hypothesis: dict[str, list[str]], characters: bool
    ) -> ScoreResult:
        """Score; write reports, and the two files from which sclite makes the same reports.

        For characters, each word of these files is one character or ``<space>``, as in ESPnet.
        """
        options = ScoringOptions(encoding="utf-8")
        sides = (self._reference, hypothesis)
        if characters and _means_more_alone(sides):
            options = ScoringOptions(encoding="utf-8", characters=True, spaces=True)
        elif characters:
            sides = tuple(
                {utterance: _characters(words) for utterance, words in texts.items()}
                for texts in sides
            )
        title = f"{folder}/hyp.trn"
        result = score_texts(*sides, self._speakers, options, title=title, strict=True)
        folder.mkdir(parents=True, exist_ok=True)
        for name, texts in zip(("ref.trn", "hyp.trn"), sides, strict=True):
            from_texts(name, texts, self._speakers, options).write_trn(folder / name)
        write_reports(folder, result)
        record = result_record(result, interval(result, BOOTSTRAP_SAMPLES))
        write_record(folder / "result.json", record)
        return result


def _means_more_alone(sides: tuple[dict[str, list[str]], ...]) -> bool:
    """Whether some character has a special meaning for sclite when it is a word by itself."""
    return any(
        not set("@{}").isdisjoint(word)
        for texts in sides
        for words in texts.values()
        for word in words
    )


def _characters(words: list[str]) -> list[str]:
    """The characters of words, with ``<space>`` between two words."""
    return [
        character
        for number, word in enumerate(words)
        for character in ([SPACE.decode()] * bool(number) + list(word))
    ]


class Hub5Set:
    """A set of telephone conversations, scored by hubscr.pl, subset by subset.

    Intervals and comparisons resample whole conversation sides, because utterances of
    one speaker in one call are not independent. There is no character error rate.

    Args:
        name: name of the set, such as ``eval2000``.
        data: its data folder, with ``hub5/{segments,stm,glm}``.
        sctk: folder of hubscr.pl; None searches for it.

    Raises:
        ConfigError: if hubscr.pl is not installed.
    """

    bootstrap_unit = "speaker"

    def __init__(self, name: str, data: Path, sctk: Path | None = None) -> None:
        self._sctk = find_sctk(sctk)
        recordings = data / "reco2file_and_channel"
        self._reference = Hub5Reference.read(
            name,
            *(data / "hub5" / each for each in ("segments", "stm", "glm")),
            recordings if recordings.is_file() else None,
        )
        self._subsets = {f"{name} {subset}": subset for subset in self._reference.subsets}
        self.columns = list(self._subsets)
        self.note = (
            f"{name}: scored by NIST's hubscr.pl; its intervals and comparisons resample whole "
            "conversation sides"
        )

    def score(self, decoded: Path) -> SetScore:
        """Score ``decoded/text`` and keep hubscr.pl's reports beside it.

        Raises:
            DataError: if a segment or a conversation side was not decoded.
        """
        folder = decoded / "score_hub5"
        warnings: list[str] = []
        words = self._scored(decoded, folder, warnings)
        write_record(
            folder / "result.json",
            hub5_record(
                self._reference.name,
                words,
                {
                    subset: interval(result, BOOTSTRAP_SAMPLES, unit=self.bootstrap_unit)
                    for subset, result in words.items()
                },
                warnings,
            ),
        )
        return SetScore({column: words[subset] for column, subset in self._subsets.items()})

    def words(self, decoded: Path) -> dict[str, ScoreResult]:
        """Score the words of ``decoded/text`` without keeping reports."""
        with tempfile.TemporaryDirectory(prefix="hub5.") as folder:
            words = self._scored(decoded, Path(folder), [])
        return {column: words[subset] for column, subset in self._subsets.items()}

    @property
    def reference(self) -> object:
        """What hypotheses are scored against; equal for sets whose scores may be compared."""
        own = self._reference
        return own.segments, own.stm, own.glm.read_bytes()

    def names(self) -> dict[str, tuple[str, str]]:
        """Return nothing: scoring uses the segments' ids."""
        return {}

    def report_folder(self, decoded: Path, column: str) -> Path:
        """Where `score` writes the reports of a column."""
        return decoded / "score_hub5" / self._subsets[column]

    def _scored(self, decoded: Path, folder: Path, warnings: list[str]) -> dict[str, ScoreResult]:
        results = score_hub5(
            self._sctk, self._reference, decoded / "text", folder, warnings.append, strict=True
        )
        for warning in warnings:
            logger.warning("%s: %s", decoded, warning)
        return results


def open_set(
    name: str,
    dump: Path,
    data: Path | None = None,
    sctk: Path | None = None,
    unscored: frozenset[str] | None = None,
) -> PlainSet | Hub5Set:
    """Return the set of that name, ready to score.

    Args:
        dump: folder of stages 1 and 2.
        data: folder of stage 0; None if there are no Hub5 sets.
        sctk: folder of hubscr.pl; None searches for it.
        unscored: non-linguistic symbols; None: those in the dump.
    """
    if data is not None and (data / name / "hub5").is_dir():
        return Hub5Set(name, data / name, sctk)
    return PlainSet(name, dump, _symbols_in(dump / "tokens") if unscored is None else unscored)


def unscored_symbols(model: Path, dump: Path) -> frozenset[str]:
    """The non-linguistic symbols of a training.

    Args:
        model: ``EXP/STAGE``; the experiment has a copy of its tokens.
        dump: folder of stages 1 and 2, for an experiment that has none.
    """
    own = model.parent / "tokens"
    return _symbols_in(own if own.is_dir() else dump / "tokens")


def _symbols_in(tokens: Path) -> frozenset[str]:
    path = tokens / NON_LINGUISTIC_SYMBOLS
    return frozenset(read_symbols(path)) if path.is_file() else frozenset()
