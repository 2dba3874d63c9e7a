"""Speech models run over a few dev utterances: layer outputs, attention, CTC alignments."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cascade_asr.data.loader import UtteranceDataset
from cascade_asr.data.manifest import Manifest, read_manifest
from cascade_asr.errors import ConfigError, DataError
from cascade_asr.networks.layer import Layer
from cascade_asr.networks.observation import observe
from cascade_asr.speech.config import TrainConfig, load_train_config
from cascade_asr.speech.ctc_alignment import align
from cascade_asr.speech.load_trained import load_trained
from cascade_asr.speech.loading import feature_dimension
from cascade_asr.speech.model import ASRModel, add_sentence_edges

LONGEST_FRAMES = 2000  # of an utterance that is used
MOST_TOKENS = 60  # of an utterance that is drawn
MOST_COLUMNS = 160  # of a drawing; a column is the maximum of its frames
OUTPUT_UTTERANCES = 8  # number of utterances whose outputs are compared
Item = tuple[torch.Tensor, torch.Tensor, torch.Tensor, str]


class SpeechModels:
    """The models of a speech experiment; an `inspection.Inspector`.

    Args:
        directory: ``exp/TAG``.
        dev: the dev set's folder in the dump.
        samples: how many of its utterances to draw.

    Raises:
        DataError: if the dev set does not exist, or has no utterance of a usable length.
    """

    def __init__(self, directory: Path, dev: Path, samples: int = 3) -> None:
        self.directory, self.dev = directory, dev
        manifest = read_manifest(dev / "manifest.tsv")
        usable = np.flatnonzero((manifest.frames <= LONGEST_FRAMES) & (manifest.token_lengths > 0))
        if not len(usable):
            raise DataError(f"{dev}/manifest.tsv: no utterance of at most {LONGEST_FRAMES} frames")
        drawn = usable[manifest.token_lengths[usable] <= MOST_TOKENS]
        self._drawn = manifest.select(spread(manifest, drawn, samples))
        self._compared = manifest.select(spread(manifest, usable, OUTPUT_UTTERANCES))
        self._dimension = feature_dimension(manifest)
        self._config = TrainConfig()  # configuration of the model loaded last
        self.items = [f"{len(self._compared)} utterances of {dev.name}"]

    def load(self, training: str) -> ASRModel:
        """The model of a finished training, in evaluation mode, on the CPU."""
        self._config, _ = load_train_config(self.directory / training / "config.yaml")
        return load_trained(self.directory / training, self._dimension)

    def layers(self, model: ASRModel, names: Sequence[str]) -> list[Layer]:
        """Its layers, divided so that they bear these names."""
        for grain in ("layer", "module", "fine"):
            layers = model.layers(grain)
            if {layer.name for layer in layers} == set(names):
                return layers
        raise ConfigError(f"the model has no layers {', '.join(names)}")

    def outputs(self, model: ASRModel, layers: Sequence[Layer]) -> dict[str, torch.Tensor]:
        """Frames by layer name: those of the encoder's layers, and CTC's for the classifier."""
        found: dict[str, list[torch.Tensor]] = {}
        for item in self._items(self._compared):
            with observe(model.encoder, model.encoder.layers()) as kept:
                encoded, _ = model.encode(*item[:2])
            seen = {f"encoder.{name}": rows for name, rows in kept.items()} | {"encoder": encoded}
            if model.ctc is not None:
                seen["classifier"] = model.ctc.log_softmax(encoded)
            for name, rows in seen.items():
                found.setdefault(name, []).append(rows[0].flatten(1))
        return {layer.name: torch.cat(found[layer.name]) for layer in layers if layer.name in found}

    def samples(self, model: ASRModel) -> list[dict[str, Any]]:
        """Attention and CTC alignment of each drawn utterance with its reference."""
        drawn = []
        for features, lengths, tokens, name in self._items(self._drawn):
            encoded, encoded_lengths = model.encode(features, lengths)
            if not int(encoded_lengths[0]):
                continue
            pieces = model.tokenizer.tokens
            sample: dict[str, Any] = {
                "utterance": name,
                "tokens": [pieces[token] for token in tokens[0].tolist()],
                "frames": int(encoded_lengths[0]),
            }
            if model.decoder is not None:
                edged, _ = add_sentence_edges(tokens, model.sentence_edge)
                weights = model.decoder.attention_weights(
                    encoded, encoded_lengths, edged, torch.tensor([edged.size(1)])
                )[0]
                sample["attention"] = picture(weights.float().numpy())
            if model.ctc is not None:
                log_probabilities = model.ctc.log_softmax(encoded)[0].float().numpy()
                ids = tokens[0].numpy()
                sample["ctc"] = picture(np.exp(log_probabilities[:, ids]).T)
                path = align(log_probabilities, ids.tolist())
                if path is not None:
                    sample["path"] = path.tokens_of_frames(len(log_probabilities)).tolist()
            drawn.append(sample)
        return drawn

    def _items(self, manifest: Manifest) -> Iterator[Item]:
        """Features (1, T, D), lengths (1,), tokens (1, U) and id of each utterance."""
        config = self._config
        speakers = self.dev / "cmvn_speaker.ark" if config.normalize == "speaker_mvn" else None
        dataset = UtteranceDataset(
            manifest, self._dimension, speakers, config.normalize_conf
        )
        for index in range(len(dataset)):
            item = dataset[index]
            if isinstance(item, DataError):
                raise item
            name, features, tokens = item
            yield (
                torch.from_numpy(features.copy())[None],
                torch.tensor([len(features)]),
                torch.from_numpy(tokens.astype(np.int64))[None],
                name,
            )


def spread(manifest: Manifest, usable: np.ndarray, number: int) -> list[int]:
    """Choose ``number`` of these utterances, evenly from the shorter to the longer half."""
    order = sorted(usable.tolist(), key=lambda index: (manifest.frames[index], index))
    number = min(number, len(order))
    return [order[(2 * each + 1) * len(order) // (2 * number)] for each in range(number)]


def picture(values: np.ndarray) -> dict[str, Any]:
    """A matrix (U, T) with values from 0 to 1, narrowed to few columns, as bytes in base64."""
    rows, frames = values.shape
    columns = min(frames, MOST_COLUMNS)
    edges = np.linspace(0, frames, columns + 1).round().astype(int)
    narrow = np.maximum.reduceat(values, edges[:-1], axis=1) if columns else values
    bytes_ = np.rint(narrow.clip(0, 1) * 255).astype(np.uint8).tobytes()
    return {"rows": rows, "columns": columns, "data": base64.b64encode(bytes_).decode("ascii")}
