"""Make data folders of LibriSpeech, each from one or several of its parts.

Examples:
    prepare_librispeech.py --outdir data --librispeech /corpora/LibriSpeech \\
        train_100=train-clean-100 dev=dev-clean,dev-other test_clean=test-clean
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import download_librispeech
import librispeech
import soundfile
from librispeech import PARTS, SAMPLE_RATE, Utterance

from cascade_asr import command
from cascade_asr.data.kaldi.data_dir import DataDir
from cascade_asr.errors import ConfigError, DataError, nearest

log = logging.getLogger(__name__)


def parse_sets(words: list[str]) -> dict[str, list[str]]:
    """Read ``NAME=PART,PART``.

    Raises:
        ConfigError: for anything that is not a part of the corpus.
    """
    sets = {}
    for word in words:
        name, _, parts = word.partition("=")
        sets[name] = parts.split(",")
        for part in sets[name]:
            if part not in PARTS:
                raise ConfigError(f"'{part}' in '{word}' is not a part of LibriSpeech{nearest(part, PARTS)}")
    return sets


def find_parts(given: Path | None, downloads: Path, parts: list[str]) -> dict[str, Path]:
    """The folder of each part, in the given or downloaded corpus.

    Raises:
        DataError: naming all missing parts.
    """
    root = download_librispeech.download(parts, downloads) if given is None else given
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the one of LibriSpeech, with dev-clean etc. in it")
    found = {part: librispeech.find_part(root, part) for part in parts}
    missing = [part for part, folder in found.items() if folder is None]
    if missing:
        there = ", ".join(part for part in PARTS if librispeech.find_part(root, part)) or "none"
        raise DataError(
            f"{root}: {', '.join(missing)} missing; of LibriSpeech it has: {there}. Get them from "
            f"openslr.org/{PARTS[missing[0]].resource}, or see --eval-sets"
        )
    return {part: folder for part, folder in found.items() if folder is not None}


def write_set(name: str, utterances: list[Utterance], genders: dict[str, str], outdir: Path) -> None:
    """Write one data folder."""
    tables = {
        "wav.scp": {each.identifier: str(each.audio.resolve()) for each in utterances},
        "text": {each.identifier: each.words for each in utterances},
        "utt2spk": {each.identifier: each.speaker for each in utterances},
    }
    speakers = {each.speaker for each in utterances}
    if speakers <= genders.keys():
        tables["spk2gender"] = {speaker: genders[speaker] for speaker in speakers}
    DataDir(outdir / name, tables).write(outdir / name)
    log.info("%s: %d utterances by %d speakers", name, len(utterances), len(speakers))


def check_rate(utterance: Utterance) -> None:
    """Refuse a corpus that somebody has resampled, judging by the first file.

    Raises:
        DataError: if it has a different rate, or is not audio.
    """
    try:
        rate = soundfile.info(str(utterance.audio)).samplerate
    except soundfile.LibsndfileError as error:
        raise DataError(f"{utterance.audio}: cannot be read as audio ({error.error_string})") from error
    if rate != SAMPLE_RATE:
        raise DataError(f"{utterance.audio}: {rate} Hz, recipe expects {SAMPLE_RATE}")


def check_speakers(sets: dict[str, list[Utterance]], train: str) -> None:
    """Refuse training utterances that are also in a dev or test set.

    Raises:
        DataError: naming some of them.
    """
    trained = {each.identifier for each in sets[train]}
    for name, utterances in sets.items():
        both = sorted(trained & {each.identifier for each in utterances}) if name != train else []
        if both:
            raise DataError(f"{len(both)} utterances are in {train} and {name}, such as {both[0]}")


def main() -> None:
    """Parse the command line and write the data folders."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--outdir", type=Path, default=Path("data"), help="where to write the data folders")
    parser.add_argument("--librispeech", type=Path, help="the corpus; default: download it")
    parser.add_argument("--downloads", type=Path, default=Path("downloads"), help="kept files")
    parser.add_argument("--strict", action="store_true", help="stop if utterances are missing")
    parser.add_argument("sets", nargs="+", metavar="NAME=PART[,PART]", help="the first one is the training set")
    options = parser.parse_args()
    wanted = parse_sets(options.sets)
    parts = list(dict.fromkeys(part for each in wanted.values() for part in each))
    folders = find_parts(options.librispeech, options.downloads, parts)
    read = {part: librispeech.read_part(folders[part], part, options.strict) for part in parts}
    for utterances in read.values():
        check_rate(utterances[0])
    genders: dict[str, str] = {}
    for table in dict.fromkeys(folder.parent / "SPEAKERS.TXT" for folder in folders.values()):
        genders |= librispeech.read_genders(table)
    sets = {name: [each for part in of for each in read[part]] for name, of in wanted.items()}
    check_speakers(sets, next(iter(sets)))
    for name, utterances in sets.items():
        write_set(name, utterances, genders, options.outdir)


if __name__ == "__main__":
    command.run(main)
