"""Transcribe recordings with a trained model.

Examples:
    python -m cascade_asr.cli.transcribe exp/rnn a.wav b.flac
    python -m cascade_asr.cli.transcribe exp/rnn/stage1 --output srt talk.mp3 > talk.srt
    python -m cascade_asr.cli.transcribe exported.zip --list files.txt --output json > texts.jsonl
    cat a.wav | python -m cascade_asr.cli.transcribe exp/rnn -

MODEL is an experiment (its selected stage), a stage, a model exported to ESPnet2's
format, or its zip. Any rate, container and number of channels is read; `-` is the
audio on standard input. Nothing is written but the standard output. With several
recordings, each line of txt begins with the recording's name and a tab.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from cascade_asr import command
from cascade_asr.errors import ConfigError, DataError
from cascade_asr.library.transcriber import LONGEST_S, Recording, load
from cascade_asr.library.transcription import FORMATS, Transcription


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="such as exp/rnn, exp/rnn/stage1 or exported.zip")
    parser.add_argument("audio", nargs="*", help="recordings; - is standard input")
    parser.add_argument("--list", type=Path, help="file of recordings, one a line")
    parser.add_argument("--output", choices=FORMATS, default="txt", help="default: txt")
    parser.add_argument("--config", type=Path, help="decoding options, such as conf/decode.yaml")
    parser.add_argument("--fbank-config", type=Path,
                        help="options of the features, where the model does not tell them")  # fmt: skip
    parser.add_argument("--channel", type=int, help="from 1; default: the mean of all channels")
    parser.add_argument("--longest-s", type=float, default=LONGEST_S, help="longer recordings are "
                        "cut at pauses; default: %(default)s seconds")  # fmt: skip
    parser.add_argument("--ngpu", type=int, choices=(0, 1), default=0, help="1 to use a GPU")
    return parser.parse_args()


def recordings_of(audio: Sequence[str], listed: Path | None) -> list[Recording]:
    """What is to be transcribed.

    Raises:
        DataError: for files that do not exist, all of them; before any is decoded.
        ConfigError: if nothing is named.
    """
    names = list(audio)
    if listed is not None:
        if not listed.is_file():
            raise DataError(f"--list {listed}: no such file")
        lines = listed.read_text(encoding="utf-8").splitlines()
        names += [line.strip() for line in lines if line.strip()]
    if not names:
        raise ConfigError("no recordings: name files, - for standard input, or --list FILE")
    if names.count("-") > 1:
        raise ConfigError("- (standard input) can be given once")
    missing = [name for name in names if name != "-" and not Path(name).is_file()]
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise DataError(f"no such audio file: {', '.join(missing[:10])}{more}")
    return [Recording(name, sys.stdin.buffer if name == "-" else name) for name in names]


def shown(recordings: Sequence[Recording]) -> Iterator[Recording]:
    """The recordings, with a progress bar on a terminal."""
    visible = sys.stderr.isatty() and len(recordings) > 1
    return iter(tqdm(recordings, unit="file", disable=not visible, leave=False))


def formatted(result: Transcription, output: str, several: bool) -> str:
    """What is printed of a recording."""
    text = result.formatted(output)
    if several and output == "txt":
        return f"{result.name}\t{text}"
    return text


def main() -> None:
    arguments = parse_arguments()
    recordings = recordings_of(arguments.audio, arguments.list)
    if arguments.output == "srt" and len(recordings) > 1:
        raise ConfigError("--output srt: subtitles are of one recording; name one")
    if arguments.ngpu and not torch.cuda.is_available():
        raise ConfigError("--ngpu 1: this machine has no GPU; use --ngpu 0")
    if arguments.channel is not None and arguments.channel < 1:
        raise ConfigError(f"--channel {arguments.channel}: expected 1 or more")
    model = load(
        arguments.model,
        device="cuda" if arguments.ngpu else "cpu",
        decode_config=arguments.config,
        fbank_config=arguments.fbank_config,
        longest_s=arguments.longest_s,
    )
    results = model.transcribe_all(shown(recordings), arguments.channel)
    for result in results:
        sys.stdout.write(formatted(result, arguments.output, len(recordings) > 1))
        sys.stdout.flush()


if __name__ == "__main__":
    command.run(main)
