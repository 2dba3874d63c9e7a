"""Compare the time of our decoding with stock ESPnet's, on the same weights.

    python bench/bench_decoding.py [--beam-size 10] [--utterances 8] [--only rnn] [--lm]
        [--device cuda]

Weights are random; the end of a text is made unlikely and ``maxlenratio`` sets its
length, so that both searches take the same steps. ESPnet decodes one utterance at a
time, as its ``asr_inference`` does, including the encoder, with its own modules. The
table shows ratios of the time per utterance: ours one at a time, and ours for the
whole set in batches. On a CPU: one thread, processor seconds. `at most` is the ratio of
ESPnet's time to that of our encoder alone, one at a time and in batches: what a search
that takes no time would give. `search` leaves out both encoders, ours in batches. Each
line also says how many texts are the same, with scores that agree to within 0.01.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cascade_asr.data.tokens import Tokenizer
from cascade_asr.lm.awd_lstm import AWDLSTM
from cascade_asr.lm.corpus import Vocabulary
from cascade_asr.lm.scorer import LanguageModelScorer
from cascade_asr.networks.espnet import espnet_module
from cascade_asr.speech.build import build_model
from cascade_asr.speech.config import ModelConf, TrainConfig
from cascade_asr.speech.decode_config import DecodeConfig
from cascade_asr.speech.loading import batches_by_length
from cascade_asr.speech.model import ASRModel
from cascade_asr.speech.recogniser import Recognizer

FEATURES = 80
TOKENS_A_FRAME = 0.2  # per frame of encoder output: 5 letters of 100 ms each
RECURRENT_SCALE = 3.0  # scale of the weights of a recurrent encoder
TOLERANCE = 0.01  # in log-probability
BLOCKS = {"output_size": 256, "attention_heads": 4, "linear_units": 2048}
TRANSFORMER = {"attention_heads": 4, "linear_units": 2048, "num_blocks": 6}
CASES = {
    "vgg_blstm 4x320, rnn 1x300": (
        "vgg_rnn", "vgg_rnn_encoder.VGGRNNEncoder",
        {"num_layers": 4, "hidden_size": 320, "output_size": 320},
        "rnn", {"hidden_size": 300},
    ),
    "transformer 12x256, 6x256": (
        "transformer", "transformer_encoder.TransformerEncoder", {**BLOCKS, "num_blocks": 12},
        "transformer", TRANSFORMER,
    ),
    "conformer 12x256, 6x256": (
        "conformer", "conformer_encoder.ConformerEncoder",
        {**BLOCKS, "num_blocks": 12, "macaron_style": True, "rel_pos_type": "latest"},
        "transformer", TRANSFORMER,
    ),
}  # fmt: skip
STOCK_DECODERS = {
    "rnn": "rnn_decoder.RNNDecoder",
    "transformer": "transformer_decoder.TransformerDecoder",
}


class StockRecognizer:
    """ESPnet's own modules and search, with the weights of one of our models."""

    def __init__(
        self,
        case: str,
        model: ASRModel,
        config: DecodeConfig,
        vocabulary: int,
        language_model: LanguageModelScorer | None,
    ) -> None:
        _, encoder, encoder_conf, kind, decoder_conf = CASES[case]
        device = next(model.parameters()).device
        self._encoder = _stock("encoder", encoder)(FEATURES, **encoder_conf)
        decoder = _stock("decoder", STOCK_DECODERS[kind])(
            vocabulary, self._encoder.output_size(), **decoder_conf
        )
        self._encoder.load_state_dict(model.encoder.state_dict())
        decoder.load_state_dict(model.decoder.state_dict())
        self._encoder.to(device).eval()
        self._tokenizer = model.tokenizer
        self._config = config
        scorer = espnet_module("espnet.nets.scorers.ctc").CTCPrefixScorer
        self._search = espnet_module("espnet.nets.beam_search").BeamSearch(
            scorers={"decoder": decoder, "ctc": scorer(ctc=model.ctc, eos=model.sentence_edge),
                     "lm": language_model},
            weights={"decoder": 1.0 - config.ctc_weight, "ctc": config.ctc_weight,
                     "lm": config.lm_weight},
            beam_size=config.beam_size,
            vocab_size=vocabulary,
            sos=model.sentence_edge,
            eos=model.sentence_edge,
            pre_beam_score_key=None if config.ctc_weight == 1.0 else "full",
        )
        if kind == "transformer" or config.ctc_weight == 1.0:
            batched = espnet_module("espnet.nets.batch_beam_search").BatchBeamSearch
            self._search.__class__ = batched
        self._search.to(device).eval()

    @torch.no_grad()
    def encode(self, features: torch.Tensor) -> torch.Tensor:
        """The encoder output (1, T', H) of features (T, D)."""
        lengths = torch.tensor([len(features)], device=features.device)
        return self._encoder(features.unsqueeze(0), lengths)[0]

    @torch.no_grad()
    def recognize(self, features: torch.Tensor) -> tuple[str, float]:
        encoder_output = self.encode(features)
        best = self._search(encoder_output[0], self._config.maxlenratio)[0]
        return self._tokenizer.decode([int(token) for token in best.yseq[1:]]), float(best.score)


def _stock(part: str, name: str) -> type:
    module, _, attribute = name.rpartition(".")
    return getattr(espnet_module(f"espnet2.asr.{part}.{module}"), attribute)


def build(case: str, vocabulary: int, device: str) -> ASRModel:
    """The network of a case, in evaluation mode; it rarely ends a text by itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokens.txt"
        names = ["<blank>", "<unk>", *(f"t{index}" for index in range(vocabulary - 3)), "<sos/eos>"]
        path.write_text("".join(f"{name}\n" for name in names))
        tokenizer = Tokenizer(path)
    encoder, _, encoder_conf, decoder, decoder_conf = CASES[case]
    config = TrainConfig(
        encoder=encoder, encoder_conf=encoder_conf, decoder=decoder, decoder_conf=decoder_conf,
        model_conf=ModelConf(ctc_weight=0.3), normalize=None,
    )  # fmt: skip
    model = build_model(config, tokenizer, FEATURES, Path("unused"), 1).eval().to(device)
    output = model.decoder.output if decoder == "rnn" else model.decoder.output_layer
    with torch.no_grad():
        if encoder == "vgg_rnn":  # its initial weights would give all utterances the same output
            for parameter in model.encoder.parameters():
                parameter *= RECURRENT_SCALE if parameter.dim() > 1 else 0.0
        model.ctc.ctc_lo.weight *= 4
        output.weight *= 4
        output.bias[-1] -= 30
        output.bias[0] -= 30
    return model


def build_language_model(model: ASRModel) -> LanguageModelScorer:
    """A language model with random weights, in the model's tokens."""
    tokens = model.tokenizer.tokens
    network = AWDLSTM(len(tokens), embedding_size=200, hidden_size=400, num_layers=2)
    return LanguageModelScorer(network, Vocabulary(tokens[1:] + tokens[:1], tokens[-1]), tokens).eval()


def measured(function: Callable, device: str) -> tuple[float, Any]:
    """Seconds that a function takes, and its result."""
    on_gpu = torch.device(device).type == "cuda"
    clock = time.monotonic if on_gpu else time.process_time
    if on_gpu:
        torch.cuda.synchronize()
    start = clock()
    result = function()
    if on_gpu:
        torch.cuda.synchronize()
    return clock() - start, result


def compare(case: str, config: DecodeConfig, arguments: argparse.Namespace) -> None:
    """Print one line of the table."""
    model = build(case, arguments.vocabulary, arguments.device)
    generator = torch.Generator().manual_seed(1)
    frames = torch.linspace(150, 600, arguments.utterances).long().tolist()
    features = [
        torch.randn(each, FEATURES, generator=generator).to(arguments.device) for each in frames
    ]
    language_model = build_language_model(model).to(arguments.device) if arguments.lm else None
    stock = StockRecognizer(case, model, config, arguments.vocabulary, language_model)
    ours = Recognizer(model, config, language_model)

    batches = batches_by_length(range(len(frames)), frames, config.batch_frames)

    def whole_set() -> list[tuple[str, float]]:
        results: dict[int, tuple[str, float]] = {}
        for batch in batches:
            found = ours.recognize_batch([features[index] for index in batch])
            results |= zip(batch, found, strict=True)
        return [results[index] for index in range(len(frames))]

    stock.recognize(features[0]), ours.recognize(features[0])  # warm
    espnet, single, texts, one_by_one = 0.0, 0.0, [], []
    for each in features:  # in turn, because the machine's speed drifts
        seconds, found = measured(lambda: stock.recognize(each), arguments.device)  # noqa: B023
        espnet += seconds
        texts.append(found)
        seconds, found = measured(lambda: ours.recognize(each), arguments.device)  # noqa: B023
        single += seconds
        one_by_one.append(found)
    together, in_batches = measured(whole_set, arguments.device)
    encoder, _ = measured(lambda: [ours.encode([each]) for each in features], arguments.device)
    encoder_of_set, _ = measured(
        lambda: [ours.encode([features[index] for index in batch]) for batch in batches],
        arguments.device,
    )
    stock_encoder, _ = measured(lambda: [stock.encode(each) for each in features], arguments.device)
    left = together - encoder_of_set
    search = f"{(espnet - stock_encoder) / left:.0f}x" if left > 0.05 * together else "-"
    same = [
        sum(
            one[0] == other[0] and abs(one[1] - other[1]) < TOLERANCE
            for one, other in zip(texts, found, strict=True)
        )
        for found in (one_by_one, in_batches)
    ]
    print(
        f"| {case} | {config.ctc_weight}{' + LM' if arguments.lm else ''} | {espnet / len(frames):.2f} s "
        f"| {single / len(frames):.3f} s, {espnet / single:.1f}x "
        f"| {together / len(frames):.3f} s, {espnet / together:.1f}x "
        f"| {espnet / encoder:.1f}x, {espnet / encoder_of_set:.1f}x | {search} | {same[0]} and {same[1]} of {len(frames)} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--beam-size", type=int, default=10)
    parser.add_argument("--utterances", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=50)
    parser.add_argument("--only", default="", help="cases whose names contain this")
    parser.add_argument("--ctc-weights", default="0.3,0.0,1.0")
    parser.add_argument("--lm", action="store_true", help="with a language model of 2x400")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    columns = ("network", "ctc_weight", "ESPnet an utterance", "ours, single", "ours, a set",
               "at most", "search", "same texts")  # fmt: skip
    print(f"| {' | '.join(columns)} |\n{'| --- ' * len(columns)}|", flush=True)
    for case in CASES:
        if arguments.only not in case:
            continue
        for weight in map(float, arguments.ctc_weights.split(",")):
            config = DecodeConfig(
                beam_size=arguments.beam_size, ctc_weight=weight, maxlenratio=TOKENS_A_FRAME,
                lm_weight=0.3 if arguments.lm else 0.0, lm="none",
            )  # fmt: skip
            compare(case, config, arguments)


if __name__ == "__main__":
    main()
