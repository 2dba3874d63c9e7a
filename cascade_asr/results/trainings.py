"""Lineage, layers and curves of an experiment's trainings, for its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cascade_asr.cascade.names import CASCADE
from cascade_asr.files import read_json
from cascade_asr.results import compute
from cascade_asr.training.finished import read_lineage, source_within
from cascade_asr.training.history import read_history

POINTS = 400  # of a curve; longer curves are thinned evenly to this many
FILES = ("model.pth", "lineage.json", "config.yaml", "history.jsonl", "scores.json",
         "perplexity.json")  # fmt: skip
KEPT = ("seed", "epochs", "updates", "frames", "seconds", "flops", "parameters",
        "trained_parameter_updates", "device", "finished", "code", "torch", "model_sha256",
        "config", "host", "convergence")  # fmt: skip


def read_trainings(directory: Path) -> list[dict[str, Any]]:
    """Read every finished training once, full training and the cascade first."""
    selection = read_json(directory / "selection.json")
    branches = {CASCADE: selection, **selection.get("controls", {})}
    found: dict[str, dict[str, Any]] = {}
    for branch, content in branches.items():
        for entry in content["stages"]:
            if entry["name"] not in found:
                found[entry["name"]] = _training(directory, branch, entry)
            if entry["name"] == content["selected"]:
                found[entry["name"]]["selected_in"].append(branch)
    return list(found.values())


def _training(directory: Path, branch: str, entry: dict) -> dict[str, Any]:
    name = entry["name"]
    record = read_lineage(directory / name)
    return {
        "name": name,
        "title": entry["title"],
        "branch": "full" if name == "full" else branch,
        "dev": entry["value"],
        "kept": entry["kept"],
        "selected_in": [],
        "source": source_within(directory, record) or record.get("source"),
        "layers": layer_states(record),
        "processor_seconds": compute.processor_seconds(record),
        "processor": compute.device_type(record),
        "disturbed": compute.disturbance(record),
        **{key: record.get(key) for key in KEPT},
        "links": _links(directory, name),
    }


def layer_states(record: dict[str, Any]) -> list[dict[str, str]]:
    """Each layer of a training, bottom to top, with its state.

    ``frozen``: taken from the source and not trained; ``random``: new weights, not trained;
    ``new``: new weights, trained; ``kept``: taken from the source and trained further.
    """
    fresh = not record.get("source") or record.get("reinitialised")
    reset = set(record.get("reset_layers") or ())
    untouched = "random" if record.get("random_top") else "frozen"
    trained = [
        {"name": name, "state": "new" if fresh or name in reset else "kept"}
        for name in record["trained_layers"]
    ]
    frozen = [{"name": name, "state": untouched} for name in record["frozen_layers"]]
    return trained + frozen


def order_layers(trainings: list[dict[str, Any]]) -> None:
    """Put the layers of trainings that have full training's layers into its order."""
    order = [layer["name"] for layer in trainings[0]["layers"]]
    for training in trainings[1:]:
        names = {layer["name"] for layer in training["layers"]}
        if names == set(order):
            training["layers"].sort(key=lambda layer: order.index(layer["name"]))


def _links(directory: Path, name: str) -> list[str]:
    """The existing files of a training, relative to the experiment's folder."""
    folder = directory / name
    paths = [folder / each for each in FILES if (folder / each).is_file()]
    for decoded in sorted(folder.glob("decode_*")):
        paths += [decoded / "text"] if (decoded / "text").is_file() else []
        paths += sorted(decoded.glob("score_*/result.txt"))
        paths += sorted(decoded.glob("score_*/changes.tsv"))
        paths += sorted(decoded.glob("score_hub5/*/*.dtl"))
    return [str(path.relative_to(directory)) for path in paths]


def curves_of(directory: Path, names: list[str]) -> dict[str, dict[str, list[list[float]]]]:
    """Points (update, value) by training, then by ``dev loss``, ``train loss``, ``lr``."""
    return {name: _curves(directory / name / "history.jsonl") for name in names}


def _curves(path: Path) -> dict[str, list[list[float]]]:
    lines: dict[str, list[list[float]]] = {}
    for entry in read_history(path):
        split = {"valid": "dev", "train_epoch": "train"}.get(entry["split"])
        for key, value in entry.items():
            if key in ("split", "epoch", "update") or not isinstance(value, (int, float)):
                continue
            if split is not None:
                lines.setdefault(f"{split} {key}", []).append(_point(entry, value))
            elif key == "lr":
                lines.setdefault("lr", []).append(_point(entry, value))
    return {name: thinned(points) for name, points in lines.items()}


def _point(entry: dict, value: float) -> list[float]:
    return [entry["update"], float(f"{value:.5g}")]


def thinned(points: list[list[float]]) -> list[list[float]]:
    """At most `POINTS` of them, evenly spaced, including the first and the last."""
    if len(points) <= POINTS:
        return points
    step = (len(points) - 1) / (POINTS - 1)
    return [points[round(index * step)] for index in range(POINTS)]
