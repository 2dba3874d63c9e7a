"""Compare the time of our networks with ESPnet's, forward and backward.

    python bench/bench_networks.py [--threads 1] [--only vgg_rnn,rnn_decoder]
    python bench/bench_networks.py --device cuda --batch 32 --frames 1500

Both run with the same weights on the same padded batch, alternately in one process;
the table shows the fastest run of each, on a CPU in CPU seconds, which other programs
disturb less. Utterances have from half to all of the batch's frames; by default there
are 12 of 1.6 to 3.3 seconds. ``peak`` is the rate at which ours computes its matrix
products, convolutions and LSTM layers, relative to a large matrix product measured on
the same threads; the rest is what could still be gained. (There is no such share on a
GPU, whose LSTM is not counted.)
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cascade_asr.networks.decoders import build_decoder
from cascade_asr.networks.encoders import build_encoder
from cascade_asr.networks.espnet import espnet_module
from cascade_asr.networks.fast.products import multiply

TOKENS, VOCABULARY = 40, 50

LSTM = {"num_layers": 4, "hidden_size": 320, "output_size": 320}
SMALL_LSTM = {"num_layers": 2, "hidden_size": 128, "output_size": 128}
BLOCKS = {"num_blocks": 6, "output_size": 256, "dropout_rate": 0.1}

ENCODER_CASES = {
    "vgg_rnn 4x320 projected, D=80": ("vgg_rnn", "vgg_rnn_encoder.VGGRNNEncoder", 80, LSTM),
    "vgg_rnn 4x320 projected, D=20": ("vgg_rnn", "vgg_rnn_encoder.VGGRNNEncoder", 20, LSTM),
    "vgg_rnn 4x320, D=20": (
        "vgg_rnn", "vgg_rnn_encoder.VGGRNNEncoder", 20, LSTM | {"use_projection": False},
    ),
    "rnn 2x128 projected, D=20": ("rnn", "rnn_encoder.RNNEncoder", 20, SMALL_LSTM),
    "rnn 2x128, D=20": (
        "rnn", "rnn_encoder.RNNEncoder", 20, SMALL_LSTM | {"use_projection": False},
    ),
    "transformer 6x256, D=80": (
        "transformer", "transformer_encoder.TransformerEncoder", 80, BLOCKS,
    ),
    "conformer 6x256 legacy, D=80": (
        "conformer", "conformer_encoder.ConformerEncoder", 80,
        BLOCKS | {"macaron_style": True, "linear_units": 1024},
    ),
    "conformer 6x256 latest, D=80": (
        "conformer", "conformer_encoder.ConformerEncoder", 80,
        BLOCKS | {"macaron_style": True, "linear_units": 1024, "rel_pos_type": "latest"},
    ),
    "e_branchformer 6x256, D=80": (
        "e_branchformer", "e_branchformer_encoder.EBranchformerEncoder", 80,
        BLOCKS | {"use_ffn": True, "macaron_ffn": True, "linear_units": 1024,
                  "cgmlp_linear_units": 1024},
    ),
}  # fmt: skip

DECODER_CASES = {
    "rnn_decoder 1x320 location": ("rnn", "rnn_decoder.RNNDecoder", {}),
    "transformer_decoder 6x256": ("transformer", "transformer_decoder.TransformerDecoder", {}),
}


def main() -> None:
    """Print one line per network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=12, help="utterances")
    parser.add_argument("--frames", type=int, default=330, help="of the longest, 10 ms each")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", default="", help="parts of names, separated by commas")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(options.threads)

    peak = matmul_rate(options.device)
    print(f"a matrix product: {peak / 1e9:.1f} GFLOP per second (on a CPU: of processor time)")
    print(f"{'network':34s} {'ESPnet s':>9s} {'ours s':>9s} {'ratio':>6s} {'GFLOP':>7s} {'peak':>5s}")
    for name in [*ENCODER_CASES, *DECODER_CASES]:
        if not any(part in name for part in options.only.split(",")):
            continue
        torch.manual_seed(1)
        prepare = encoder_case if name in ENCODER_CASES else decoder_case
        theirs, ours = prepare(name, torch.device(options.device), options.batch, options.frames)
        seconds = alternate(theirs, ours, options.repetitions, options.device)
        flops = flops_of(ours)
        share = f"{flops / seconds[1] / peak:5.0%}" if options.device == "cpu" else "    -"
        print(
            f"{name:34s} {seconds[0]:9.4f} {seconds[1]:9.4f} {seconds[1] / seconds[0]:6.2f} "
            f"{flops / 1e9:7.1f} {share}",
            flush=True,
        )


def matmul_rate(device: str) -> float:
    """Operations per second of the product of two 2048 x 2048 matrices.

    On a CPU seconds are processor time, as everywhere in this file.
    """
    size = 2048
    left, right = torch.randn(2, size, size, device=device)
    product = alternate(lambda: multiply(left, right), lambda: None, 5, device)[0]
    return 2 * size**3 / product


def flops_of(function: Callable) -> int:
    """Floating-point operations of a function's matrix products, convolutions and LSTM layers."""
    product = torch.ops.mkldnn._linear_pointwise
    rnn = torch.ops.aten.mkldnn_rnn_layer
    backward = torch.ops.aten.mkldnn_rnn_layer_backward

    def layer(inputs, weight_ih, weight_hh, *rest, **options) -> int:
        frames = inputs[0] * inputs[1]
        return 2 * frames * (weight_ih[0] * weight_ih[1] + weight_hh[0] * weight_hh[1])

    counter = FlopCounterMode(
        display=False,
        custom_mapping={
            product: lambda left, right, *rest, **options: 2 * math.prod(left) * right[0],
            rnn: layer,
            backward: lambda *shapes, **options: 2 * layer(*shapes),
        },
    )
    with counter:
        function()
    return counter.get_total_flops()


def encoder_case(
    name: str, device: torch.device, batch: int, frames: int
) -> tuple[Callable, Callable]:
    """Forward and backward of ESPnet's encoder and of ours, as two functions."""
    kind, path, width, conf = ENCODER_CASES[name]
    ours = build_encoder(kind, width, conf).to(device)
    theirs = espnet_class("encoder", path)(width, **conf).to(device)
    theirs.load_state_dict(ours.state_dict())
    lengths = torch.linspace(frames, frames // 2, batch).long().to(device)
    features = torch.randn(batch, frames, width, device=device)
    return (
        lambda: theirs(features, lengths)[0].square().mean().backward(),
        lambda: ours(features, lengths)[0].square().mean().backward(),
    )


def decoder_case(
    name: str, device: torch.device, batch: int, frames: int
) -> tuple[Callable, Callable]:
    """Forward and backward of ESPnet's decoder and of ours, as two functions."""
    kind, path, conf = DECODER_CASES[name]
    width = 320 if kind == "rnn" else 256
    ours = build_decoder(kind, VOCABULARY, width, conf).to(device)
    theirs = espnet_class("decoder", path)(VOCABULARY, width, **conf).to(device)
    theirs.load_state_dict(ours.state_dict())
    encoder_lengths = torch.linspace(frames // 4, frames // 8, batch).long().to(device)
    encoder_output = torch.randn(batch, frames // 4, width, device=device, requires_grad=True)
    tokens = torch.randint(0, VOCABULARY, (batch, TOKENS), device=device)
    token_lengths = torch.linspace(TOKENS, TOKENS // 2, batch).long().to(device)
    inputs = (encoder_output, encoder_lengths, tokens, token_lengths)
    return (
        lambda: theirs(*inputs)[0].square().mean().backward(),
        lambda: ours(*inputs).square().mean().backward(),
    )


def espnet_class(part: str, path: str) -> type[nn.Module]:
    """ESPnet's own class, such as ``rnn_decoder.RNNDecoder``."""
    module, _, name = path.partition(".")
    return getattr(espnet_module(f"espnet2.asr.{part}.{module}"), name)


def alternate(
    first: Callable, second: Callable, repetitions: int, device: str
) -> tuple[float, float]:
    """Fastest time of each in seconds, after one run of each to warm up."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    best = [float("inf"), float("inf")]
    for repetition in range(repetitions + 1):
        for index, function in enumerate((first, second)):
            start = clock()
            function()
            if device != "cpu":
                torch.cuda.synchronize()
            if repetition > 0:
                best[index] = min(best[index], clock() - start)
    return best[0], best[1]


if __name__ == "__main__":
    main()
