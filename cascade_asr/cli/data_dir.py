"""Commands on Kaldi data folders; the scripts in utils/ call them by Kaldi's names."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from pathlib import Path

from cascade_asr import command
from cascade_asr.data.kaldi.blanks import words
from cascade_asr.data.kaldi.data_dir import load_data_dir
from cascade_asr.data.kaldi.edit import (
    combine,
    fix,
    listed_utterances,
    select_utterances,
)
from cascade_asr.data.kaldi.parts import split
from cascade_asr.data.kaldi.speed import perturb_speed
from cascade_asr.data.kaldi.tables import write_table
from cascade_asr.data.kaldi.tidy import tidy
from cascade_asr.data.kaldi.validate import DEFAULT_FRAME_SHIFT_S, validate
from cascade_asr.errors import ConfigError

SHOWN_FAULTS = 10  # of those that no tool repairs
SCRIPTS = {
    "validate": "validate_data_dir.sh",
    "fix": "fix_data_dir.sh",
    "subset": "subset_data_dir.sh",
    "combine": "combine_data.sh",
    "split": "split_data.sh",
    "durations": "get_utt2dur.sh",
    "perturb-speed": "perturb_data_dir_speed.sh",
}


def main() -> int:
    arguments = _parser().parse_args([_with_dashes(word) for word in sys.argv[1:]])
    return arguments.function(arguments)


def _with_dashes(word: str) -> str:
    """An option's name as argparse knows it: ESPnet's recipes write --extra_files, which Kaldi's tools take."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else word


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cascade_asr.cli.data_dir", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function, help_text: str, example: str) -> argparse.ArgumentParser:
        subparser = commands.add_parser(
            name,
            prog=f"utils/{SCRIPTS[name]}" if name in SCRIPTS else f"cascade-asr data-dir {name}",
            help=help_text,
            description=help_text,
            epilog=f"example: utils/{SCRIPTS[name]} {example}" if name in SCRIPTS
            else f"example: cascade-asr data-dir {name} {example}",
            allow_abbrev=False,
        )
        subparser.set_defaults(function=function)
        return subparser

    sub = add("validate", _validate, "List everything that is wrong with a data folder; "
              "exit status 1 on any fault.", "--no-feats data/train")  # fmt: skip
    for name in ("wav", "text", "feats"):
        sub.add_argument(f"--no-{name}", action="store_true", help=f"do not require {name}")
    sub.add_argument("--non-print", action="store_true",
                     help="allow control characters in ids and transcripts")  # fmt: skip
    sub.add_argument("--no-spk-sort", action="store_true",
                     help="do not warn if utterance ids do not begin with the speaker's id")  # fmt: skip
    sub.add_argument("--quiet", action="store_true", help="print faults only")
    sub.add_argument("folder", type=Path)

    sub = add("fix", _fix, "Sort a data folder and keep the utterances that all its tables "
              "have; the original tables are kept in its folder .backup.", "data/train")  # fmt: skip
    for kind, whose in (("utt", "utterance"), ("spk", "speaker")):
        sub.add_argument(f"--{kind}-extra-files", metavar="'NAME ...'", default="",
                         help=f"further tables by {whose}, if the folder has them")  # fmt: skip
    sub.add_argument("folder", type=Path)

    sub = add("tidy", _tidy, "Sort tables and make spk2utt from utt2spk where nothing can get "
              "lost; faults are left as they are.", "data/train data/dev")  # fmt: skip
    sub.add_argument("folders", type=Path, nargs="+", metavar="folder")

    _add_durations(add)
    _add_subset(add)

    sub = add("combine", _combine, "Combine data folders; an id with two different values is an error.",
              "data/train_sp data/train data/train_sp0.9")  # fmt: skip
    sub.add_argument("--extra-files", metavar="'NAME ...'", default="",
                     help="further tables to combine, where all sources have them")  # fmt: skip
    sub.add_argument("--skip-fix", choices=("true", "false"), default="false",
                     help="true: keep utterances that not all tables have (default: false)")  # fmt: skip
    sub.add_argument("destination", type=Path)
    sub.add_argument("sources", type=Path, nargs="+")

    sub = add("split", _split, "Split a data folder into FOLDER/splitN/1..N by speaker.",
              "data/train 4")  # fmt: skip
    per = sub.add_mutually_exclusive_group()
    per.add_argument("--per-utt", dest="per", action="store_const", const="utterance", default="speaker",
                     help="split speakers too; the folder is then FOLDER/splitNutt")  # fmt: skip
    per.add_argument("--per-reco", dest="per", action="store_const", const="recording",
                     help="split by recording; the folder is then FOLDER/splitNreco")  # fmt: skip
    sub.add_argument("folder", type=Path)
    sub.add_argument("parts", type=int)

    sub = add("perturb-speed", _perturb_speed, "Describe a faster or slower copy of a data "
              "folder, with sox pipes; ids get the prefix sp0.9-.",
              "0.9 data/train data/train_sp0.9")  # fmt: skip
    sub.add_argument("factor", type=float)
    sub.add_argument("source", type=Path)
    sub.add_argument("destination", type=Path)
    return parser


def _add_durations(add) -> None:
    sub = add("durations", _durations, "Write utt2dur: each utterance's duration in seconds, from segments "
              "or from its audio, or its features; a complete utt2dur is kept.", "data/train")  # fmt: skip
    sub.add_argument("--frame-shift", type=_seconds, default=DEFAULT_FRAME_SHIFT_S, metavar="SECONDS",
                     help="of features without audio, where the folder has no file frame_shift (default: "
                     "%(default)s)")  # fmt: skip
    for name in ("nj", "cmd", "read-entire-file"):
        sub.add_argument(f"--{name}", help="for Kaldi's scripts; no effect here")
    sub.add_argument("folder", type=Path)


def _add_subset(add) -> None:
    sub = add("subset", _subset, "Make a data folder from some utterances of another: N chosen at "
              "random, unless an option says otherwise.",
              "--first data/train 500 data/train_500; or "
              "utils/subset_data_dir.sh --utt-list dev.list data/all data/dev")  # fmt: skip
    how = sub.add_mutually_exclusive_group()
    for name, text in {
        "first": "the first N utterances",
        "last": "the last N utterances",
        "shortest": "the N shortest utterances",
        "per-spk": "N utterances, or all if there are fewer, of each speaker, at random",
        "speakers": "whole speakers, at random, until there are N utterances or more",
    }.items():
        how.add_argument(f"--{name}", dest="how", action="store_const", const=name, help=text)
    how.add_argument("--utt-list", type=Path, metavar="FILE", help="the utterances in FILE; no N")
    how.add_argument("--spk-list", type=Path, metavar="FILE", help="the speakers in FILE; no N")
    sub.add_argument("--seed", type=int, default=0, help="for random choices (default: 0)")
    sub.add_argument("source", type=Path)
    sub.add_argument("number", nargs="?", metavar="N")
    sub.add_argument("destination", type=Path)


def _validate(arguments: argparse.Namespace) -> int:
    folder = arguments.folder
    faults = validate(
        folder,
        wav=not arguments.no_wav,
        text=not arguments.no_text,
        feats=not arguments.no_feats,
        controls=not arguments.non_print,
        speaker_order=not arguments.no_spk_sort,
    )
    if faults:
        # Ids that are not valid UTF-8 must not keep a fault from being printed.
        sys.stderr.reconfigure(errors="backslashreplace")
        print("\n".join(faults), file=sys.stderr)
        print(f"{folder}: {len(faults)} fault{'s' if len(faults) > 1 else ''}", file=sys.stderr)
        return 1
    if not arguments.quiet:
        print(f"{folder}: valid")
    return 0


def _fix(arguments: argparse.Namespace) -> int:
    folder = arguments.folder
    by_utterance = _names("utt-extra-files", arguments.utt_extra_files)
    by_speaker = _names("spk-extra-files", arguments.spk_extra_files)
    for note in fix(folder, by_utterance, by_speaker) or [f"{folder}: nothing to fix"]:
        logging.info("%s", note)
    left = validate(folder, wav=False, text=False, feats=False, speaker_order=False)
    for fault in left[:SHOWN_FAULTS]:
        logging.warning("to be mended by hand: %s", fault)
    if len(left) > SHOWN_FAULTS:
        more = len(left) - SHOWN_FAULTS
        logging.warning("and %d more; utils/validate_data_dir.sh %s lists them", more, folder)
    return 0


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}': expected seconds above 0, such as 0.01")
    return value


def _durations(arguments: argparse.Namespace) -> int:
    data = load_data_dir(arguments.folder)
    if data.tables.get("utt2dur", {}).keys() == data.tables["utt2spk"].keys():
        logging.info("%s/utt2dur: complete", arguments.folder)
        return 0
    from cascade_asr.data.durations import durations_s  # loads what reads audio

    seconds = durations_s(data, arguments.frame_shift)
    write_table(arguments.folder / "utt2dur", {name: f"{value:.6g}" for name, value in seconds.items()})
    logging.info("%s/utt2dur: %d utterances, %.2f h", arguments.folder, len(seconds), sum(seconds.values()) / 3600)
    return 0


def _names(option: str, text: str) -> list[str]:
    """Names of tables that an option lists."""
    names = words(text)
    if any("/" in name for name in names):
        raise ConfigError(f"--{option} '{text}': expected names, not paths")
    return names


def _tidy(arguments: argparse.Namespace) -> int:
    for folder in arguments.folders:
        for note in tidy(folder):
            logging.info("%s", note)
    return 0


def _subset(arguments: argparse.Namespace) -> int:
    _refuse_in_place(arguments.source, arguments.destination)
    list_path = arguments.utt_list or arguments.spk_list
    if (list_path is None) == (arguments.number is None):
        raise ConfigError(
            "expected SOURCE N DESTINATION, or SOURCE DESTINATION with --utt-list or --spk-list"
        )
    data = load_data_dir(arguments.source)
    if list_path is not None:
        chosen = listed_utterances(data, list_path, speakers=arguments.utt_list is None)
    elif not arguments.number.isdecimal():
        raise ConfigError(f"expected a number of utterances, found '{arguments.number}'")
    else:
        chosen = select_utterances(
            data, int(arguments.number), arguments.how or "random", arguments.seed
        )
    data.select(chosen).write(arguments.destination)
    logging.info("%s: %d utterances", arguments.destination, len(chosen))
    return 0


def _combine(arguments: argparse.Namespace) -> int:
    for source in arguments.sources:
        _refuse_in_place(source, arguments.destination)
    extra = _names("extra-files", arguments.extra_files)
    united = combine(arguments.sources, extra)
    united.write(arguments.destination)
    if arguments.skip_fix == "false" and not united.is_complete():
        for note in fix(arguments.destination):
            logging.info("%s", note)
    logging.info("%s: %d utterances", arguments.destination, len(united.utterances))
    return 0


def _split(arguments: argparse.Namespace) -> int:
    destination = split(arguments.folder, arguments.parts, arguments.per)
    logging.info("%s: %d parts", destination, arguments.parts)
    return 0


def _perturb_speed(arguments: argparse.Namespace) -> int:
    _refuse_in_place(arguments.source, arguments.destination)
    perturbed = perturb_speed(load_data_dir(arguments.source), arguments.factor)
    perturbed.write(arguments.destination)
    logging.info("%s: %d utterances", arguments.destination, len(perturbed.utterances))
    return 0


def _refuse_in_place(source: Path, destination: Path) -> None:
    if source.resolve() == destination.resolve():
        raise ConfigError(f"{destination}: source and destination must be different folders")


if __name__ == "__main__":
    command.run(main)
