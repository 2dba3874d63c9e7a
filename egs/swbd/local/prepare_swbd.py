"""Prepare data folders of Switchboard and of the evaluations of telephone speech.

    python local/prepare_swbd.py --swbd /corpora/LDC97S62 --eval2000 \\
        "/corpora/LDC2002S09 /corpora/LDC2002T43" --outdir data

Nothing is copied: wav.scp reads the discs. If an option names several folders, they
are one word, separated by spaces. No folder is written before everything about all
sets has been checked.
"""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fisher_text import find_transcripts, sentences
from hub5_sets import Evaluation, extend, read_eval2000, read_rt03
from swbd_audio import (
    AUDIO_SUFFIX,
    clip,
    durations_of,
    find_recordings,
    require_sox,
    with_audio,
)
from swbd_folders import PreparedSet, build, hours, segments_table, write_all
from swbd_speakers import read_callers, speakers_of
from swbd_split import limit_repeats, split
from swbd_transcripts import DICTIONARY, FILE, SUFFIX, Utterance, beside, read_transcripts

from cascade_asr import command
from cascade_asr.data.audio.corpus_files import find_files
from cascade_asr.errors import ConfigError, DataError, nearest
from cascade_asr.scoring.hub5.hub5 import Stm

TRAIN, DEV = "train_nodup", "train_dev"
EVALUATIONS: dict[str, Callable[[Iterable[Path]], Evaluation]] = {
    "eval2000": read_eval2000,
    "rt03": read_rt03,
}
SETS = (TRAIN, DEV, *EVALUATIONS)
DEFAULT_SETS = (TRAIN, DEV, "eval2000")
RECORDING = re.compile(r"sw0\d{4}")
# Content of LDC's corpora. Of the 2438 transcribed conversations, one release has
# 2435; side B of 2167 is almost entirely silent and may have no segment.
SMALL_RELEASE, LARGE_RELEASE = 2435, 2438
RELEASE = {
    "recordings": (SMALL_RELEASE, LARGE_RELEASE),
    "segments": (264333,),
    "sides": (2 * SMALL_RELEASE, 2 * SMALL_RELEASE - 1),
}
# The number of segments in the three additional conversations is not known.
RELEASES = {LARGE_RELEASE: {"sides": (2 * LARGE_RELEASE, 2 * LARGE_RELEASE - 1)}}
EVALUATION_COUNTS = {
    "eval2000": {"recordings": (40,), "segments": (4459,), "sides": (80,)},
    "rt03": {"segments": (8420,)},
}
FISHER_COUNTS = {"transcripts": (11699,)}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choices:
    """What a user decides about all sets.

    Attributes:
        allow_missing: continue without missing audio.
        strict: stop if a count differs from LDC's.
        upsample: read all audio as 16 kHz.
        seed: decides which of the repeated texts are kept.
        max_repeats: largest number of repetitions of a text in the training set.
        dev_utterances: size of train_dev.
    """

    allow_missing: bool = False
    strict: bool = False
    upsample: bool = False
    seed: int = 0
    max_repeats: int = 300
    dev_utterances: int = 4000


def read_switchboard(
    folders: list[Path], choices: Choices, left_out: dict[str, str] | None = None
) -> tuple[dict[str, Utterance], dict[str, Path]]:
    """All utterances that have audio, by id, and their recordings by file name.

    Raises:
        DataError: for whatever is missing, damaged or contradicts itself.
    """
    places = " and ".join(map(str, folders))
    files = find_files(folders, (AUDIO_SUFFIX, SUFFIX, DICTIONARY))
    recordings = find_recordings(files, RECORDING)
    if not recordings:
        raise DataError(f"{places} has no sw0*.sph: is this LDC97S62?")
    if not any(FILE.fullmatch(path.name) for path in files):
        siblings = beside(folders)
        files += find_files(siblings, (SUFFIX, DICTIONARY))
        if siblings:
            log.info("transcripts are not below %s; taken from %s beside it", places, siblings[0])
    log.info("Switchboard: %d recordings; reading the transcripts", len(recordings))
    utterances = read_transcripts(files, choices.strict, left_out)
    if not utterances:
        raise DataError(
            f"{places} has no sw*-ms98-a{SUFFIX} with words: name the folder of "
            "swb_ms98_transcriptions (https://www.openslr.org/5) in --swbd too"
        )
    absent = {each.file for each in utterances.values()} - recordings.keys()
    known_gap = len(absent) <= LARGE_RELEASE - len(recordings) == LARGE_RELEASE - SMALL_RELEASE
    allowed = choices.allow_missing or known_gap
    utterances = with_audio("Switchboard", utterances, recordings, allowed)
    found = {
        "recordings": len(recordings),
        "segments": len(utterances),
        "sides": len({each.recording for each in utterances.values()}),
    }
    check_counts("Switchboard", found, RELEASES.get(len(recordings), RELEASE), choices.strict)
    used = {each.file: recordings[each.file] for each in utterances.values()}
    utterances = clip("Switchboard", utterances, durations_of(used), choices.allow_missing)
    log.info("Switchboard: %d segments, %.1f h", len(utterances), hours(utterances.values()))
    return utterances, used


def prepare_switchboard(
    folders: list[Path], names: list[str], callers: dict[str, str] | None, choices: Choices
) -> dict[str, PreparedSet]:
    """The training and the development set, if wanted.

    Raises:
        DataError: for whatever is missing, damaged or contradicts itself.
    """
    left_out: dict[str, str] = {}
    utterances, recordings = read_switchboard(folders, choices, left_out)
    texts = {name: each.text for name, each in utterances.items()}
    dev, others = split(texts, choices.dev_utterances)
    if DEV in names:
        check_whole(DEV, dev, left_out)
    train = limit_repeats({name: texts[name] for name in others}, choices.max_repeats, choices.seed)
    log.info(
        "%s: %d utterances left out, of texts that occur more than %d times",
        TRAIN, len(others) - len(train), choices.max_repeats,
    )  # fmt: skip
    speakers = speakers_of({each.recording for each in utterances.values()}, callers)
    prepared = {}
    for name, chosen in ((TRAIN, train), (DEV, dev)):
        if name in names:
            part = {key: utterances[key] for key in chosen}
            data = build(name, part, speakers, recordings, choices.upsample)
            prepared[name] = PreparedSet(data)
    return prepared


def check_whole(name: str, utterances: Iterable[str], left_out: Mapping[str, str]) -> None:
    """Refuse a set that is scored without all of its segments.

    Args:
        name: name of the set, which has the corpus's first utterances in order of their ids.
        utterances: their ids.
        left_out: segments that could not be read, with what is wrong with them.

    Raises:
        DataError: listing those that would be among the utterances.
    """
    last = max(utterances)
    faults = [fault for key, fault in sorted(left_out.items()) if key < last]
    if faults:
        raise DataError("\n".join([*faults, f"{name} is scored, and would lack {len(faults)} segments"]))


def prepare_evaluation(name: str, folders: list[Path], choices: Choices) -> PreparedSet:
    """A set that hubscr.pl scores.

    Raises:
        DataError: for whatever is missing, damaged or contradicts itself.
    """
    evaluation = EVALUATIONS[name](folders)
    scored = with_audio(name, evaluation.utterances, evaluation.recordings, choices.allow_missing)
    files = {each.file for each in scored.values()}
    sides = {each.recording for each in scored.values()}
    found = {"recordings": len(files), "segments": len(scored), "sides": len(sides)}
    check_counts(name, found, EVALUATION_COUNTS[name], choices.strict)
    used = {file: evaluation.recordings[file] for file in files}
    durations = durations_of(used)
    clipped = clip(name, scored, durations)
    if name == "eval2000":
        clipped = extend(clipped, evaluation.ignored, durations)
    empty = [key for key, each in scored.items() if not each.text]
    if empty:
        log.warning("%s: %d segments without words, such as %s", name, len(empty), empty[0])
    speakers = speakers_of(sides, None)
    data = build(name, clipped, speakers, used, choices.upsample, evaluation.genders)
    stm = Stm(evaluation.stm.header, [line for line in evaluation.stm.lines if line[0] in files])
    return PreparedSet(
        data,
        {
            "hub5/segments": segments_table(scored).encode(),
            "hub5/stm": as_utf8(stm.subset("")),
            "hub5/glm": "\n".join(evaluation.glm).encode(),
        },
    )


def as_utf8(stm: str) -> bytes:
    """A reference of which `read_stm` kept the bytes, in the encoding of transcripts and hypotheses."""
    content = stm.encode("ascii", "surrogateescape")
    try:
        return content.decode("utf-8").encode()
    except UnicodeDecodeError:
        return content.decode("latin-1").encode()


def check_counts(
    name: str, found: Mapping[str, int], expected: Mapping[str, tuple[int, ...]], strict: bool
) -> None:
    """Compare with LDC's corpora.

    Args:
        name: name of the corpus or set.
        found: numbers found, by what they count.
        expected: the correct numbers, where known.
        strict: whether a different number is an error.

    Raises:
        DataError: with ``--strict``, if a number differs.
    """
    differing = [
        f"{count} {what} (LDC's corpus: {' or '.join(map(str, expected[what]))})"
        for what, count in found.items()
        if what in expected and count not in expected[what]
    ]
    if not differing:
        return
    message = f"{name}: {', '.join(differing)}"
    if strict:
        raise DataError(f"{message}; without --strict this is a warning")
    log.warning("%s", message)


def folders_of(option: str, value: str | None) -> list[Path]:
    """The folders that an option names.

    Raises:
        ConfigError: if the option or a folder is missing.
    """
    if not value or not value.strip():
        raise ConfigError(f"--{option}: where is the corpus? Expected --{option} DIR")
    words = [value] if Path(value).is_dir() else value.split()
    for word in words:
        if not Path(word).is_dir():
            raise ConfigError(f"--{option} {word}: no such folder")
    return list(dict.fromkeys(Path(word).absolute() for word in words))


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    defaults = Choices()
    add("--outdir", type=Path, default=Path("data"), help="where to write the data folders")
    add("--sets", nargs="+", default=list(DEFAULT_SETS), help=f"of: {', '.join(SETS)}")
    add("--swbd", help="folders of LDC97S62 and, if elsewhere, of swb_ms98_transcriptions")
    add("--eval2000", help="folders of LDC2002S09 (speech) and LDC2002T43 (transcripts)")
    add("--rt03", help="folder of LDC2007S10")
    add("--fisher", help="folders of LDC2004T19 and LDC2005T19: text for a language model")
    add("--conv-tab", type=Path, help="conv_tab.csv: treat callers, not sides, as speakers")
    add("--seed", type=int, default=defaults.seed, help="decides which repeated texts are kept")
    add("--max-repeats", type=int, default=defaults.max_repeats,
        help="largest number of utterances with the same text in train_nodup (default: %(default)s)")  # fmt: skip
    add("--dev-utterances", type=int, default=defaults.dev_utterances,
        help="size of train_dev (default: %(default)s)")  # fmt: skip
    add("--upsample", action="store_true", help="read all audio as 16 kHz, through sox")
    add("--strict", action="store_true", help="stop if a count differs from LDC's corpora")
    add("--allow-missing", action="store_true", help="continue without missing audio")
    return parser.parse_args()


def choices_of(options: argparse.Namespace) -> Choices:
    """Check what can be checked without a corpus.

    Raises:
        ConfigError: for an unknown set, and numbers that make no sense.
    """
    unknown = [name for name in options.sets if name not in SETS]
    if unknown:
        suggestion = nearest(unknown[0], SETS) or f"; there are: {' '.join(SETS)}"
        raise ConfigError(f"--sets: no set '{unknown[0]}'{suggestion}")
    for name in ("max_repeats", "dev_utterances"):
        value = getattr(options, name)
        if value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} {value}: expected a number of at least 1")
    if options.upsample:
        require_sox()
    return Choices(
        allow_missing=options.allow_missing,
        strict=options.strict,
        upsample=options.upsample,
        seed=options.seed,
        max_repeats=options.max_repeats,
        dev_utterances=options.dev_utterances,
    )


def main() -> None:
    """Find the corpora and write the data folders, all or none."""
    options = parse_options()
    choices = choices_of(options)
    evaluations = [name for name in EVALUATIONS if name in options.sets]
    of_switchboard = [name for name in (TRAIN, DEV) if name in options.sets]
    folders = {name: folders_of(name, getattr(options, name)) for name in evaluations}
    if of_switchboard:
        folders["swbd"] = folders_of("swbd", options.swbd)
    callers = read_callers(options.conv_tab) if options.conv_tab else None
    fisher = None
    if options.fisher:
        fisher = find_transcripts(folders_of("fisher", options.fisher))
        check_counts("Fisher", {"transcripts": len(fisher)}, FISHER_COUNTS, choices.strict)
    prepared: dict[str, PreparedSet] = {}
    for name in evaluations:
        prepared[name] = prepare_evaluation(name, folders[name], choices)
    if of_switchboard:
        prepared |= prepare_switchboard(folders["swbd"], of_switchboard, callers, choices)
    write_all(options.outdir, prepared, sentences(fisher) if fisher else None)


if __name__ == "__main__":
    command.run(main)
