"""Hub5 scoring of eval2000 and rt03 with NIST's own tools.

Published numbers come from hubscr.pl: GLM word mapping on both sides, then
``sclite -F -D``. This module prepares its input, runs it and checks what it does
not check itself: coverage, labels, agreement of its reports.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from cascade_asr.errors import ConfigError, DataError
from cascade_asr.scoring.hub5.ctm import (
    HESITATIONS,
    ConversationSegment,
    TimedWord,
    channel_name,
    make_ctm,
    read_hypotheses,
    read_segments,
)
from cascade_asr.scoring.hub5.sgml import read_sgml
from cascade_asr.scoring.score import Counts, ScoreResult
from cascade_asr.scoring.words import Report

DEBIAN_FOLDER = Path("/usr/lib/sctk/bin")
# Subsets by prefix of the file name, in the order of published tables.
SUBSETS = {
    "eval2000": {"swbd": "sw_", "callhm": "en_", "all": ""},
    "rt03": {"fsh": "fsh_", "swbd": "sw_", "all": ""},
}
IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"
_ASIDE = re.compile(r"<[BE]_ASIDE>", re.IGNORECASE)
# [WEBSTER'S] => [{WEBSTER'S / WEBSTER IS}: the second bracket is not closed
_UNCLOSED = re.compile(r"([^=]*=>\s*)\[(\{[^{}\[\]]*\})\s*(/\s*\[[^{}]*)?")
_ANYWHERE = "/ [ ] __ [ ]"  # a rule for whole words
_LABEL = re.compile(r';;\s*LABEL\s+"([^"]*)"')
_ALTERNATES = re.compile(r"(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})")
REPORTS = ("sys", "raw", "pra", "dtl", "lur", "sgml")


@dataclass(frozen=True)
class Stm:
    """A reference in stm form, ready for csrfilt.

    Attributes:
        header: comment lines, with a LABEL line for each tag in use.
        lines: (file, channel, line) of each segment.
    """

    header: list[str]
    lines: list[tuple[str, str, str]]

    def sides(self) -> set[tuple[str, str]]:
        """Conversation sides that have words to score."""
        return {(file, channel) for file, channel, line in self.lines if IGNORED not in line}

    def subset(self, prefix: str) -> str:
        """The stm of all files whose name begins with ``prefix``."""
        lines = [line for file, _, line in self.lines if file.startswith(prefix)]
        return "\n".join([*self.header, *lines]) + "\n"


def find_sctk(folder: Path | None = None) -> Path:
    """Absolute path of the folder that holds hubscr.pl and its companions.

    Raises:
        ConfigError: saying how to install it, if there is none.
    """
    candidates = [folder] if folder else [DEBIAN_FOLDER]
    on_path = shutil.which("hubscr.pl")
    if not folder and on_path:
        candidates.insert(0, Path(on_path).parent)
    for candidate in candidates:
        if (candidate / "hubscr.pl").is_file() and (candidate / "sclite").is_file():
            return candidate.absolute()  # it runs in another folder
    raise ConfigError(
        f"hubscr.pl not found in {', '.join(map(str, candidates))}; Hub5 scoring needs NIST's "
        "SCTK: 'apt-get install sctk' on Debian or Ubuntu, elsewhere build "
        "https://github.com/usnistgov/SCTK and put its bin folder on PATH, or give it with --sctk"
    )


def read_stm(path: Path) -> Stm:
    """Read and repair a reference.

    ``((`` and unmatched parentheses make csrfilt abort, asides would count as words,
    segments between the scored ones are not wanted, channels 1 and 2 are A and B, and
    each tag needs a LABEL line. Hesitations are removed, as in hypotheses, unless they
    are optional or alternates.

    Raises:
        DataError: for a malformed line or a file without segments.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    header: list[str] = []
    lines: list[tuple[str, str, str]] = []
    tags: dict[str, None] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip() or "inter_segment_gap" in line.lower():
            continue
        if line.startswith(";;"):
            header.append(line)
            continue
        fields = line.split(None, 5)
        if len(fields) < 5 or not _is_time(fields[3]) or not _is_time(fields[4]):
            raise DataError(
                f"{path}:{number}: expected 'file channel speaker begin end [<tags>] text'"
            )
        file, channel, rest = fields[0], channel_name(fields[1]), fields[5:]
        text = rest[0] if rest else ""
        label = re.match(r"<([^>]*)>", text)
        if label:
            tags.update(dict.fromkeys(tag for tag in label[1].split(",") if tag))
        text = without_hesitations(_balance(_ASIDE.sub("", text)))
        lines.append((file, channel, " ".join([file, channel, *fields[2:5], text])))
    if not lines:
        raise DataError(f"{path}: contains no segment")
    return Stm([*header, *_missing_labels(header, tags)], lines)


def _balance(text: str) -> str:
    """Balance parentheses and make them single; one that is not closed ends with its word.

    >>> _balance("((i guess)) yes ((maybe so")
    '(i guess) yes (maybe) so'
    """
    kept, opened = [], -1
    for character in text:
        if character == "(" and opened < 0:
            opened = len(kept)
        elif character == ")" and opened >= 0:
            opened = -1
        elif character in "()":
            continue
        kept.append(character)
    if opened < 0:
        return "".join(kept)
    before, word = "".join(kept[:opened]), "".join(kept[opened + 1 :])
    return before + re.sub(r"^\S+", r"(\g<0>)", word)


def without_hesitations(text: str) -> str:
    """The words of a reference segment without those that are removed from hypotheses too.

    >>> without_hesitations("<O> UH he (%HESITATION) um { uh / a } is")
    '<O> he (%HESITATION) { uh / a } is'
    """
    parts = _ALTERNATES.split(text)  # alternates stay as they are
    for place in range(0, len(parts), 2):
        words = parts[place].split()
        if any(_is_hesitation(word) for word in words):
            kept = " ".join(word for word in words if not _is_hesitation(word))
            before = " " * (place > 0)
            parts[place] = f"{before}{kept}{' ' * (place + 1 < len(parts))}"
    return "".join(parts)


def _is_hesitation(word: str) -> bool:
    return word.upper() in HESITATIONS or word.upper() == "%HESITATION"


def read_glm(path: Path, report: Report) -> str:
    """Read word mapping rules and close all brackets.

    NIST's en20030506.glm lacks one: if the word occurs, even only in a hypothesis,
    sclite dies.

    Args:
        report: receives a warning for each repaired rule.
    """
    lines = _lines(path)
    for number, line in enumerate(lines, 1):
        rule, comment, rest = line.partition(";;")
        unclosed = _UNCLOSED.fullmatch(rule.rstrip())
        if unclosed:
            word, alternatives, context = unclosed.groups()
            lines[number - 1] = f"{word}[{alternatives}] {context or _ANYWHERE} {comment}{rest}"
            report(f"{path}:{number}: unclosed bracket; read as closed")
    return "".join(f"{line}\n" for line in lines)


def _lines(path: Path) -> list[str]:
    """Lines in any encoding; no byte beyond ASCII counts as a blank or ends a line."""
    return path.read_text("ascii", "surrogateescape").rstrip("\n").split("\n")


def _is_time(field: str) -> bool:
    return re.fullmatch(r"\d*\.?\d+|\d+\.", field) is not None


def _missing_labels(header: Iterable[str], tags: Iterable[str]) -> list[str]:
    known = {match[1].upper() for match in map(_LABEL.match, header) if match}
    return [f';; LABEL "{tag}" "{tag}" "{tag}"' for tag in tags if tag.upper() not in known]


@dataclass(frozen=True)
class Hub5Reference:
    """The reference of a Hub5 test set.

    Attributes:
        name: name of the set; decides the subsets.
        segments: segments by utterance, with the evaluation's original times.
        stm: the repaired reference.
        glm: file of word mapping rules.
    """

    name: str
    segments: dict[str, ConversationSegment]
    stm: Stm
    glm: Path

    @classmethod
    def read(
        cls, name: str, segments: Path, stm: Path, glm: Path, recordings: Path | None = None
    ) -> Hub5Reference:
        """Read and check all files; see `read_segments` and `read_stm`.

        Raises:
            DataError: if one is missing or damaged.
        """
        if not glm.is_file():
            raise DataError(f"{glm}: no such file")
        return cls(name, read_segments(segments, recordings), read_stm(stm), glm)

    @property
    def subsets(self) -> dict[str, str]:
        """Beginning of the file names, by subset; only those that the stm contains."""
        files = {file for file, _ in self.stm.sides()}
        return {
            subset: prefix
            for subset, prefix in SUBSETS.get(self.name, {"all": ""}).items()
            if any(file.startswith(prefix) for file in files)
        }


def score_hub5(
    sctk: Path, reference: Hub5Reference, text: Path, outdir: Path, report: Report, strict: bool
) -> dict[str, ScoreResult]:
    """Score a hypothesis on every subset of a set.

    Args:
        sctk: folder of hubscr.pl, from `find_sctk`.
        text: Kaldi text of the hypotheses.
        outdir: folder for the reports, with a separate folder for each subset.
        report: receives warnings.
        strict: a segment or a conversation side without a hypothesis is an error,
            not a warning. An empty hypothesis counts as a hypothesis.

    Returns:
        Alignments and counts by subset.

    Raises:
        DataError: for hypotheses from another set, or if hubscr.pl fails.
    """
    hypotheses = read_hypotheses(text)
    check_coverage(reference, hypotheses, report, strict)
    words = make_ctm(hypotheses, reference.segments, report, strict)
    glm = read_glm(reference.glm, report)
    return {
        subset: score_subset(sctk, reference.stm, glm, words, prefix, outdir / subset)
        for subset, prefix in reference.subsets.items()
    }


def check_coverage(
    reference: Hub5Reference, decoded: Collection[str], report: Report, strict: bool
) -> None:
    """Compare conversation sides: hubscr.pl counts a missing one as deletions.

    Args:
        decoded: utterances with a hypothesis, even an empty one.

    Raises:
        DataError: if there is no common side, or, with ``strict``, if one is missing.
    """
    spoken = {
        (segment.file, segment.channel)
        for utterance, segment in reference.segments.items()
        if utterance in decoded
    }
    stm = reference.stm
    missing = sorted(stm.sides() - spoken)
    strangers = sorted(spoken - {(file, channel) for file, channel, _ in stm.lines})
    if spoken and not spoken & stm.sides():
        raise DataError(
            f"no conversation side is in both: reference {' '.join(missing[0])}, "
            f"hypothesis {' '.join(min(spoken))}; do they belong to the same set?"
        )
    if strangers:
        report(f"{len(strangers)} sides are not in the stm, first {' '.join(strangers[0])}")
    if missing:
        message = (
            f"{len(missing)} of {len(stm.sides())} conversation sides of the stm have no "
            f"hypothesis, first {' '.join(missing[0])}"
        )
        if strict:
            raise DataError(f"{message}; prepare and decode all of them")
        report(f"{message}: all their words count as deletions")


def score_subset(
    sctk: Path, stm: Stm, glm: str, words: list[TimedWord], prefix: str, outdir: Path
) -> ScoreResult:
    """Run hubscr.pl on the files whose names start with ``prefix`` and keep its reports.

    If no word was recognised in them, all reference words are deletions.

    Raises:
        DataError: if hubscr.pl fails, or its reports contradict each other.
    """
    chosen = [word for word in words if word.file.startswith(prefix)]
    with tempfile.TemporaryDirectory(prefix="hub5.") as name:
        folder = Path(name)
        (folder / "stm").write_text(stm.subset(prefix), "ascii", "surrogateescape")
        (folder / "hyp.ctm").write_text("".join(f"{word}\n" for word in chosen), "utf-8")
        (folder / "glm").write_text(glm, "ascii", "surrogateescape")
        _run_hubscr(sctk, folder)
        outdir.mkdir(parents=True, exist_ok=True)
        for kept in ("stm", "hyp.ctm", *(f"hyp.ctm.filt.{suffix}" for suffix in REPORTS)):
            if (folder / kept).exists():
                shutil.copyfile(folder / kept, outdir / kept)
    result = read_sgml(outdir / "hyp.ctm.filt.sgml", f"{outdir}/hyp.ctm")
    counts = read_counts(outdir / "hyp.ctm.filt.raw")
    if result.total != counts:
        raise DataError(
            f"{outdir}: sclite's reports disagree: {counts} in hyp.ctm.filt.raw, "
            f"{result.total} in hyp.ctm.filt.sgml"
        )
    return result


def _run_hubscr(sctk: Path, folder: Path) -> None:
    command = [str(sctk / "hubscr.pl"), "-p", str(sctk), "-V", "-l", "english", "-h", "hub5"]
    command += ["-g", "glm", "-r", "stm", "hyp.ctm"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if run.returncode or not (folder / "hyp.ctm.filt.raw").exists():
        tail = "\n".join((run.stdout + run.stderr).strip().splitlines()[-15:])
        raise DataError(
            f"hubscr.pl failed with status {run.returncode}; the end of its output:\n{tail}\n"
            "(csrfilt.sh may have left /tmp/hs_filt.* behind)"
        )


def read_counts(path: Path) -> Counts:
    """Read the totals of a .raw report.

    Raises:
        DataError: if the report has no Sum row.
    """
    for line in path.read_text("utf-8", "replace").splitlines():
        fields = re.findall(r"[^\s|]+", line)
        if fields[:1] == ["Sum"]:
            utterances, _, correct, substitutions, deletions, insertions, _, wrong = (
                int(field) for field in fields[1:9]
            )
            return Counts(correct, substitutions, deletions, insertions, utterances, wrong)
    raise DataError(f"{path}: no Sum row; sclite did not finish")
