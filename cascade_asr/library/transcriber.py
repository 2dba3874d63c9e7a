"""Recordings to text with a trained model: ``cascade_asr.load("exp/rnn").transcribe("a.wav")``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cascade_asr.data.audio.any_audio import Source, read_any
from cascade_asr.data.audio.pauses import cut_at_pauses
from cascade_asr.data.features.cmvn import Statistics, mean_and_deviation
from cascade_asr.errors import ConfigError
from cascade_asr.library.trained_models import TrainedModel, find_model
from cascade_asr.library.transcription import MOST_HYPOTHESES, Choice, Stretch, Transcription
from cascade_asr.lm.fusion import load_fusion_scorer
from cascade_asr.options.schema import from_mapping
from cascade_asr.speech.ctc_alignment import word_times
from cascade_asr.speech.decode_config import DecodeConfig, load_decode_config
from cascade_asr.speech.loading import batches_by_length
from cascade_asr.speech.recogniser import Recognizer

LONGEST_S = 20.0
GATHERED_FRAMES = 60_000  # of several recordings, to make batches of like lengths


@dataclass(frozen=True)
class Recording:
    """A recording to transcribe.

    Attributes:
        name: for messages and outputs.
        source: a file, bytes, a binary stream or samples.
        rate: in Hz, of samples.
    """

    name: str
    source: Source
    rate: int | None = None


@dataclass
class _Pending:
    """A recording whose features wait to be decoded."""

    name: str
    seconds: float
    starts_s: list[float]
    ends_s: list[float]
    features: list[np.ndarray]

    @property
    def frames(self) -> int:
        return sum(map(len, self.features))


class Transcriber:
    """A trained model that transcribes recordings.

    Args:
        trained: from `find_model`.
        config: of the decoding.
        device: ``cpu``, ``cuda``, ``cuda:1``.
        longest_s: longer recordings are cut at pauses into stretches of no more seconds.
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
        try:
            model = trained.model.to(device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"device '{device}' cannot be used: {error}") from error
        language_model = None
        if config.lm_weight > 0.0 and config.search != "ctc_best_path":
            language_model = load_fusion_scorer(Path(config.lm or ""), model.tokenizer.tokens)
        self._recognizer = Recognizer(model, config, language_model)

    @property
    def sampling_rate(self) -> int:
        """In Hz, of the model; other rates are converted."""
        return self.trained.features.rate

    def transcribe(
        self, source: Source, rate: int | None = None, channel: int | None = None
    ) -> Transcription:
        """The text of one recording.

        Args:
            source: a file that libsndfile or ffmpeg reads; bytes or an open binary
                stream of one; or samples (frames,) or (frames, channels), integers
                or floats between -1 and 1.
            rate: in Hz, of samples.
            channel: counted from 1; None takes the mean of all channels.

        Raises:
            DataError: if it cannot be read as audio.
        """
        if not isinstance(source, (str, Path, bytes)) and not hasattr(source, "read"):
            source = np.asarray(source)
        name = str(source) if isinstance(source, (str, Path)) else "recording"
        return next(self.transcribe_all([Recording(name, source, rate)], channel))

    def transcribe_all(
        self, recordings: Iterable[Recording], channel: int | None = None
    ) -> Iterator[Transcription]:
        """The texts of several recordings, in their order.

        A model with normalisation by speaker takes all of them for one speaker's.

        Raises:
            DataError: at the first that cannot be read as audio.
        """
        normalise = None
        if self.trained.config.normalize == "speaker_mvn":
            recordings = list(recordings)
            normalise = self._speaker(recordings, channel)
        waiting: list[_Pending] = []
        for recording in recordings:
            pending = self._prepare(recording, channel)
            if normalise is not None:
                pending.features = [normalise(each) for each in pending.features]
            waiting.append(pending)
            if sum(each.frames for each in waiting) >= GATHERED_FRAMES:
                yield from self._decode(waiting)
                waiting = []
        yield from self._decode(waiting)

    def _prepare(self, recording: Recording, channel: int | None) -> _Pending:
        rate = self.sampling_rate
        samples = read_any(recording.source, rate, recording.name, recording.rate, channel)
        cuts = cut_at_pauses(samples, rate, self.longest_s)
        compute = self.trained.features.compute
        return _Pending(
            recording.name,
            len(samples) / rate,
            [start / rate for start, _ in cuts],
            [end / rate for _, end in cuts],
            [compute(samples[start:end]) for start, end in cuts],
        )

    def _speaker(self, recordings: Sequence[Recording], channel: int | None) -> Any:
        """Normalisation by the statistics of all recordings."""
        statistics = Statistics()
        for number, recording in enumerate(recordings):
            if hasattr(recording.source, "read"):  # it can be read once
                recording = replace(recording, source=recording.source.read())
                recordings[number] = recording
            for each in self._prepare(recording, channel).features:
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

    def _decode(self, waiting: Sequence[_Pending]) -> Iterator[Transcription]:
        """Decode what was gathered in batches of like lengths."""
        places = [(one, two) for one, each in enumerate(waiting) for two in range(len(each.features))]
        frames = [len(waiting[one].features[two]) for one, two in places]
        stretches: dict[tuple[int, int], Stretch] = {}
        usable = [number for number, count in enumerate(frames) if count]
        for batch in batches_by_length(usable, frames, self.config.batch_frames):
            chosen = [places[number] for number in batch]
            features = [torch.from_numpy(waiting[one].features[two].copy()) for one, two in chosen]
            found = self._recognizer.with_ctc(features)
            for (one, two), (hypotheses, ctc) in zip(chosen, found, strict=True):
                start, end = waiting[one].starts_s[two], waiting[one].ends_s[two]
                stretches[one, two] = self._stretch(start, end, hypotheses, ctc)
        for one, each in enumerate(waiting):
            segments = [
                stretches.get((one, two))
                or Stretch(each.starts_s[two], each.ends_s[two], [Choice("", -np.inf, {})], [])
                for two in range(len(each.features))
            ]
            yield Transcription(each.name, each.seconds, segments)

    def _stretch(self, start: float, end: float, hypotheses: list, ctc: Any) -> Stretch:
        recognizer, edge = self._recognizer, self.trained.model.sentence_edge
        choices = [
            Choice(recognizer.text(each), each.score, each.parts)
            for each in hypotheses[:MOST_HYPOTHESES]
        ]
        tokens = [token for token in hypotheses[0].tokens if token != edge]
        words = word_times(tokens, self.trained.model.tokenizer.decode, ctc, end - start)
        moved = [
            replace(word, start_s=word.start_s + start, end_s=word.end_s + start) for word in words
        ]
        return Stretch(start, end, choices, moved)


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
        fbank_config: options of the features, where the model does not tell them.
        longest_s: longer recordings are cut at pauses into stretches of no more seconds.
        options: single decoding options, such as ``beam_size=4``; they win.

    Raises:
        ConfigError: if there is no such model, or an option is not known.

    Example:
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
    if options:
        from_mapping(DecodeConfig, dict(options), "load()", {})  # checks names and types
        config = replace(config, **options)
    trained = find_model(Path(path), None if fbank_config is None else Path(fbank_config))
    return Transcriber(trained, config, device, longest_s)
