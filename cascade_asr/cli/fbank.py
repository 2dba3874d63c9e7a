"""Compute the features of one part of a data folder (one job of stage 1).

Example:
    python -m cascade_asr.cli.fbank --config conf/fbank.conf data/train/split4/1 dump/train/fbank.1

writes dump/train/fbank.1.{ark,scp} and .utt2num_frames, the scp last of all.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import kaldiio

from cascade_asr import command
from cascade_asr.data.audio.audio import ALLOWED, Pipes
from cascade_asr.data.features.extraction import (
    SPEECH_FEATURE,
    compute_all,
    finish,
    read_extractor,
    read_segments,
)
from cascade_asr.data.kaldi.tables import read_table
from cascade_asr.errors import ConfigError
from cascade_asr.files import atomic_write

logger = logging.getLogger(__name__)










def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="data folder, with wav.scp and maybe segments")
    parser.add_argument("output", type=Path, help="prefix of what is written")
    parser.add_argument("--config", type=Path, required=True, help="fbank options of Kaldi or ESPnet2")
    parser.add_argument("--compress", choices=("true", "false"), default="true")
    parser.add_argument(
        "--allow-pipes",
        choices=("true", "false"),
        default="true",
        help="false refuses the commands of wav.scp, for a table from elsewhere (default: true)",
    )
    parser.add_argument(
        "--pipe-limit",
        type=float,
        default=ALLOWED.limit_s,
        metavar="SECONDS",
        help="a command of wav.scp that takes longer is ended (default: %(default)g)",
    )
    arguments = parser.parse_args()

    extract = read_extractor(arguments.config)
    if not arguments.pipe_limit > 0:
        raise ConfigError(f"--pipe-limit {arguments.pipe_limit:g}: expected seconds above 0")
    pipes = Pipes(arguments.allow_pipes == "true", arguments.pipe_limit)
    recordings = read_table(arguments.data / "wav.scp")
    segments = read_segments(arguments.data, recordings)
    compression = SPEECH_FEATURE if arguments.compress == "true" else None
    ark = Path(f"{arguments.output}.ark").absolute()
    ark.parent.mkdir(parents=True, exist_ok=True)
    temporary = ark.with_name(f".{ark.name}.partial")
    started = time.monotonic()
    try:
        with kaldiio.WriteHelper(
            f"ark,scp:{temporary},{temporary}.scp", compression_method=compression
        ) as writer:
            frames = compute_all(recordings, segments, extract, writer, pipes)
        with atomic_write(ark.with_name("fbank.conf")) as stream:  # tells what the features are
            stream.write(arguments.config.read_text(encoding="utf-8"))
        finish(temporary, ark, arguments.output, frames)
    finally:
        temporary.unlink(missing_ok=True)
        Path(f"{temporary}.scp").unlink(missing_ok=True)
    logger.info("%d utterances in %.1f s", len(frames), time.monotonic() - started)




if __name__ == "__main__":
    command.run(main)
