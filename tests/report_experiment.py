"""An experiment as stages 1 to 5 would leave it, with recognised texts drawn at random."""

from __future__ import annotations

import json
import random
from pathlib import Path

from cascade_asr.data.kaldi.tables import write_table
from cascade_asr.files import write_json

WORDS = "zero one two three four five six seven eight nine </script> <b>".split()
LAYERS = ["encoder.conv1", "encoder.rnn0", "encoder.rnn1", "classifier"]
# more errors from training to training but the second one, which dev does not select
CHANCES = (0.10, 0.05, 0.12, 0.14, 0.16, 0.18)


def make_experiment(
    root: Path, trainings: int = 6, sets: int = 2, utterances: int = 200, words: int = 8
) -> list[str]:
    """Write ``dump`` and ``exp`` into a folder; the last two trainings are a control.

    Returns:
        Names of the test sets.
    """
    names = ["full", *(f"stage{number}" for number in range(1, trainings - 2)), "longer1"]
    draw = random.Random(1)
    test_sets = [f"test{number}" for number in range(1, sets + 1)]
    for test_set in test_sets:
        _write_set(root, test_set, names, draw, utterances, words)
    entries = []
    for number, name in enumerate(names):
        folder = root / "exp" / name
        write_json(folder / "lineage.json", _lineage(number, name, names))
        (folder / "config.yaml").write_text(f"optim: adam\noptim_conf:\n  lr: 0.0{number + 1}\n")
        _write_history(folder / "history.jsonl", number)
        entries.append({"name": name, "title": f"{name}: a title", "value": 10.0 + number,
                        "kept": number == 0})  # fmt: skip
    control = {"title": "longer training", "selected": "longer1", "complete": True,
               "stages": [entries[0], entries[-1]]}  # fmt: skip
    write_json(root / "exp/selection.json", {
        "metric": "wer_ctc", "mode": "min", "selected": "full", "stages": entries[:-1],
        "complete": True, "controls": {"longer": control},
    })  # fmt: skip
    return test_sets


def _write_set(
    root: Path, test_set: str, names: list[str], draw: random.Random, utterances: int, words: int
) -> None:
    reference = {
        f"spk{number % 7}-{test_set}-{number:05d}": draw.choices(WORDS, k=draw.randint(1, 2 * words))
        for number in range(utterances)
    }
    folder = root / "dump" / test_set
    folder.mkdir(parents=True)
    write_table(folder / "text", {key: " ".join(text) for key, text in reference.items()})
    write_table(folder / "utt2spk", {key: key.split("-")[0] for key in reference})
    rows = [f"{key}\t{key.split('-')[0]}\t100\tx:1\t1 2 3\n" for key in reference]
    (folder / "manifest.tsv").write_text("".join(rows))
    for name, chance in zip(names, CHANCES, strict=False):
        decoded = root / "exp" / name / f"decode_{test_set}"
        decoded.mkdir(parents=True)
        texts = {key: " ".join(_heard(text, chance, draw)) for key, text in reference.items()}
        write_table(decoded / "text", texts)


def _heard(text: list[str], chance: float, draw: random.Random) -> list[str]:
    heard = []
    for word in text:
        if draw.random() >= chance:
            heard.append(word)
        else:
            heard += draw.choice([[], [draw.choice(WORDS)], [word, draw.choice(WORDS)]])
    return heard


def _lineage(number: int, name: str, names: list[str]) -> dict:
    cut = 0 if name in ("full", "longer1") else number
    return {
        "stage": number, "title": name, "source": f"exp/{names[number - 1]}" if cut else None,
        "frozen_layers": LAYERS[::-1][:cut], "trained_layers": LAYERS[: len(LAYERS) - cut],
        "reinitialised": bool(cut), "reset_layers": [], "random_top": False, "seed": number,
        "model_sha256": f"{number}" * 64, "code": "x", "torch": "2", "device": "CPU",
        "config": "abc", "finished": f"2026-01-0{number + 1}T00:00:00+00:00", "epochs": 3,
        "updates": 300, "frames": 3000, "seconds": 9.0, "cpu_seconds": 9.0, "ranks": 1,
    }  # fmt: skip


def _write_history(path: Path, number: int) -> None:
    entries = []
    for epoch in (1, 2, 3):
        update = 100 * epoch
        entries.append({"split": "train", "epoch": epoch, "update": update, "loss": 9, "lr": 0.1})
        for split in ("train_epoch", "valid"):
            entries.append({"split": split, "epoch": epoch, "update": update,
                            "loss": 9.0 / epoch + number, "wer_ctc": 40.0 / epoch})  # fmt: skip
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
