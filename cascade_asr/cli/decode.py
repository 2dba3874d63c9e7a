"""Decode one share of one set, or of several (one job of stage 5).

Example:
    python -m cascade_asr.cli.decode --model exp/rnn/stage1 --set dump/test \\
        --config conf/decode.yaml --outdir exp/rnn/stage1/decode_test --job 1 --jobs 4

--model, --set and --outdir may each be given several times: one process handles all of
them in order, because starting takes seconds. It writes
OUTDIR/logdir/output.JOB/{k}best_recog/{text,token,token_int,score}, nbest.tsv and ctm;
`cascade_asr.cli.join_decoding` joins those of all jobs. A killed job that is started
again carries on from where it was.
"""

from __future__ import annotations

import argparse
import logging
from functools import partial
from pathlib import Path

import torch

from cascade_asr import command
from cascade_asr.errors import ConfigError
from cascade_asr.lm.fusion import load_fusion_scorer
from cascade_asr.speech.decode_config import DecodeConfig, load_decode_config
from cascade_asr.speech.decoding import Decoding, LanguageModel, decode_share
from cascade_asr.training.finished import require_done


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    several = {"type": Path, "action": "append", "required": True}
    parser.add_argument("--model", **several, help="folder of a finished stage")
    parser.add_argument("--set", **several, help="dump folder of the set")
    parser.add_argument("--outdir", **several)
    parser.add_argument("--config", type=Path, help="decoding options, YAML")
    parser.add_argument("--job", type=int, default=1, help="number of this job, from 1")
    parser.add_argument("--jobs", type=int, default=1, help="number of jobs")
    parser.add_argument("--ngpu", type=int, default=0, help="1 to decode on a GPU")
    arguments = parser.parse_args()
    counts = {len(arguments.model), len(arguments.set), len(arguments.outdir)}
    if len(counts) > 1:
        parser.error("--model, --set and --outdir: give all of them the same number of times")
    if not 1 <= arguments.job <= arguments.jobs:
        parser.error(f"--job {arguments.job}: expected 1 to {arguments.jobs} (--jobs)")
    return arguments


def device_of(arguments: argparse.Namespace) -> str:
    """Device on which this job computes; jobs share a machine's GPUs.

    Raises:
        ConfigError: if there is no GPU.
    """
    if not arguments.ngpu:
        torch.set_num_threads(1)  # jobs run side by side
        return "cpu"
    if not torch.cuda.device_count():
        raise ConfigError(
            "--ngpu 1: this machine has no GPU; use --ngpu 0 (in a recipe: --gpu-inference false)"
        )
    return f"cuda:{(arguments.job - 1) % torch.cuda.device_count()}"


def language_model_of(config: DecodeConfig) -> LanguageModel | None:
    """The language model that the decoding options ask for, if any."""
    if config.lm_weight <= 0.0 or config.search == "ctc_best_path":
        return None
    folder = Path(config.lm or "")
    load = partial(load_fusion_scorer, folder)
    if not folder.is_dir():
        return LanguageModel("", load)  # loading it reports the error
    return LanguageModel(require_done(folder, "decoding with a language model", verify=False).model_sha256, load)


def main() -> None:
    arguments = parse_arguments()
    config = load_decode_config(arguments.config) if arguments.config else DecodeConfig()
    language_model = language_model_of(config)
    places = zip(arguments.model, arguments.set, arguments.outdir, strict=True)
    log = None
    for decoding in (Decoding(*each) for each in places):
        if log is not None:
            logging.getLogger().removeHandler(log)
        log = command.log_to(decoding.outdir / "log" / f"decode.{arguments.job}.log")
        device = device_of(arguments)
        decode_share(decoding, config, arguments.job, arguments.jobs, device, language_model)


if __name__ == "__main__":
    command.run(main)
