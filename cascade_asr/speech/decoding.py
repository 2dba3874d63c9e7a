"""Decode a set in batches of similar lengths, shared among jobs and saved as they are done."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cascade_asr.data.features.frame_shift import frame_shift_s
from cascade_asr.data.loader import UtteranceDataset
from cascade_asr.data.manifest import Manifest, content_digest, read_manifest
from cascade_asr.data.tokens import BLANK_ID, read_token_list
from cascade_asr.errors import ConfigError, DataError
from cascade_asr.files import file_digest
from cascade_asr.speech.config import TrainConfig, load_train_config
from cascade_asr.speech.ctc_alignment import token_and_word_times
from cascade_asr.speech.decode_config import DecodeConfig
from cascade_asr.speech.decoded import Decoded, Ranked
from cascade_asr.speech.decoding_output import LOGDIR, write_job
from cascade_asr.speech.load_trained import load_trained
from cascade_asr.speech.loading import batches_by_length, feature_dimension
from cascade_asr.speech.partial_results import PartialResults
from cascade_asr.speech.progress import DecodingProgress
from cascade_asr.speech.recogniser import Recognizer
from cascade_asr.speech.search.hypothesis import Hypothesis
from cascade_asr.training.finished import require_done
from cascade_asr.version import __version__

logger = logging.getLogger(__name__)

# makes a scorer for these tokens
MakeLanguageModel = Callable[[list[str]], Any]


@dataclass(frozen=True)
class Decoding:
    """One model on one set.

    Attributes:
        model: folder of a finished stage.
        set: dump folder of the set.
        outdir: where the results go.
    """

    model: Path
    set: Path
    outdir: Path

    @property
    def names(self) -> tuple[str, str]:
        """Names of model and set, for messages."""
        return self.model.name, self.set.name


@dataclass(frozen=True)
class LanguageModel:
    """The language model that is fused into a decoding.

    Attributes:
        digest: digest of its weights.
        make: makes a scorer for given tokens.
    """

    digest: str
    make: MakeLanguageModel


def decode_share(
    decoding: Decoding,
    config: DecodeConfig,
    job: int,
    jobs: int,
    device: str = "cpu",
    language_model: LanguageModel | None = None,
) -> None:
    """Decode every ``jobs``-th batch and write the files of this job.

    The batches are those of the whole set, whatever the number of jobs, so no result
    depends on that number. What an earlier call with the same model, set and options
    has decoded is not decoded again.

    Raises:
        ConfigError: if there is no such model.
        DataError: if there is no such set, or its features are not the model's.
    """
    started = time.monotonic()
    setting = _Setting.read(decoding, config, device, language_model)
    batches = batches_by_length(
        range(len(setting.manifest)), setting.manifest.frames, config.batch_frames
    )
    share = range(job - 1, len(batches), jobs)
    partial = PartialResults(decoding.outdir / LOGDIR, job, setting.head())
    missing = [number for number in share if number not in partial.batches]
    total, left = (sum(len(batches[number]) for number in each) for each in (share, missing))
    if left < total:
        logger.info("%d of %d utterances were decoded before", total - left, total)
    if missing:
        worker = _Worker(setting)
        progress = DecodingProgress("{} on {}".format(*decoding.names), total, "utterances", total - left)
        for number in missing:
            results = worker.decode(batches[number])
            seconds = setting.seconds(batches[number])
            partial.add(number, seconds, results)
            progress.add(len(results), seconds)
        progress.close()
    partial.close()
    found = [one for number in share for one in partial.batches[number]]
    write_job(decoding.outdir, job, found, read_token_list(setting.tokens / "tokens.txt"))
    seconds = time.monotonic() - started
    logger.info("%s on %s: %d utterances in %.1f s", *decoding.names, len(found), seconds)


@dataclass(frozen=True)
class _Setting:
    """A decoding with everything that decides its result."""

    decoding: Decoding
    config: DecodeConfig
    train_config: TrainConfig
    manifest: Manifest
    frame_shift_s: float
    device: str
    language_model: LanguageModel | None

    @classmethod
    def read(
        cls,
        decoding: Decoding,
        config: DecodeConfig,
        device: str,
        language_model: LanguageModel | None,
    ) -> _Setting:
        manifest = read_manifest(decoding.set / "manifest.tsv")
        if not decoding.model.is_dir():
            raise ConfigError(
                f"--model {decoding.model}: no such folder; expected one such as exp/TAG/full"
            )
        require_done(decoding.model, "decoding", verify=False)
        train_config, _ = load_train_config(decoding.model / "config.yaml")
        shift = frame_shift_s(decoding.set)
        return cls(decoding, config, train_config, manifest, shift, device, language_model)

    @property
    def tokens(self) -> Path:
        """The model's token folder."""
        return self.decoding.model.parent / "tokens"

    @property
    def speaker_cmvn(self) -> Path | None:
        """Statistics to normalise with; None if the model does not need them."""
        normalises = self.train_config.normalize == "speaker_mvn"
        return self.decoding.set / "cmvn_speaker.ark" if normalises else None

    def seconds(self, indices: Sequence[int]) -> float:
        """Total duration of some utterances of the set, in seconds."""
        return float(self.manifest.frames[list(indices)].sum()) * self.frame_shift_s

    def head(self) -> dict[str, Any]:
        """Everything that decides the result, as the head of partial results."""
        done = require_done(self.decoding.model, "decoding", verify=False)
        folder = self.decoding.set
        statistics = [folder / "cmvn.npz", *filter(None, [self.speaker_cmvn])]
        language_model = self.language_model
        return {
            "version": f"{__version__}, torch {torch.__version__}",
            "device": self.device.split(":")[0],
            "model": done.model_sha256,
            "training": done.digest,
            "tokens": file_digest(self.tokens / "tokens.txt"),
            "options": asdict(self.config),
            "language_model": language_model.digest if language_model else None,
            "set": content_digest(folder / "manifest.tsv"),
            "features": [file_digest(path) if path.is_file() else None for path in statistics],
            "frame_shift_s": self.frame_shift_s,
        }


class _Worker:
    """Decodes batches of a set."""

    def __init__(self, setting: _Setting) -> None:
        self._setting = setting
        dimension = feature_dimension(setting.manifest)
        model = load_trained(setting.decoding.model, dimension).to(setting.device)
        language_model = None
        if setting.language_model is not None:
            language_model = setting.language_model.make(model.tokenizer.tokens)
        self._recognizer = Recognizer(model, setting.config, language_model)
        self._dataset = UtteranceDataset(
            setting.manifest,
            dimension,
            setting.speaker_cmvn,
            setting.train_config.normalize_conf,
        )

    def decode(self, indices: Sequence[int]) -> list[Decoded]:
        """The results for a batch of utterances, given by their indices in the set."""
        items = [self._dataset[index] for index in indices]
        for item in items:
            if isinstance(item, DataError):
                raise item
        features = [torch.from_numpy(each.copy()) for _, each, _ in items]
        found = self._recognizer.with_ctc(features)
        results = []
        for (utterance, each, _), (hypotheses, ctc) in zip(items, found, strict=True):
            seconds = len(each) * self._setting.frame_shift_s
            results.append(self._decoded(utterance, hypotheses, ctc, seconds))
            logger.debug("%s: %s", utterance, results[-1].nbest[0].text)
        return results

    def _decoded(
        self,
        utterance: str,
        hypotheses: Sequence[Hypothesis],
        ctc: np.ndarray | None,
        seconds: float,
    ) -> Decoded:
        recognizer = self._recognizer
        model = recognizer.model
        nbest = []
        for each in hypotheses[: self._setting.config.nbest]:
            tokens = [one for one in each.tokens if one not in (BLANK_ID, model.sentence_edge)]
            nbest.append(Ranked(recognizer.text(each), tokens, each.score, each.parts))
        tokens = nbest[0].tokens
        names = [model.tokenizer.tokens[token] for token in tokens]
        times = token_and_word_times(tokens, names, model.tokenizer.decode, ctc, seconds)
        return Decoded(utterance, nbest, *times)
