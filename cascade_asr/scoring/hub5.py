"""Hub5 scoring of eval2000 and rt03 with NIST's own tools.

The published numbers come from hubscr.pl: GLM word mapping on both sides, then
``sclite -F -D``. This module prepares what that needs, runs it and checks what
it does not check itself: coverage, empty input, labels.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cascade_asr.errors import ConfigError, DataError
from cascade_asr.scoring.ctm import CHANNELS, TimedWord
from cascade_asr.scoring.result import Counts
from cascade_asr.scoring.words import Report

DEBIAN_FOLDER = Path("/usr/lib/sctk/bin")
# Subsets by the beginning of the file name.
SUBSETS = {
    "eval2000": {"all": "", "swbd": "sw_", "callhm": "en_"},
    "rt03": {"all": "", "fsh": "fsh_", "swbd": "sw_"},
}
IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"
_ASIDE = re.compile(r"<[BE]_ASIDE>", re.IGNORECASE)
_LABEL = re.compile(r';;\s*LABEL\s+"([^"]*)"')
REPORTS = ("sys", "raw", "pra", "dtl", "lur")


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
        """Conversation sides with words to score."""
        return {(file, channel) for file, channel, line in self.lines if IGNORED not in line}

    def subset(self, prefix: str) -> str:
        """The stm of all files whose name begins so."""
        lines = [line for file, _, line in self.lines if file.startswith(prefix)]
        return "\n".join([*self.header, *lines]) + "\n"


def find_sctk(folder: Path | None = None) -> Path:
    """The folder that holds hubscr.pl and its companions.

    Raises:
        ConfigError: where there is none; says how to install it.
    """
    candidates = [folder] if folder else [DEBIAN_FOLDER]
    on_path = shutil.which("hubscr.pl")
    if not folder and on_path:
        candidates.insert(0, Path(on_path).parent)
    for candidate in candidates:
        if (candidate / "hubscr.pl").is_file() and (candidate / "sclite").is_file():
            return candidate
    raise ConfigError(
        f"hubscr.pl not found in {', '.join(map(str, candidates))}; Hub5 scoring needs NIST's "
        "SCTK: 'apt-get install sctk' on Debian or Ubuntu, elsewhere build "
        "https://github.com/usnistgov/SCTK and give its bin folder with --sctk"
    )


def read_stm(path: Path) -> Stm:
    """Read and repair a reference.

    ``((`` makes csrfilt abort, asides would count as words, segments between
    the scored ones are not wanted, channels 1 and 2 are A and B, and each tag
    needs a LABEL line.

    Raises:
        DataError: for a damaged line or a file without segments.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    header: list[str] = []
    lines: list[tuple[str, str, str]] = []
    tags: dict[str, None] = {}
    for number, line in enumerate(path.read_text("latin-1").splitlines(), 1):
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
        file, channel, rest = fields[0], CHANNELS.get(fields[1], fields[1]), fields[5:]
        text = rest[0] if rest else ""
        label = re.match(r"<([^>]*)>", text)
        if label:
            tags.update(dict.fromkeys(tag for tag in label[1].split(",") if tag))
        text = re.sub(r"\({2,}", "(", _ASIDE.sub("", text))
        text = re.sub(r"\){2,}", ")", text)
        lines.append((file, channel, " ".join([file, channel, *fields[2:5], text])))
    if not lines:
        raise DataError(f"{path}: holds no segment")
    return Stm([*header, *_missing_labels(header, tags)], lines)


def _is_time(field: str) -> bool:
    return re.fullmatch(r"\d*\.?\d+|\d+\.", field) is not None


def _missing_labels(header: Iterable[str], tags: Iterable[str]) -> list[str]:
    known = {match[1].upper() for match in map(_LABEL.match, header) if match}
    return [f';; LABEL "{tag}" "{tag}" "{tag}"' for tag in tags if tag.upper() not in known]


def check_coverage(stm: Stm, words: list[TimedWord], report: Report, strict: bool) -> None:
    """Compare conversation sides: hubscr.pl counts a missing one as deletions.

    Raises:
        DataError: if no side is common, or, with ``strict``, if one is missing.
    """
    spoken = {(word.file, word.channel) for word in words}
    missing = sorted(stm.sides() - spoken)
    strangers = sorted(spoken - {(file, channel) for file, channel, _ in stm.lines})
    if not spoken & stm.sides():
        raise DataError(
            f"no conversation side is in both: reference {' '.join(missing[0])}, "
            f"hypothesis {' '.join(min(spoken))}; are they of the same set?"
        )
    if strangers:
        report(f"{len(strangers)} sides are not in the stm, first {' '.join(strangers[0])}")
    if missing:
        message = f"{len(missing)} sides of the stm have no words, first {' '.join(missing[0])}"
        if strict:
            raise DataError(f"{message}; decode all of them, or leave out --strict")
        report(f"{message}: all their words count as deletions")


def score_subset(
    sctk: Path, stm: Stm, words: list[TimedWord], glm: Path, prefix: str, outdir: Path
) -> Counts | None:
    """Run hubscr.pl on the files of one subset and keep its reports.

    Returns:
        The counts, or None where the stm holds no file of the subset.

    Raises:
        DataError: if hubscr.pl fails.
    """
    if not any(file.startswith(prefix) for file, _ in stm.sides()):
        return None
    chosen = [word for word in words if word.file.startswith(prefix)]
    if not chosen:
        raise DataError(f"no word was recognised in the files '{prefix}*' of the stm")
    with tempfile.TemporaryDirectory(prefix="hub5.") as name:
        folder = Path(name)
        (folder / "stm").write_text(stm.subset(prefix), "latin-1")
        (folder / "hyp.ctm").write_text("".join(f"{word}\n" for word in chosen), "utf-8")
        shutil.copyfile(glm, folder / "glm")
        _run_hubscr(sctk, folder)
        outdir.mkdir(parents=True, exist_ok=True)
        for kept in ("stm", "hyp.ctm", *(f"hyp.ctm.filt.{suffix}" for suffix in REPORTS)):
            if (folder / kept).exists():
                shutil.copyfile(folder / kept, outdir / kept)
        return read_counts(folder / "hyp.ctm.filt.raw")


def _run_hubscr(sctk: Path, folder: Path) -> None:
    command = [str(sctk / "hubscr.pl"), "-p", str(sctk), "-V", "-l", "english", "-h", "hub5"]
    command += ["-g", "glm", "-r", "stm", "hyp.ctm"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if run.returncode or not (folder / "hyp.ctm.filt.raw").exists():
        tail = "\n".join((run.stdout + run.stderr).strip().splitlines()[-15:])
        raise DataError(
            f"hubscr.pl failed with status {run.returncode}; its last words:\n{tail}\n"
            "(csrfilt.sh may have left /tmp/hs_filt.* behind)"
        )


def read_counts(path: Path) -> Counts:
    """The totals of a .raw report.

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
