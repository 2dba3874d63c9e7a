"""Compare whole training steps with ESPnet's: encoder, decoder, CTC, clipping, optimizer.

    python bench/bench_step.py [--threads 1,2] [--only vgg,conformer] [--repetitions 5]

Both train with the same weights on the same batch of 8 utterances of 400 frames (80
features, 40 tokens), alternately in one process. The table shows the fastest step of
each in seconds of processor time, which other programs disturb less than elapsed time;
with several threads it is the sum over all of them. ``spread`` gives the smallest and the
largest ratio of a single repetition. ESPnet's step is its ``ESPnetASRModel`` with clipping
and Adam as its trainer calls them.

``--unequal sorted`` takes utterances of 360 to 400 frames, as in batches of a corpus sorted
by length, ``--unequal mixed`` of 60 to 400. ``--frozen`` compares the step that trains
everything with steps in which the upper half of the encoder and the classifier are frozen,
or everything below them is, and the latter also from outputs kept on disk
(``cache_frozen``).
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from cascade_asr.data.loader import Batch
from cascade_asr.networks.ctc import CTC
from cascade_asr.networks.decoders import build_decoder
from cascade_asr.networks.encoders import build_encoder
from cascade_asr.networks.espnet import espnet_module, quiet_espnet
from cascade_asr.speech.model import ASRModel
from cascade_asr.training.freezing import freeze, set_training_mode, trainable_parameters
from cascade_asr.training.frozen_outputs import FrozenOutputs, frozen_below
from cascade_asr.training.optimization import build_optimizer

BATCH, FRAMES, WIDTH, TOKENS, VOCABULARY = 8, 400, 80, 40, 500
SHORTEST = {"sorted": 360, "mixed": 60}

LSTM = {"num_layers": 3, "hidden_size": 320, "output_size": 320}
BLOCKS = {"num_blocks": 12, "output_size": 256, "attention_heads": 4}
RNN_DECODER = ("rnn", "rnn_decoder.RNNDecoder", {"hidden_size": 320})
TRANSFORMER_DECODER = (
    "transformer", "transformer_decoder.TransformerDecoder",
    {"num_blocks": 6, "attention_heads": 4, "linear_units": 2048},
)  # fmt: skip
CASES = {
    "vgg_blstm": (("vgg_rnn", "vgg_rnn_encoder.VGGRNNEncoder", LSTM), RNN_DECODER),
    "blstm": (("rnn", "rnn_encoder.RNNEncoder", LSTM | {"subsample": [1, 2, 2]}), RNN_DECODER),
    "transformer": (
        ("transformer", "transformer_encoder.TransformerEncoder", BLOCKS | {"linear_units": 2048}),
        TRANSFORMER_DECODER,
    ),
    "conformer": (
        ("conformer", "conformer_encoder.ConformerEncoder",
         BLOCKS | {"linear_units": 1024, "macaron_style": True, "rel_pos_type": "latest",
                   "cnn_module_kernel": 31}),
        TRANSFORMER_DECODER,
    ),
    "e_branchformer": (
        ("e_branchformer", "e_branchformer_encoder.EBranchformerEncoder",
         BLOCKS | {"linear_units": 1024, "cgmlp_linear_units": 1024, "use_ffn": True,
                   "macaron_ffn": True, "cgmlp_conv_kernel": 31, "merge_conv_kernel": 31}),
        TRANSFORMER_DECODER,
    ),
}  # fmt: skip


def main() -> None:
    """Print one line per network and number of threads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", default="", help="parts of names, separated by commas")
    parser.add_argument("--unequal", choices=list(SHORTEST), help="lengths of the utterances")
    parser.add_argument("--frozen", action="store_true", help="compare frozen halves with a full step")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_flush_denormal(True)
    names = [name for name in CASES if any(part in name for part in options.only.split(","))]
    for threads in map(int, options.threads.split(",")):
        torch.set_num_threads(threads)
        for name in names:
            batch = make_batch(options.unequal)
            if options.frozen:
                print_frozen(name, batch, threads, options.repetitions)
            else:
                print_ratio(name, batch, threads, options.repetitions)


def print_ratio(name: str, batch: Batch, threads: int, repetitions: int) -> None:
    """Print the time of ESPnet's step and of ours."""
    ours, theirs = our_model(name), espnet_model(name)
    theirs.load_state_dict(ours.state_dict())
    times = alternate([espnet_step(theirs, batch), our_step(ours, batch)], repetitions)
    ratios = sorted(each[0] / each[1] for each in times)
    best = [min(each) for each in zip(*times, strict=True)]
    print(
        f"{name:16s} {threads} thread(s): ESPnet {best[0]:.3f} s, ours {best[1]:.3f} s, "
        f"ratio {best[0] / best[1]:.2f} (spread {ratios[0]:.2f}-{ratios[-1]:.2f})",
        flush=True,
    )


def print_frozen(name: str, batch: Batch, threads: int, repetitions: int) -> None:
    """Print our full step, and steps that train only the lower half or only the rest."""
    steps = []
    temporary = tempfile.TemporaryDirectory()
    for trained in ("all", "lower half", "upper half", "kept"):
        model = our_model(name)
        layers = model.layers()
        half = (len(layers) - 1) // 2
        frozen = {"all": [], "lower half": layers[half:]}.get(trained, layers[:half])
        freeze(model, frozen)
        set_training_mode(model, frozen, frozen_dropout=trained != "kept")
        if trained == "kept":
            top = frozen_below(model)[0][-1]
            model.frozen_outputs = FrozenOutputs(top.name, Path(temporary.name), 1)
        steps.append(our_step(model, batch))
    times = alternate(steps, repetitions)
    best = [min(each) for each in zip(*times, strict=True)]
    lower, upper, kept = (f"{each / best[0]:.2f}" for each in best[1:])
    print(
        f"{name:16s} {threads} thread(s): full step {best[0]:.3f} s; only the lower half trained "
        f"{lower} of it, only the upper half {upper}, that from kept outputs {kept}",
        flush=True,
    )


def make_batch(unequal: str | None) -> Batch:
    """Random features and tokens."""
    torch.manual_seed(1)
    shortest = SHORTEST.get(unequal, FRAMES)
    lengths = torch.linspace(FRAMES, shortest, BATCH).long()
    valid = torch.arange(FRAMES) < lengths.unsqueeze(1)
    features = torch.randn(BATCH, FRAMES, WIDTH) * valid.unsqueeze(2)
    tokens = torch.randint(2, VOCABULARY - 1, (BATCH, TOKENS))
    names = [str(row) for row in range(BATCH)]
    return Batch(names, features, lengths, tokens, torch.full((BATCH,), TOKENS))


def token_list() -> list[str]:
    """``<blank>``, ``<unk>``, ..., ``<sos/eos>``."""
    return ["<blank>", "<unk>", *(f"t{each}" for each in range(VOCABULARY - 3)), "<sos/eos>"]


def our_model(name: str) -> ASRModel:
    """The network of a case, its weights from seed 0."""
    torch.manual_seed(0)
    (encoder, _, encoder_conf), (decoder, _, decoder_conf) = CASES[name]
    built = build_encoder(encoder, WIDTH, encoder_conf)
    width = built.output_size()
    return ASRModel(
        SimpleNamespace(tokens=token_list()),
        built,
        build_decoder(decoder, VOCABULARY, width, decoder_conf),
        CTC(odim=VOCABULARY, encoder_output_size=width),
        ctc_weight=0.3,
        lsm_weight=0.1,
    )


def espnet_model(name: str) -> nn.Module:
    """ESPnet's own model of the same configuration."""
    (_, encoder, encoder_conf), (_, decoder, decoder_conf) = CASES[name]
    with quiet_espnet():
        built = espnet_class("encoder", encoder)(WIDTH, **encoder_conf)
        width = built.output_size()
        return espnet_class("", "espnet_model.ESPnetASRModel")(
            vocab_size=VOCABULARY, token_list=token_list(), frontend=None, specaug=None,
            normalize=None, preencoder=None, encoder=built, postencoder=None,
            decoder=espnet_class("decoder", decoder)(VOCABULARY, width, **decoder_conf),
            ctc=espnet_class("", "ctc.CTC")(odim=VOCABULARY, encoder_output_size=width),
            joint_network=None, ctc_weight=0.3, lsm_weight=0.1, report_cer=False,
            report_wer=False,
        )  # fmt: skip


def espnet_class(part: str, path: str) -> type[nn.Module]:
    """ESPnet's own class, such as ``rnn_decoder.RNNDecoder``."""
    module, _, name = path.partition(".")
    return getattr(espnet_module(".".join(filter(None, ["espnet2.asr", part, module]))), name)


def our_step(model: ASRModel, batch: Batch) -> Callable[[], None]:
    """One update as the trainer makes it."""
    parameters = trainable_parameters(model)
    optimizer = build_optimizer(parameters, "adam", {"lr": 1e-4}, in_one_pass=True)

    def step() -> None:
        loss, _ = model(batch)
        (loss / len(batch)).backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def espnet_step(model: nn.Module, batch: Batch) -> Callable[[], None]:
    """One update as ESPnet's trainer makes it."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    arguments = (batch.features, batch.feature_lengths, batch.tokens, batch.token_lengths)

    def step() -> None:
        loss, _, _ = model(*arguments)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=5.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def alternate(steps: list[Callable[[], None]], repetitions: int) -> list[list[float]]:
    """Processor seconds of each step in each repetition, after one to warm up."""
    times = []
    for repetition in range(repetitions + 1):
        row = []
        for step in steps:
            start = time.process_time()
            step()
            row.append(time.process_time() - start)
        if repetition > 0:
            times.append(row)
    return times


if __name__ == "__main__":
    main()
