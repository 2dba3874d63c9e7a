"""Run the task `sklearn_digits`: images of digits, a network of linear layers, 20 seeds.

    pip install scikit-learn==1.9.1
    python experiments/sklearn_digits.py
    python experiments/sklearn_digits.py --seeds 1,2 --only converged-plain-4 --results again.jsonl

The first run produces results/sklearn_digits.jsonl and takes about an hour on one processor.

The data come with scikit-learn (1797 images of 8x8, no download). Every training is run by
`cascade_asr.Cascade`; finished trainings are not repeated, and each seed's results are
appended to results/sklearn_digits.jsonl as soon as they are available.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from lines import Lines, machine, training_line
from torch import nn
from torch.nn.functional import cross_entropy

import cascade_asr

HERE = Path(__file__).resolve().parent
WIDTH = 48
TRAIN, DEV, TEST = 240, 500, 700  # images; 597 are available for training
SMALL = 60  # images in part B of the transfer condition
CONTROLS = "longer,continue,best-of-n,bottom-up,random-top,keep"


@dataclass(frozen=True)
class Condition:
    """The setting of one comparison.

    Attributes:
        name: its name in the results, such as ``converged-plain-4``.
        depth: number of hidden layers.
        dropout, weight_decay: regularisation.
        cycle: length of the learning-rate schedule in epochs.
        tail: number of epochs after the schedule, at its last rate.
    """

    name: str
    depth: int
    dropout: float
    weight_decay: float
    cycle: int
    tail: int


def conditions() -> Iterator[Condition]:
    """Yield all conditions: regularised or not, short or converged, and other depths."""
    for kind, dropout, decay in (("plain", 0.0, 0.0), ("regularised", 0.2, 1e-2)):
        yield Condition(f"converged-{kind}-4", 4, dropout, decay, 20, 5)
        yield Condition(f"short-{kind}-4", 4, dropout, decay, 4, 0)
    for depth in (2, 6):
        yield Condition(f"converged-plain-{depth}", depth, 0.0, 0.0, 20, 5)


def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Load all images (1797, 64), from 0 to 1, and their digits, in a fixed random order."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
    inputs = torch.tensor(found.data, dtype=torch.float32)[order] / 16
    return inputs, torch.tensor(found.target)[order]


def network(condition: Condition) -> nn.Sequential:
    """Build hidden layers of `WIDTH` units and a classifier, with He initialisation for ReLU."""
    layers: list[nn.Module] = []
    size = 64
    for _ in range(condition.depth):
        layers += [nn.Linear(size, WIDTH), nn.ReLU(), nn.Dropout(condition.dropout)]
        size = WIDTH
    model = nn.Sequential(*layers, nn.Linear(size, 10))
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return model


def measure(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> dict:
    """Return the cross entropy and the error in percent, per image."""
    logits = model(inputs)
    return {
        "loss": cross_entropy(logits, targets, reduction="none"),
        "error": 100.0 * (logits.argmax(dim=1) != targets).float(),
    }


def cuts(condition: Condition) -> list[str]:
    """Cuts for two stages: the classifier frozen, then also the upper half of the hidden layers."""
    position = 3 * (condition.depth - condition.depth // 2)  # linear, ReLU, dropout
    return [str(3 * condition.depth), str(position)]


def options(condition: Condition, seed: int) -> dict:
    """Training options: AdamW, one cycle, and the best epoch by dev loss."""
    return {
        "optim": "adamw",
        "optim_conf": {"lr": 6e-3, "weight_decay": condition.weight_decay},
        "scheduler": "onecyclelr",
        "scheduler_conf": {"pct_start": 0.2, "final_div_factor": 4, "cycle_momentum": False},
        "schedule_epochs": condition.cycle,
        "max_epoch": condition.cycle + condition.tail,
        "converged": {"margin": 1.0, "epochs": 5, "criterion": ["valid", "error", "min"]},
        "batch_size": 24, "keep_nbest_models": 1, "seed": seed,
        "best_model_criterion": [["valid", "loss", "min"]],
        "checkpoint_interval_s": 600,
    }  # fmt: skip


@dataclass(frozen=True)
class Data:
    """Images and digits for training, dev and test."""

    train: tuple[torch.Tensor, torch.Tensor]
    dev: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]


def divided(count: int = TRAIN, skip: int = 0) -> Data:
    """Split the images into fixed sets; ``count`` training images are used after ``skip`` others."""
    inputs, targets = images()
    rest = len(targets) - DEV - TEST
    assert skip + count <= rest
    dev, test = slice(rest, rest + DEV), slice(rest + DEV, None)
    chosen = slice(skip, skip + count)
    return Data(*((inputs[each], targets[each]) for each in (chosen, dev, test)))


def make(
    folder: Path, condition: Condition, seed: int, data: Data, **cascade: object
) -> cascade_asr.Cascade:
    """Set up one experiment with `cascade_asr.Cascade`."""
    return cascade_asr.Cascade(
        folder, lambda: network(condition), measure, data.train, data.dev,
        metrics=["error"], select=("error", "min"), training=options(condition, seed),
        cascade={"cuts": cuts(condition), **cascade},
    )  # fmt: skip


def wrong_items(cascade: cascade_asr.Cascade, name: str, data: Data) -> list[int]:
    """Return the indices of the test images that a training gets wrong."""
    with torch.no_grad():
        guesses = cascade.load(name)(data.test[0]).argmax(dim=1)
    return (guesses != data.test[1]).nonzero().flatten().tolist()


def results(
    cascade: cascade_asr.Cascade, names: dict[str, list[str]], data: Data
) -> Iterator[dict]:
    """Yield a line for each training of the branches, with its errors on the test images."""
    items = len(data.test[1])
    for branch, trainings in names.items():
        for name in trainings:
            wrong = wrong_items(cascade, name, data)
            test = {"error": round(100 * len(wrong) / items, 4)}
            yield training_line(cascade.directory / name, branch, "error") | {
                "test": test, "items": {"test": items}, "wrong": {"test": wrong},
            }  # fmt: skip


def branches(cascade: cascade_asr.Cascade) -> dict[str, list[str]]:
    """Return the names of the trainings of each branch."""
    plans = cascade.plan.branches
    found = {"full": ["full"], "cascade": [each.name for each in plans["cascade"].own]}
    return found | {each: [stage.name for stage in plans[each].own] for each in CONTROLS.split(",")}


def run_condition(condition: Condition, seed: int, folder: Path) -> Iterator[dict]:
    """Run full training, the cascade, its controls and fine-tuning after it."""
    data = divided()
    cascade = make(folder, condition, seed, data)
    cascade.run(controls=CONTROLS)
    yield from results(cascade, branches(cascade), data)
    tuned = make(folder, condition, seed, data, finetune=True)  # one stage more
    tuned.run()
    yield from results(tuned, {"finetune": [tuned.plan.branches["cascade"].own[-1].name]}, data)


def run_transfer(seed: int, folder: Path) -> Iterator[dict]:
    """Freeze a classifier trained on many images (part A) and train on few others (part B)."""
    condition = Condition("transfer", 4, 0.0, 0.0, 20, 5)
    small = divided(SMALL, skip=500)
    large = make(folder / "a", condition, seed, divided(500))
    large.run()
    plain = make(folder / "b", condition, seed, small)
    plain.run(controls="longer")
    yield from results(plain, {"full": ["full"], "cascade": ["stage1", "stage2"],
                               "longer": ["longer1"]}, small)  # fmt: skip
    moved = make(folder / "moved", condition, seed, small, source=str(folder / "a/full"))
    moved.run(controls="random-top")
    names = {"transfer": ["stage1", "stage2"], "random-top": ["random-top1", "random-top2"]}
    yield from results(moved, names, small)


def experiments() -> dict[str, Callable[[int, Path], Iterator[dict]]]:
    """Return all experiments by name; each yields the lines of one seed."""
    named: dict[str, Callable[[int, Path], Iterator[dict]]] = {
        each.name: (lambda seed, folder, each=each: run_condition(each, seed, folder))
        for each in conditions()
    }
    return named | {"transfer": run_transfer}


def main(words: list[str]) -> None:
    """Run whatever is missing from the results."""
    known = experiments()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", default=",".join(map(str, range(1, 21))), help="1,2,...")
    parser.add_argument("--only", default=",".join(known), help=f"some of {', '.join(known)}")
    parser.add_argument("--exp", type=Path, default=HERE / "exp/sklearn_digits")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results/sklearn_digits.jsonl")
    arguments = parser.parse_args(words)
    unknown = set(arguments.only.split(",")) - set(known)
    if unknown:
        parser.error(f"--only: no {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    torch.set_num_threads(1)
    lines = Lines(arguments.results)
    for seed in map(int, arguments.seeds.split(",")):
        for name in arguments.only.split(","):
            key = {"task": "sklearn_digits", "condition": name, "seed": seed}
            if lines.has(key):
                continue
            found = known[name](seed, arguments.exp / f"{name}_seed{seed}")
            lines.add([key | machine() | each for each in found])
            print(f"{name}, seed {seed}: done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
