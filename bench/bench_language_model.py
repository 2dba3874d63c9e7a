"""Compare the time of a training step of AWD-LSTM with that of a plain LSTM of the same size.

    python bench/bench_language_model.py [--threads 1] [--batch 80] [--bptt 70] [--device cuda]

The size is the published one for WikiText-2: 3 x 1150 (the last layer 400), embedding
400, vocabulary 33,278, B = 80 columns of 70 tokens. A step is forward, backward,
clipping and SGD. The plain model has the same tied embedding, softmax and cross
entropy, and three ``nn.LSTM`` without any dropout or penalty. Both run alternately in one
process; the table shows the fastest step of each, on a CPU in CPU seconds. Other programs
still disturb these, so measure on an idle machine.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import nn

from cascade_asr.lm.batches import TextBatch
from cascade_asr.lm.objective import LanguageModel
from cascade_asr.networks.fast.cross_entropy import softmax_cross_entropy
from cascade_asr.training.averaging import NTASGD

VOCABULARY = 33_278


class PlainLSTM(nn.Module):
    """Embedding, three LSTM layers and a tied softmax; nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 400)
        self.rnn = nn.ModuleList([nn.LSTM(400, 1150), nn.LSTM(1150, 1150), nn.LSTM(1150, 400)])
        self.softmax = nn.Linear(400, VOCABULARY)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.softmax.weight = self.embedding.weight

    def forward(self, batch: TextBatch) -> tuple[torch.Tensor, None]:
        """Summed cross entropy of a batch."""
        hidden = self.embedding(batch.inputs)
        for layer in self.rnn:
            hidden, _ = layer(hidden)
        loss = softmax_cross_entropy(
            hidden.flatten(0, 1), self.softmax.weight, self.softmax.bias, batch.targets.flatten()
        )
        return loss, None


def main() -> None:
    """Print the time of each model and the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--batch", type=int, default=80, help="columns, B")
    parser.add_argument("--bptt", type=int, default=70, help="tokens of a sequence, T")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    words = torch.randint(VOCABULARY, (options.bptt + 1, options.batch))
    batch = TextBatch(words[:-1], words[1:], True, 1.0).to(torch.device(options.device))
    steps = {
        "plain nn.LSTM": make_step(PlainLSTM().to(options.device), batch),
        "AWD-LSTM": make_step(LanguageModel(VOCABULARY).to(options.device), batch),
    }
    seconds = dict.fromkeys(steps, float("inf"))
    for repetition in range(options.repetitions + 1):  # the first one warms up
        for name, step in steps.items():
            spent = measure(step, options.device)
            if repetition:
                seconds[name] = min(seconds[name], spent)
    tokens = options.batch * options.bptt
    print(f"B {options.batch}, T {options.bptt}, {options.threads} threads, {options.device}")
    for name, spent in seconds.items():
        print(f"{name:14s} {spent:8.3f} s a step, {tokens / spent:9.0f} tokens/s")
    ratio = seconds["AWD-LSTM"] / seconds["plain nn.LSTM"]
    print(f"ratio {ratio:.3f}")


def make_step(model: nn.Module, batch: TextBatch):
    """A function that does one training step."""
    optimizer = NTASGD(model.parameters(), lr=30.0, weight_decay=1.2e-6)
    model.train()

    def step() -> None:
        loss, _ = model(batch)
        (loss / len(batch)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def measure(step, device: str) -> float:
    """Seconds of one call; on a CPU the processors' seconds."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    if device != "cpu":
        torch.cuda.synchronize()
    started = clock()
    step()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - started


if __name__ == "__main__":
    main()
