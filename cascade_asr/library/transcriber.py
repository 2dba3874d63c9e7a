"""Transcribe with a trained model: ``cascade_asr.load("exp/rnn").transcribe("a.wav")``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cascade_asr.data.audio.any_audio import Content, Source, read_any
from cascade_asr.data.audio.pauses import cut_at_pauses
from cascade_asr.data.features.cmvn import FeatureStatistics, mean_and_deviation
from cascade_asr.errors import ConfigError, DataError
from cascade_asr.library.recordings import Recording
from cascade_asr.library.trained_models import TrainedModel, find_model
from cascade_asr.library.transcription import MOST_HYPOTHESES, Choice, Stretch, Transcription
from cascade_asr.lm.fusion import load_fusion_scorer
from cascade_asr.speech.ctc_alignment import word_times
from cascade_asr.speech.decode_config import DecodeConfig, changed, load_decode_config
from cascade_asr.speech.loading import batches_by_length
from cascade_asr.speech.recogniser import Recognizer

logger = logging.getLogger(__name__)

LONGEST_S = 20.0
GATHERED_FRAMES = 60_000  # collected from several recordings, for batches of similar lengths
MOST_NEEDED = 1000  # most feature frames that an encoder may need for one output frame


OnError = Callable[[Recording, Exception], None]
OnProgress = Callable[[float, float], None]


@dataclass
class _Pending:
    """A recording whose features are waiting to be decoded."""

    name: str
    seconds: float
    starts_s: list[float]
    ends_s: list[float]
    features: list[np.ndarray]  # without silent stretches

    @property
    def frames(self) -> int:
        return sum(map(len, self.features))


class Transcriber:
    """A trained model that transcribes recordings.

    Args:
        trained: model from `find_model`.
        config: decoding options.
        device: ``cpu``, ``cuda``, ``cuda:1``.
        longest_s: longer recordings are cut at pauses into stretches of at most this many
            seconds; infinity cuts none.
    """

    def __init__(
        self,
        trained: TrainedModel,
        config: DecodeConfig,
        device: str = "cpu",
        longest_s: float = LONGEST_S,
    ) -> None:
        if not longest_s >= 0.5:
            raise ConfigError(f"longest_s is {longest_s}, expected 0.5 or more seconds")
        self.trained = trained
        self.config = config
        self.longest_s = longest_s
        self._hypotheses = config.nbest if config.nbest > 1 else MOST_HYPOTHESES
        try:
            model = trained.model.to(device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"device '{device}' cannot be used: {error}") from error
        language_model = None
        if config.lm_weight > 0.0 and config.search != "ctc_best_path":
            language_model = load_fusion_scorer(Path(config.lm or ""), model.tokenizer.tokens)
        self._recognizer = Recognizer(model, config, language_model)
        counts = torch.arange(1, MOST_NEEDED + 1)
        enough = model.encoder.output_lengths(counts) >= 1
        self._needed_frames = int(counts[enough][0]) if enough.any() else MOST_NEEDED

    @property
    def sampling_rate(self) -> int:
        """The model's rate in Hz; other rates are converted."""
        return self.trained.features.rate

    def transcribe(
        self, source: Source, rate: int | None = None, channel: int | None = None
    ) -> Transcription:
        """The text of one recording.

        Args:
            source: a file that libsndfile or ffmpeg reads; bytes or an open binary
                stream of one; or samples (frames,) or (frames, channels), integers
                or floats between -1 and 1.
            rate: sampling rate of samples, in Hz.
            channel: counted from 1; None takes the mean of all channels.

        Raises:
            DataError: if it cannot be read as audio, is silent or too short.
        """
        if isinstance(source, torch.Tensor):
            source = source.detach().cpu()
            source = (source.float() if source.dtype == torch.bfloat16 else source).numpy()
        elif not isinstance(source, (str, Path, Content)) and not hasattr(source, "read"):
            source = np.asarray(source)
        name = str(source) if isinstance(source, (str, Path)) else "recording"
        return next(self.transcribe_all([Recording(name, source, rate)], channel))

    def transcribe_all(
        self,
        recordings: Iterable[Recording],
        channel: int | None = None,
        on_error: OnError | None = None,
        on_progress: OnProgress | None = None,
    ) -> Iterator[Transcription]:
        """The texts of several recordings, in order.

        A model with normalisation by speaker treats all of them as one speaker's.

        Args:
            recordings: recordings to transcribe; consumed one by one.
            channel: counted from 1; None takes the mean of all channels.
            on_error: called with a recording that cannot be transcribed and the
                reason; it is left out, and the others continue.
            on_progress: called with what was decoded: recordings (or a part of one),
                and seconds.

        Raises:
            DataError: without ``on_error``, at the first that cannot be transcribed.
        """
        normalise = None
        if self.trained.config.normalize == "speaker_mvn":
            recordings = self._kept(recordings)
            normalise = self._speaker(recordings, channel)
        waiting: list[_Pending] = []
        for recording in recordings:
            try:
                pending = self._prepare(recording, channel)
            except (DataError, OSError) as error:
                if on_error is None:
                    raise
                on_error(recording, error)
                continue
            if normalise is not None:
                pending.features = [normalise(each) for each in pending.features]
            waiting.append(pending)
            if sum(each.frames for each in waiting) >= GATHERED_FRAMES:
                yield from self._decode(waiting, channel, on_progress)
                waiting = []
        yield from self._decode(waiting, channel, on_progress)

    def _prepare(self, recording: Recording, channel: int | None) -> _Pending:
        rate, name = self.sampling_rate, recording.name
        samples = read_any(recording.source, rate, name, recording.rate, channel)
        seconds = len(samples) / rate
        if len(samples) >= rate // 10 and _is_silent(samples):
            raise DataError(f"{name}: silent: its {seconds:.2f} s contain no sound at all")
        cuts = cut_at_pauses(samples, rate, self.longest_s)
        features = [
            np.zeros((0, self.trained.features.dimension), np.float32)
            if _is_silent(samples[start:end])
            else self.trained.features.compute(samples[start:end])
            for start, end in cuts
        ]
        longest = max(map(len, features))
        if longest < self._needed_frames:
            raise DataError(
                f"{name}: too short: {seconds:.3f} s are {longest} feature frames, the model needs "
                f"{self._needed_frames}"
            )
        return _Pending(
            name,
            seconds,
            [start / rate for start, _ in cuts],
            [end / rate for _, end in cuts],
            features,
        )

    @staticmethod
    def _kept(recordings: Iterable[Recording]) -> list[Recording]:
        """Recordings that can be read twice."""
        return [
            replace(each, source=each.source.read()) if hasattr(each.source, "read") else each
            for each in recordings
        ]

    def _speaker(self, recordings: Sequence[Recording], channel: int | None) -> Any:
        """Normalisation by the statistics of all recordings."""
        statistics = FeatureStatistics()
        for recording in recordings:
            try:
                features = self._prepare(recording, channel).features
            except (DataError, OSError):
                continue  # reported when it is about to be decoded
            for each in features:
                if len(each):
                    statistics.add(each)
        conf = self.trained.config.normalize_conf
        if not statistics.count:
            return lambda features: features
        mean, deviation = mean_and_deviation(statistics.kaldi_matrix())
        if not conf.get("norm_means", True):
            mean = np.zeros_like(mean)
        if not conf.get("norm_vars", True):
            deviation = np.ones_like(deviation)
        return lambda features: (features - mean) / deviation

    def _decode(
        self, waiting: Sequence[_Pending], channel: int | None, on_progress: OnProgress | None
    ) -> Iterator[Transcription]:
        """Decode what was collected, in batches of similar lengths."""
        places = [(one, two) for one, each in enumerate(waiting) for two in range(len(each.features))]
        frames = [len(waiting[one].features[two]) for one, two in places]
        stretches: dict[tuple[int, int], Stretch] = {}
        usable = [number for number, count in enumerate(frames) if count]
        heard = [sum(map(bool, map(len, each.features))) for each in waiting]
        for batch in batches_by_length(usable, frames, self.config.batch_frames):
            chosen = [places[number] for number in batch]
            features = [torch.from_numpy(waiting[one].features[two].copy()) for one, two in chosen]
            found = self._recognizer.with_ctc(features)
            for (one, two), (hypotheses, ctc) in zip(chosen, found, strict=True):
                start, end = waiting[one].starts_s[two], waiting[one].ends_s[two]
                stretches[one, two] = self._stretch(start, end, hypotheses, ctc)
                if hypotheses[0].score == float("-inf"):
                    logger.warning(
                        "%s: no text was found from %.2f to %.2f s, which have too few frames for the encoder or "
                        "for the least number of tokens (minlenratio)", waiting[one].name, start, end,
                    )  # fmt: skip
                if on_progress is not None:
                    on_progress(1 / heard[one], end - start)
        for one, each in enumerate(waiting):
            segments = [
                stretches.get((one, two))
                or Stretch(each.starts_s[two], each.ends_s[two], [Choice("", 0.0, {})], [])
                for two in range(len(each.features))
            ]
            yield Transcription(each.name, each.seconds, segments, channel, self._hypotheses)

    def _stretch(self, start: float, end: float, hypotheses: list, ctc: Any) -> Stretch:
        recognizer, edge = self._recognizer, self.trained.model.sentence_edge
        choices = [
            Choice(recognizer.text(each), each.score, each.parts)
            for each in hypotheses[: self._hypotheses]
        ]
        tokens = [token for token in hypotheses[0].tokens if token != edge]
        words = word_times(tokens, self.trained.model.tokenizer.decode, ctc, end - start)
        moved = [
            replace(word, start_s=word.start_s + start, end_s=word.end_s + start) for word in words
        ]
        return Stretch(start, end, choices, moved)


def _is_silent(samples: np.ndarray) -> bool:
    """Whether all samples have the same value, as with an unplugged cable."""
    return bool(samples.min() == samples.max())


def load(
    path: str | Path,
    *,
    device: str = "cpu",
    decode_config: str | Path | DecodeConfig | None = None,
    fbank_config: str | Path | None = None,
    longest_s: float = LONGEST_S,
    **options: Any,
) -> Transcriber:
    """Load a trained model to transcribe with.

    Args:
        path: an experiment (``exp/rnn``; its selected stage), one of its stages
            (``exp/rnn/full``), a folder exported to ESPnet2's format, or its zip.
        device: ``cpu``, ``cuda``, ``cuda:1``.
        decode_config: decoding options: a file such as conf/decode.yaml, or an object.
        fbank_config: options of the features, if the model does not include them.
        longest_s: longer recordings are cut at pauses into stretches of at most this many
            seconds; infinity cuts none.
        options: single decoding options, such as ``beam_size=4``; they take precedence.

    Raises:
        ConfigError: if there is no such model, or an option is unknown.

    Examples:
        >>> model = cascade_asr.load("exp/rnn")  # doctest: +SKIP
        >>> model.transcribe("a.wav").text  # doctest: +SKIP
        'seven one four'
    """
    if decode_config is None:
        config = DecodeConfig()
    elif isinstance(decode_config, DecodeConfig):
        config = decode_config
    else:
        if not Path(decode_config).is_file():
            raise ConfigError(f"{decode_config}: no such file of decoding options")
        config = load_decode_config(Path(decode_config))
    config = changed(config, options, "load()")
    trained = find_model(Path(path), None if fbank_config is None else Path(fbank_config))
    return Transcriber(trained, config, device, longest_s)
