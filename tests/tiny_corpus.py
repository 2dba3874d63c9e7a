"""A corpus that is learnt in seconds, and a network for it; needs nothing from the tests."""

from __future__ import annotations

from pathlib import Path

import kaldiio
import numpy as np

from cascade_asr.data.features.cmvn import (
    FeatureStatistics,
    write_global_statistics,
    write_speaker_statistics,
)
from cascade_asr.data.kaldi.tables import write_table
from cascade_asr.data.sets import write_set
from cascade_asr.data.tokens import write_token_directory

LETTERS = "abcd"
DIMENSION = 8

TINY_CONFIG = {
    "encoder": "rnn",
    "encoder_conf": {
        "num_layers": 2,
        "hidden_size": 24,
        "output_size": 24,
        "subsample": [1, 2],
        "dropout": 0.1,
    },
    "decoder": "rnn",
    "decoder_conf": {
        "hidden_size": 24,
        "dropout": 0.1,
        "att_conf": {"atype": "location", "adim": 16, "aconv_chans": 2, "aconv_filts": 4},
    },
    "model_conf": {"ctc_weight": 0.5},
    "normalize": "utterance_mvn",
    "optim": "adam",
    "optim_conf": {"lr": 0.02},
    "init": "chainer",
    "batch_type": "sorted",
    "batch_size": 4,
    "max_epoch": 2,
    "keep_nbest_models": 2,
    "num_workers": 0,
    "seed": 3,
    "use_tensorboard": False,
    "log_interval": 1,
}


def make_dump(folder: Path, train: int = 60, dev: int = 12, seed: int = 0) -> Path:
    """A dump folder of a language that can be learnt in seconds.

    Each letter is six frames of its own pattern with a little noise; an
    utterance is two or three words of two or three letters.
    """
    random = np.random.default_rng(seed)
    patterns = {letter: random.normal(size=DIMENSION) for letter in LETTERS + " "}
    for name, count in (("train", train), ("dev", dev), ("test", dev)):
        directory = folder / name
        directory.mkdir(parents=True)
        texts, frames, total = {}, {}, FeatureStatistics()
        speakers: dict[str, FeatureStatistics] = {}
        with kaldiio.WriteHelper(f"ark,scp:{directory}/feats.ark,{directory}/raw.scp") as writer:
            for index in range(count):
                speaker = f"s{index % 2}"
                utterance = f"{speaker}-{name}{index:03d}"
                words = [
                    "".join(random.choice(list(LETTERS), random.integers(2, 4)))
                    for _ in range(random.integers(2, 4))
                ]
                text = " ".join(words)
                features = np.repeat([patterns[letter] for letter in text], 6, axis=0)
                features = features + 0.1 * random.normal(size=features.shape)
                writer(utterance, features.astype(np.float32))
                texts[utterance], frames[utterance] = text, str(len(features))
                total.add(features)
                speakers.setdefault(speaker, FeatureStatistics()).add(features)
        entries = dict(line.split() for line in (directory / "raw.scp").read_text().splitlines())
        order = sorted(texts)
        write_table(directory / "feats.scp", {name: entries[name] for name in order})
        write_table(directory / "text", {name: texts[name] for name in order})
        write_table(directory / "utt2spk", {name: name.split("-")[0] for name in order})
        write_table(directory / "utt2num_frames", {name: frames[name] for name in order})
        write_global_statistics(directory / "cmvn.npz", total)
        write_speaker_statistics(directory / "cmvn_speaker.ark", speakers)
    texts = [line.split(None, 1)[1] for line in (folder / "train/text").read_text().splitlines()]
    tokenizer = write_token_directory(folder / "tokens", texts, "char")
    for name in ("train", "dev", "test"):
        write_set(folder / name, tokenizer, required=name != "train")
    return folder
