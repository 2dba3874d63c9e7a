"""Two runs of the same training give the same bits, also with several threads."""

from __future__ import annotations

import subprocess
import sys

from conftest import ROOT, environment

PROGRAM = """
import hashlib, sys, torch
from cascade_asr.networks.ctc import CTC
from cascade_asr.networks.decoders import build_decoder
from cascade_asr.networks.encoders import build_encoder
from cascade_asr.speech.model import add_sentence_edges

torch.manual_seed(0)
torch.set_num_threads(2)
encoder = build_encoder("vgg_rnn", 16, {"num_layers": 1, "hidden_size": 16, "output_size": 16})
attention = {"atype": "location", "adim": 16, "aconv_chans": 10, "aconv_filts": 20}
decoder = build_decoder("rnn", 20, 16, {"hidden_size": 16, "att_conf": attention})
ctc = CTC(odim=20, encoder_output_size=16)
features = torch.randn(6, 500, 16)
lengths = torch.tensor([500, 480, 400, 333, 250, 100])
tokens = torch.randint(2, 19, (6, 20))
tokens_in, _ = add_sentence_edges(tokens, 19)
parameters = [p for part in (encoder, decoder, ctc) for p in part.parameters()]
for _ in range(4):
    output, output_lengths = encoder(features, lengths)
    logits = decoder(output, output_lengths, tokens_in, torch.full((6,), 21))
    losses = ctc.losses(output, output_lengths, tokens, torch.full((6,), 20))
    gradients = torch.autograd.grad(logits.square().mean() + losses.mean(), parameters)
    digest = hashlib.sha256()
    for gradient in gradients:
        digest.update(gradient.numpy().tobytes())
    print(digest.hexdigest())
"""


def test_gradients_do_not_depend_on_the_order_of_threads():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment(OMP_NUM_THREADS="2"), cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    digests = done.stdout.split()
    assert len(digests) == 4
    assert len(set(digests)) == 1
