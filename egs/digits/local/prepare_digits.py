"""Prepare data folders of connected digits from the Free Spoken Digit Dataset.

    python local/prepare_digits.py --outdir data --seed 1 --fsdd ~/corpora/fsdd

The corpus is the one given with --fsdd, else one in the folder named by the
environment variable CORPORA, else a download, else (no network) a synthetic one.
Sets: train (4 speakers, takes 10-49), dev (the same speakers, takes 5-9),
test_seen (takes 0-4), test_unseen (2 speakers not heard in training).
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import wave
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import fsdd
import numpy as np
import synthesise_digits
from digit_strings import SETS, DigitString, Mixing, deal, mix, split

from cascade_asr import command
from cascade_asr.errors import ConfigError, DataError

log = logging.getLogger(__name__)

# A native speaker and one with a German accent, so that each has a speaker of
# the same accent in training (jackson, lucas): only the voice is new.
UNSEEN_SPEAKERS = ("theo", "yweweler")
DEFAULT_STRINGS = {"train": 1200, "dev": 200, "test_seen": 200, "test_unseen": 200}


@dataclass(frozen=True)
class Corpus:
    """Recordings in FSDD's layout.

    Attributes:
        name: description for people.
        source: the folder or archive it was read from.
        files: content of each wav file by file name.
        speakers: all speakers.
        unseen_speakers: those kept out of training.
    """

    name: str
    source: Path
    files: dict[str, bytes]
    speakers: tuple[str, ...]
    unseen_speakers: tuple[str, ...]


def find_corpus(given: Path | None, corpora: str | None, downloads: Path) -> Corpus:
    """Read the first available corpus: given, in CORPORA, downloaded, synthesised.

    Raises:
        DataError: if the corpus found is unusable; the next one is not tried.
    """
    if given is not None:
        return _read_corpus(given)
    if corpora:
        found = fsdd.find_in(Path(corpora))
        if found is not None:
            return _read_corpus(found)
        log.warning("CORPORA=%s contains no free-spoken-digit-dataset; trying a download", corpora)
    archive = fsdd.download(downloads, fsdd.URL)
    if archive is not None:
        return _read_corpus(archive)
    folder = downloads / "synthetic_digits"
    if not synthesise_digits.is_complete(folder):
        log.info("no corpus and no network: synthesising one in %s (about a minute)", folder)
        synthesise_digits.synthesise(folder)
    return _read_corpus(folder)


def _read_corpus(source: Path) -> Corpus:
    files = fsdd.read_files(source)
    found = {fsdd.Recording.from_file_name(name).speaker for name in files}
    if found & set(fsdd.SPEAKERS) or not found & set(synthesise_digits.SPEAKERS):
        name, speakers, unseen_speakers = fsdd.NAME, fsdd.SPEAKERS, UNSEEN_SPEAKERS
        if fsdd.content_digest(files) != fsdd.DIGEST:
            log.warning("%s is not exactly %s: %s", source, name, fsdd.differences(files))
            name = f"a variant of {name}"
    else:
        name, speakers = synthesise_digits.NAME, synthesise_digits.SPEAKERS
        unseen_speakers = synthesise_digits.UNSEEN_SPEAKERS
    return Corpus(name, source, files, speakers, unseen_speakers)


def decode_all(corpus: Corpus) -> dict[fsdd.Recording, np.ndarray]:
    """Decode and check the recordings of the corpus's speakers.

    Raises:
        DataError: naming the first unusable recording, and the number of such recordings.
    """
    audio, faults = {}, []
    for file_name, content in corpus.files.items():
        recording = fsdd.Recording.from_file_name(file_name)
        if recording.speaker in corpus.speakers:
            try:
                audio[recording] = fsdd.decode(content, f"{corpus.source}: {file_name}")
            except DataError as error:
                faults.append(str(error))
    if faults:
        more = f" (and {len(faults) - 1} more recordings cannot be used)" if faults[1:] else ""
        raise DataError(faults[0] + more)
    return audio


def write_data_folder(
    folder: Path, final: Path, strings: Iterable[tuple[DigitString, np.ndarray]]
) -> None:
    """Write one Kaldi data folder with its audio.

    Args:
        folder: where to write.
        final: where it will be moved to; wav.scp has absolute paths to it.
        strings: utterances with their samples, (samples,) int16.
    """
    (folder / "wav").mkdir(parents=True)
    tables: dict[str, list[str]] = {"wav.scp": [], "text": [], "utt2spk": []}
    speakers: dict[str, list[str]] = {}
    for string, samples in strings:
        file_name = f"{string.utterance}.wav"
        with wave.open(str(folder / "wav" / file_name), "wb") as writer:
            writer.setnchannels(1)
            writer.setsampwidth(2)
            writer.setframerate(fsdd.SAMPLE_RATE)
            writer.writeframes(samples.astype("<i2").tobytes())
        tables["wav.scp"].append(f"{string.utterance} {final / 'wav' / file_name}")
        tables["text"].append(f"{string.utterance} {string.text}")
        tables["utt2spk"].append(f"{string.utterance} {string.speaker}")
        speakers.setdefault(string.speaker, []).append(string.utterance)
    tables["spk2utt"] = [f"{name} {' '.join(sorted(ids))}" for name, ids in speakers.items()]
    for name, lines in tables.items():
        # All are ASCII, so Python's order is that of LC_ALL=C.
        (folder / name).write_text("".join(f"{line}\n" for line in sorted(lines)), "utf-8")


@contextmanager
def replacing(outdir: Path, names: Iterable[str]) -> Iterator[Path]:
    """A folder to fill with ``names``, which are moved to ``outdir`` together if all goes well."""
    partial = outdir / ".prepare_digits.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for name in names:
            old = outdir / name
            if old.exists():
                old.replace(partial / f"{name}.old")
            (partial / name).replace(old)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def prepare(
    corpus: Corpus, outdir: Path, counts: dict[str, int], seed: int, mixing: Mixing,
    speakers: Sequence[str] = (),
) -> None:  # fmt: skip
    """Write the data folders of all sets, and ``corpus.txt`` last.

    Args:
        corpus: what to read.
        outdir: where to write.
        counts: number of strings of each set.
        seed: of everything random.
        mixing: how strings are assembled.
        speakers: those of train, dev and test_seen; none: all but the unseen ones.

    Raises:
        ConfigError: if such a speaker is not one of the corpus or is one of the unseen.
    """
    seen = [name for name in corpus.speakers if name not in corpus.unseen_speakers]
    unknown = [name for name in speakers if name not in seen]
    if unknown:
        raise ConfigError(f"--speakers: {unknown[0]!r} is none of {', '.join(seen)}")
    audio = decode_all(corpus)
    sets = split(list(audio), corpus.unseen_speakers)
    if speakers:
        for name in SETS[:3]:
            sets[name] = {each: sets[name][each] for each in sorted(set(speakers))}
    final = outdir.resolve()
    (outdir / "corpus.txt").unlink(missing_ok=True)
    with replacing(outdir, [*SETS, "corpus.txt"]) as partial:
        for name in SETS:
            strings = deal(name, sets[name], counts[name], seed, mixing)
            samples = ((string, mix(string, audio, seed, mixing)) for string in strings)
            write_data_folder(partial / name, final / name, samples)
            log.info("%s: %d strings by %s", name, len(strings), ", ".join(sorted(sets[name])))
        description = [
            f"corpus: {corpus.name}",
            f"source: {corpus.source.resolve()}",
            f"content digest: {fsdd.content_digest(corpus.files)}",
            f"speakers in no set but test_unseen: {' '.join(corpus.unseen_speakers)}",
            f"seed: {seed}",
        ]
        if speakers:
            description.insert(-1, f"speakers of the other sets: {' '.join(sorted(set(speakers)))}")
        (partial / "corpus.txt").write_text("\n".join(description) + "\n", "utf-8")


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        epilog=__doc__.split("\n\n")[2],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--outdir", type=Path, default=Path("data"), help="where to write the data folders")
    parser.add_argument("--seed", type=int, default=1, help="seed of everything random")
    parser.add_argument("--fsdd", type=Path, help="FSDD: a folder, or a .tar.gz or .zip archive")
    parser.add_argument("--downloads", type=Path, default=Path("downloads"), help="kept files")
    parser.add_argument(
        "--speakers", default="", metavar="NAME,...",
        help="speakers of train, dev and test_seen (default: all but those of test_unseen)",
    )  # fmt: skip
    for name, count in DEFAULT_STRINGS.items():
        option = f"--{name.replace('_', '-')}-strings"
        parser.add_argument(option, type=int, default=count, help=f"utterances in {name}")
    mixing = Mixing()
    pair = {"nargs": 2, "metavar": ("MIN", "MAX")}
    parser.add_argument(
        "--digits", type=int, default=mixing.digits, **pair, help="number of digits in a string"
    )
    parser.add_argument(
        "--pause-ms", type=float, default=mixing.pause_ms, **pair, help="pause around each digit"
    )
    parser.add_argument(
        "--snr-db", type=float, default=mixing.snr_db, **pair, help="ratio of speech to background noise"
    )
    return parser.parse_args(arguments)


def main() -> None:
    """Find the corpus and write the data folders."""
    options = parse_options()
    pairs = {"--digits": options.digits, "--pause-ms": options.pause_ms, "--snr-db": options.snr_db}
    wrong = [name for name, (smallest, largest) in pairs.items() if smallest > largest]
    wrong += [name for name in ("--digits", "--pause-ms") if pairs[name][0] < (name == "--digits")]
    if wrong:
        raise ConfigError(f"{wrong[0]}: {pairs[wrong[0]]} is not a range MIN MAX of allowed values")
    mixing = Mixing(tuple(options.digits), tuple(options.pause_ms), tuple(options.snr_db))
    counts = {name: getattr(options, f"{name}_strings") for name in SETS}
    corpus = find_corpus(options.fsdd, os.environ.get("CORPORA"), options.downloads)
    log.info("NOTICE: the corpus is %s, from %s", corpus.name, corpus.source)
    speakers = [name for name in options.speakers.split(",") if name]
    prepare(corpus, options.outdir, counts, options.seed, mixing, speakers)


if __name__ == "__main__":
    command.run(main)
