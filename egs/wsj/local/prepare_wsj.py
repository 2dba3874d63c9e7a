"""Prepare data folders of the Wall Street Journal corpus from LDC's discs.

    python local/prepare_wsj.py --wsj0 /corpora/LDC93S6A --wsj1 /corpora/LDC94S13A --outdir data

Nothing is copied: wav.scp reads the discs. No folder is written before everything
about all sets has been checked.
"""

from __future__ import annotations

import argparse
import logging
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wsj_discs import Corpus
from wsj_sets import SETS, Entry, read_set
from wsj_speakers import read_genders
from wsj_transcripts import Transcript, normalise, read_transcripts

from cascade_asr import command
from cascade_asr.data.audio.corpus_files import read_headers, shown
from cascade_asr.data.audio.sphere import SphereHeader
from cascade_asr.data.kaldi.data_dir import DataDir
from cascade_asr.errors import ConfigError, DataError, nearest

SAMPLE_RATE = 16000  # Hz
DEFAULT_SETS = ("train_si284", "test_dev93", "test_eval92")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choices:
    """What a user decides about all sets."""

    allow_missing: bool = False
    clean_words: bool = False
    strict: bool = False


def select_entries(name: str, entries: Iterable[Entry], choices: Choices) -> dict[str, Entry]:
    """Entries by utterance, each once, all with audio.

    Raises:
        DataError: for an utterance with two files, or for missing audio.
    """
    chosen: dict[str, Entry] = {}
    missing: list[Entry] = []
    count = 0
    for entry in entries:
        count += 1
        if entry.audio is None:
            missing.append(entry)
            continue
        first = chosen.setdefault(entry.utterance, entry)
        if first is entry:
            continue
        places = f"{name}: '{entry.utterance}' in {first.place} and {entry.place}"
        if first.audio != entry.audio:
            raise DataError(f"{places}, with different audio: {first.name}, {entry.name}")
        log.warning("%s: the same line twice", places)
    if missing:
        message = (
            f"{name}: {len(missing)} of {count} files missing, first: {missing[0].name} "
            f"({missing[0].place})"
        )
        if not choices.allow_missing or not chosen:
            raise DataError(f"{message}; copy them, or use --allow-missing to continue without")
        log.warning("%s; left out", message)
    return chosen


def texts_of(
    name: str, utterances: Iterable[str], transcripts: dict[str, Transcript], choices: Choices
) -> dict[str, str]:
    """Normalised text by utterance; training utterances without text are left out.

    Raises:
        DataError: for an utterance without text in any other set.
    """
    utterances = sorted(utterances)
    absent = [each for each in utterances if each not in transcripts]
    texts = {
        each: normalise(transcripts[each].text, choices.clean_words)
        for each in utterances
        if each in transcripts
    }
    empty = [each for each, text in texts.items() if not text]
    for names, what in (
        (absent, "without a transcript"),
        (empty, "whose transcript contains no words"),
    ):
        if not names:
            continue
        message = f"{name}: {len(names)} utterances {what}: {shown(names)}"
        if not SETS[name].is_training:
            raise DataError(f"{message}; a set that is scored must be complete")
        log.warning("%s; left out", message)
    return {each: text for each, text in texts.items() if text}


def build(
    name: str,
    entries: dict[str, Entry],
    texts: dict[str, str],
    headers: dict[str, SphereHeader],
    genders: dict[str, str],
) -> DataDir:
    """The tables of one set; ``spk2gender`` only if every speaker's gender is known."""
    order = sorted(texts)
    speakers = sorted({utterance[:3] for utterance in order})
    tables = {
        "utt2spk": {each: each[:3] for each in order},
        "text": {each: texts[each] for each in order},
        "wav.scp": {
            each: f"python -m cascade_asr.cli.sphere {shlex.quote(str(entries[each].audio))} |"
            for each in order
        },
        "utt2dur": {each: f"{headers[each].duration_s:.4f}" for each in order},
    }
    unknown = [speaker for speaker in speakers if speaker not in genders]
    if unknown:
        log.warning(
            "%s: no spk2gender: %d of %d speakers are in no spkrinfo file: %s (si84's are in "
            "--wsj0-train-spkrinfo)", name, len(unknown), len(speakers), shown(unknown),
        )  # fmt: skip
    else:
        tables["spk2gender"] = {speaker: genders[speaker] for speaker in speakers}
    return DataDir(Path(name), tables)


def check_count(name: str, count: int, choices: Choices) -> None:
    """Compare with LDC's discs.

    Raises:
        DataError: with ``--strict``, if the number differs.
    """
    if count == SETS[name].expected:
        return
    message = f"{name}: {count} utterances; LDC's discs have {SETS[name].expected}"
    if choices.strict:
        raise DataError(f"{message}; without --strict this is a warning")
    log.warning("%s", message)


def prepare(
    corpus: Corpus, outdir: Path, names: list[str], spkrinfo: Path | None, choices: Choices
) -> None:
    """Write the data folders of all sets, or none."""
    genders = read_genders(corpus, spkrinfo)
    entries = {name: select_entries(name, read_set(corpus, name), choices) for name in names}
    everything = {each: entry for table in entries.values() for each, entry in table.items()}
    log.info("%d utterances; reading their transcripts", len(everything))
    transcripts = read_transcripts(corpus.find_all(".dot"), set(everything))
    texts = {name: texts_of(name, entries[name], transcripts, choices) for name in names}
    for name in names:
        check_count(name, len(texts[name]), choices)
    log.info("reading the headers of the audio")
    by_path = read_headers({each.audio: None for each in everything.values()}, SAMPLE_RATE, 1)
    headers = {name: by_path[entry.audio] for name, entry in everything.items()}
    for name in names:
        data = build(name, entries[name], texts[name], headers, genders)
        data.write(outdir / name)
        hours = sum(headers[each].duration_s for each in data.utterances) / 3600
        speakers = len(set(data.tables["utt2spk"].values()))
        log.info(
            "%s: %d utterances, %d speakers, %.1f h", name, len(data.utterances), speakers, hours
        )


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_roots(parser)
    add = parser.add_argument
    add("--outdir", type=Path, default=Path("data"), help="where to write the data folders")
    add("--sets", nargs="+", default=list(DEFAULT_SETS), help=f"of: {', '.join(SETS)}")
    add("--wsj0-train-spkrinfo", type=Path, help="genders of si84's speakers; not on the discs")
    add("--clean-words", action="store_true", help="remove marks such as those in *DECLINED*")
    add("--allow-missing", action="store_true", help="continue without missing audio")
    add("--strict", action="store_true", help="stop if a count differs from LDC's discs")
    return parser.parse_args()


def add_roots(parser: argparse.ArgumentParser) -> None:
    """Options that say where the corpus is."""
    add = parser.add_argument
    add("--wsj0", type=Path, help="folder with the discs of LDC93S6A or B")
    add("--wsj1", type=Path, help="folder with the discs of LDC94S13A or B")
    add("--wsj", type=Path, help="one folder with wsj0 and wsj1, or with all discs")


def roots_of(options: argparse.Namespace) -> dict[str, Path]:
    """The folders given, by option.

    Raises:
        ConfigError: if neither --wsj nor both of the others are given.
    """
    given = {f"--{name}": getattr(options, name) for name in ("wsj0", "wsj1", "wsj")}
    roots = {option: path for option, path in given.items() if path is not None}
    if set(roots) not in ({"--wsj"}, {"--wsj0", "--wsj1"}):
        found = " ".join(roots) or "none of them"
        raise ConfigError(
            "where is the corpus? Expected --wsj0 DIR --wsj1 DIR (LDC's discs), or --wsj DIR; "
            f"found {found}"
        )
    return roots


def main() -> None:
    """Find the corpus and write the data folders."""
    options = parse_options()
    unknown = [name for name in options.sets if name not in SETS]
    if unknown:
        suggestion = nearest(unknown[0], SETS) or f"; there are: {' '.join(SETS)}"
        raise ConfigError(f"--sets: no set '{unknown[0]}'{suggestion}")
    names = list(dict.fromkeys(options.sets))
    choices = Choices(options.allow_missing, options.clean_words, options.strict)
    corpus = Corpus(roots_of(options))
    prepare(corpus, options.outdir, names, options.wsj0_train_spkrinfo, choices)


if __name__ == "__main__":
    command.run(main)
