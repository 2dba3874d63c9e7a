"""Make a Kaldi data folder from a corpus in another format.

    FORMAT        SOURCE
    manifest      a .csv, .tsv or .jsonl file (also .gz) with columns path and text, and optionally
                  speaker, start, end or duration (seconds), id, channel
    common-voice  a list such as train.tsv, with clips/ beside it, or their folder and --split
    lhotse        cuts.jsonl.gz, or supervisions.jsonl.gz with --recordings
    audiofolder   a folder of Hugging Face datasets: metadata.csv or .jsonl
    kaldi         a data folder: wav.scp, text, utt2spk; it is sorted, spk2utt is made
    auto          whichever of these it is

Ids become unique ASCII strings without blanks that begin with the speaker; imported.tsv in the data
folder says which line each comes from. If anything is wrong, every fault is listed with file and
line, and nothing is written. See docs/own-data.md.

Examples:
    cascade-asr import-data manifest train.csv data/train --columns path=wav,text=sentence
    cascade-asr import-data common-voice cv-corpus-17.0/cy data/train --split train --sample-rate 16000
    cascade-asr import-data lhotse supervisions.jsonl.gz data/dev --recordings recordings.jsonl.gz
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cascade_asr import command
from cascade_asr.data.importers.build import Wishes
from cascade_asr.data.importers.formats import FORMATS, Reading, import_data


def _channel(text: str) -> int | str:
    if text == "mean":
        return text
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"'{text}': expected 1, 2, ... or mean")
    return int(text)


def _rate(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1000 <= int(text) <= 768000):
        raise argparse.ArgumentTypeError(f"'{text}': expected a rate in Hz, such as 16000")
    return int(text)


def _delimiter(text: str) -> str:
    text = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(text) != 1:
        raise argparse.ArgumentTypeError(f"'{text}': expected one character, or tab")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("format", choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("source", type=Path, metavar="SOURCE")
    parser.add_argument("destination", type=Path, metavar="DESTINATION", help="such as data/train")
    parser.add_argument("--columns", default="", metavar="MEANING=NAME,...",
                        help="columns with other names, for manifests and audio folders")
    parser.add_argument("--root", type=Path, help="folder that relative audio paths start from; "
                        "default: the folder of the manifest")
    parser.add_argument("--split", default="", help="train, dev, ... of Common Voice or an audio folder")
    parser.add_argument("--recordings", type=Path, help="lhotse's recordings, for supervisions")
    parser.add_argument("--delimiter", type=_delimiter, help="delimiter of a table: a character, or tab")
    parser.add_argument("--quoting", choices=("csv", "none"), default="",
                        help="whether fields may be quoted; default: in .csv yes, in .tsv no")
    parser.add_argument("--sample-rate", type=_rate, default=0, metavar="HZ",
                        help="resample files with another rate; default: all files must have the same rate")
    parser.add_argument("--channel", type=_channel, metavar="1|2|mean",
                        help="channel of multi-channel files for which the manifest names none")
    parser.add_argument("--skip-faults", action="store_true",
                        help="list, count and leave out faulty lines instead of stopping")  # fmt: skip
    options = parser.parse_args()
    import_data(
        options.format, options.source, options.destination,
        Reading(options.columns, options.root, options.split, options.recordings, options.delimiter or "",
                options.quoting),
        Wishes(options.sample_rate, options.channel, options.skip_faults),
    )  # fmt: skip


if __name__ == "__main__":
    command.run(main)
