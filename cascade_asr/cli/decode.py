"""Decode one share of a set (one job of stage 5).

Example:
    python -m cascade_asr.cli.decode --model exp/rnn/stage1 --set dump/test \\
        --config conf/decode.yaml --outdir exp/rnn/stage1/decode_test --job 1 --jobs 4

`cascade_asr.cli.join_decoding` makes one text of the shares.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import torch

from cascade_asr import command
from cascade_asr.data.kaldi.tables import write_table
from cascade_asr.data.loader import UtteranceDataset
from cascade_asr.data.manifest import read_manifest
from cascade_asr.errors import ConfigError, DataError
from cascade_asr.lm.fusion import load_fusion_scorer
from cascade_asr.speech.config import load_train_config
from cascade_asr.speech.decode_config import DecodeConfig, load_decode_config
from cascade_asr.speech.load_trained import load_trained
from cascade_asr.speech.loading import batches_by_length, feature_dimension
from cascade_asr.speech.recogniser import Recognizer

logger = logging.getLogger(__name__)

REPORT_INTERVAL_S = 30


def decode(arguments: argparse.Namespace) -> None:
    """Decode every ``jobs``-th utterance and write ``text.JOB`` and ``score.JOB``."""
    config = load_decode_config(arguments.config) if arguments.config else DecodeConfig()
    manifest = read_manifest(arguments.set / "manifest.tsv")
    dimension = feature_dimension(manifest)
    model = load_trained(arguments.model, dimension)
    train_config, _ = load_train_config(arguments.model / "config.yaml")
    speaker_cmvn = None
    if train_config.normalize == "speaker_mvn":
        speaker_cmvn = arguments.set / "cmvn_speaker.ark"
    if arguments.ngpu and not torch.cuda.device_count():
        raise ConfigError(
            "--ngpu 1: this machine has no GPU; use --ngpu 0 (in a recipe: --gpu-inference false)"
        )
    if arguments.ngpu:
        model = model.to(f"cuda:{(arguments.job - 1) % torch.cuda.device_count()}")
    else:
        torch.set_num_threads(1)  # jobs run side by side
    language_model = None
    if config.lm_weight > 0.0 and config.search != "ctc_best_path":
        language_model = load_fusion_scorer(Path(config.lm or ""), model.tokenizer.tokens)
    recognizer = Recognizer(model, config, language_model)
    dataset = UtteranceDataset(manifest, dimension, speaker_cmvn, train_config.normalize_conf)
    texts, scores = {}, {}
    started = last_report = time.monotonic()
    share = range(arguments.job - 1, len(dataset), arguments.jobs)
    for batch in batches_by_length(share, manifest.frames, config.batch_frames):
        items = [dataset[index] for index in batch]
        for item in items:
            if isinstance(item, DataError):
                raise item
        features = [torch.from_numpy(each.copy()) for _, each, _ in items]
        results = recognizer.recognize_batch(features)
        for (utterance, _, _), (text, score) in zip(items, results, strict=True):
            texts[utterance], scores[utterance] = text, f"{score:.4f}"
            logger.info("%s: %s", utterance, text)
        if time.monotonic() - last_report > REPORT_INTERVAL_S:
            last_report = time.monotonic()
            logger.info(
                "%d of %d utterances, %.0f s", len(texts), len(share), last_report - started
            )
    arguments.outdir.mkdir(parents=True, exist_ok=True)
    for name, table in (("score", scores), ("text", texts)):
        write_table(arguments.outdir / f"{name}.{arguments.job}", dict(sorted(table.items())))
    logger.info("%d utterances in %.1f s", len(texts), time.monotonic() - started)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of a finished stage")
    parser.add_argument("--set", type=Path, required=True, help="dump folder of the set")
    parser.add_argument("--outdir", type=Path, required=True)
    parser.add_argument("--config", type=Path, help="decoding options, YAML")
    parser.add_argument("--job", type=int, default=1, help="this job, from 1")
    parser.add_argument("--jobs", type=int, default=1, help="how many jobs there are")
    parser.add_argument("--ngpu", type=int, default=0, help="1 to decode on a GPU")
    decode(parser.parse_args())


if __name__ == "__main__":
    command.run(main)
