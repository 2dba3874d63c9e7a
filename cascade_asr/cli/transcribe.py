"""Transcribe recordings with a trained model.

Examples:
    python -m cascade_asr.cli.transcribe exp/rnn a.wav b.flac
    python -m cascade_asr.cli.transcribe exp/rnn/stage1 --output srt talk.mp3 > talk.srt
    python -m cascade_asr.cli.transcribe exported.zip --list files.txt --output json > texts.jsonl
    cat a.wav | python -m cascade_asr.cli.transcribe exp/rnn -

MODEL is an experiment (its selected stage), a stage, a model exported to ESPnet2's
format, or its zip. Any sample rate, container and number of channels can be read; `-`
stands for audio on standard input. Output goes only to standard output. With several
recordings, each line of txt begins with the recording's name and a tab. If a recording
cannot be transcribed, this is reported, the others are still transcribed, and the exit
status is 1.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

import torch

from cascade_asr import command
from cascade_asr.errors import ConfigError
from cascade_asr.library.recordings import Recording, recordings_of, short_names
from cascade_asr.library.transcriber import LONGEST_S, load
from cascade_asr.library.transcription import FORMATS, Transcription
from cascade_asr.speech.progress import DecodingProgress

logger = logging.getLogger(__name__)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="such as exp/rnn, exp/rnn/stage1 or exported.zip")
    parser.add_argument("audio", nargs="*", help="recordings; - is standard input")
    parser.add_argument("--list", type=Path, help="file that lists recordings, one per line; "
                        "- is standard input")  # fmt: skip
    parser.add_argument("--output", choices=FORMATS, default="txt", help="default: txt")
    parser.add_argument("--config", type=Path, help="decoding options, such as conf/decode.yaml")
    parser.add_argument("--fbank-config", type=Path,
                        help="feature options, if the model does not include them")  # fmt: skip
    parser.add_argument("--channel", type=int, help="channel, from 1; default: the mean of all channels")
    parser.add_argument("--longest-s", type=float, default=LONGEST_S, help="longer recordings are "
                        "cut at pauses; default: %(default)s seconds; inf: never")  # fmt: skip
    parser.add_argument("--ngpu", type=int, choices=(0, 1), default=0, help="1 to use a GPU")
    return parser.parse_intermixed_args()  # options may stand between the recordings


def formatted(result: Transcription, output: str, several: bool) -> str:
    """What is printed for a recording."""
    text = result.formatted(output)
    if several and output == "txt":
        return f"{result.name}\t{text}"
    return text


def main() -> int:
    arguments = parse_arguments()
    recordings = recordings_of(arguments.audio, arguments.list)
    several = len(recordings) > 1
    if arguments.output == "srt" and several:
        raise ConfigError("--output srt: subtitles are for one recording; name only one")
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
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    short = short_names(recordings) if arguments.output == "ctm" else {}
    progress = DecodingProgress("transcribing", len(recordings), "recordings")
    failed = []

    def tell(recording: Recording, error: Exception) -> None:
        failed.append(recording.name)
        progress.add(1, 0.0)
        logger.error("%s", error)

    for result in model.transcribe_all(recordings, arguments.channel, tell, progress.add):
        result = replace(result, name=short.get(result.name, result.name))
        sys.stdout.write(formatted(result, arguments.output, several))
        sys.stdout.flush()
    progress.close()
    if failed and several:
        logger.error("%d of %d recordings were not transcribed", len(failed), len(recordings))
    return 1 if failed else 0


if __name__ == "__main__":
    command.run(main)
