"""The files of a decoding: those of each job in ESPnet2's layout, and those of the whole set.

A job writes ``logdir/output.JOB/{k}best_recog/{text,token,token_int,score}``, as
ESPnet2's ``asr_inference`` does, and beside them ``nbest.tsv``, ``ctm`` and
``token.ctm``. Those of the best texts, joined and sorted, are in the folder itself.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cascade_asr.data.kaldi.tables import read_table, table_lines, write_table
from cascade_asr.errors import DataError
from cascade_asr.files import atomic_write, temporary_beside
from cascade_asr.speech.ctc_alignment import Word, ctm_line
from cascade_asr.speech.decoded import Decoded, Ranked

logger = logging.getLogger(__name__)

LOGDIR = "logdir"
TABLES = ("score", "text", "token", "token_int")
PARTS = {"ctc": "ctc", "attention": "decoder", "lm": "lm", "length": "length_bonus"}
HEAD = "\t".join(("utterance", "rank", "score", *PARTS, "text"))
LISTS = ("nbest.tsv", "ctm", "token.ctm")


def job_folder(outdir: Path, job: int) -> Path:
    """Folder with the results of one job."""
    return outdir / LOGDIR / f"output.{job}"


def write_job(outdir: Path, job: int, results: Iterable[Decoded], tokens: Sequence[str]) -> None:
    """Write the files of a job; its folder appears once all of them are complete.

    Args:
        outdir: folder of the decoding.
        job: number of the job, from 1.
        results: results for its utterances.
        tokens: names of the model's tokens.
    """
    results = sorted(results, key=lambda each: each.utterance)
    folder = job_folder(outdir, job)
    temporary = temporary_beside(folder)
    (temporary / "1best_recog").mkdir(parents=True)
    most = max((len(each.nbest) for each in results), default=1)
    for place in range(most):
        best = temporary / f"{place + 1}best_recog"
        best.mkdir(exist_ok=True)
        ranked = {
            each.utterance: each.nbest[place] for each in results if place < len(each.nbest)
        }
        for name in TABLES:
            rows = {utterance: _field(name, one, tokens) for utterance, one in ranked.items()}
            write_table(best / name, rows)
    lines = {
        "nbest.tsv": [_row(each.utterance, place, one)
                      for each in results for place, one in enumerate(each.nbest, start=1)],
        "ctm": _ctm((each.utterance, each.word_times) for each in results),
        "token.ctm": _ctm((each.utterance, each.token_times) for each in results),
    }  # fmt: skip
    for name in LISTS:
        with atomic_write(temporary / name) as stream:
            stream.writelines(f"{line}\n" for line in lines[name])
    shutil.rmtree(folder, ignore_errors=True)
    temporary.replace(folder)


def join_jobs(outdir: Path, jobs: int, expected: set[str]) -> None:
    """Join the jobs' files in the decoding's folder, sorted by utterance.

    Leftovers of other jobs, from an earlier decoding, are removed, and so are the partial
    results that were kept in case a job was killed. If there were other texts before, the
    training's ``scores.json`` is removed, which is theirs. Utterances without any text are told.

    Raises:
        DataError: if an utterance was not decoded.
    """
    folders = [job_folder(outdir, job) for job in range(1, jobs + 1)]
    joined = {name: _joined_tables(folders, name) for name in TABLES}
    missing = sorted(expected - set(joined["text"]))
    if missing:
        raise DataError(
            f"{outdir}: {len(missing)} of {len(expected)} utterances were not "
            f"decoded, first: {missing[0]}; run stage 5 again"
        )
    former = outdir / "text"
    if former.is_file() and former.read_bytes() != "".join(table_lines(joined["text"])).encode():
        (outdir.parent / "scores.json").unlink(missing_ok=True)
    for name in LISTS:
        lines = [line for folder in folders for line in _lines(folder / name)]
        lines.sort(key=lambda line: line.split(None, 1)[0])  # stable: times stay in order
        with atomic_write(outdir / name) as stream:
            if name == "nbest.tsv":
                stream.write(f"{HEAD}\n")
            stream.writelines(f"{line}\n" for line in lines)
    for name in TABLES:
        write_table(outdir / name, joined[name])
    for path in (outdir / LOGDIR).iterdir():
        if path.name.startswith(("output.", ".output.")) and path not in folders:
            shutil.rmtree(path)
        elif path.name.startswith("partial."):
            path.unlink()
    _tell_without_text(outdir, joined["score"])


def _tell_without_text(outdir: Path, scores: Mapping[str, str]) -> None:
    """Warn of utterances for which no hypothesis ended; they count as deleted words."""
    without = [utterance for utterance, score in scores.items() if float(score) == float("-inf")]
    if without:
        logger.warning(
            "%s: no text was found for %d of %d utterances, first: %s; they are empty, as they have too few "
            "frames for the encoder or for the least number of tokens (minlenratio)",
            outdir, len(without), len(scores), without[0],
        )  # fmt: skip


def _joined_tables(folders: Iterable[Path], name: str) -> dict[str, str]:
    joined: dict[str, str] = {}
    for folder in folders:
        path = folder / "1best_recog" / name
        if not path.is_file():
            raise DataError(f"{path}: missing: this job did not finish; run stage 5 again")
        if path.stat().st_size:
            joined |= read_table(path)
    return joined


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def _field(name: str, one: Ranked, tokens: Sequence[str]) -> str:
    if name == "score":
        return f"{one.score:.4f}"
    if name == "token":
        return " ".join(tokens[token] for token in one.tokens)
    if name == "token_int":
        return " ".join(map(str, one.tokens))
    return one.text


def _row(utterance: str, place: int, one: Ranked) -> str:
    parts = [
        f"{one.parts[part]:.4f}" if part in one.parts else "" for part in PARTS.values()
    ]
    return "\t".join((utterance, str(place), f"{one.score:.4f}", *parts, one.text))


def _ctm(utterances: Iterable[tuple[str, list[Word]]]) -> list[str]:
    return [ctm_line(name, word) for name, words in utterances for word in words]
