"""What a stage writes beside its weights: where they come from, and that it is done."""

from __future__ import annotations

import dataclasses
import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from cascade_asr.cascade.plan import StagePlan
from cascade_asr.files import atomic_write, file_digest, write_json
from cascade_asr.networks.layer import Layer
from cascade_asr.training import checkpoint
from cascade_asr.training.finished import DoneStage, code_version, remove_leftovers
from cascade_asr.training.freezing import tensor_digest
from cascade_asr.training.protocols import CascadeModel
from cascade_asr.training.state import FitResult, work_of


@dataclass(frozen=True)
class Lineage:
    """Where a stage's weights come from.

    Attributes:
        plan: what was frozen, re-initialised and trained.
        source: the stage whose weights were taken over; None for full training.
        digest: digest of everything that decided the result.
        data: digest of the data.
        result: result of the training.
        devices: what it ran on, from `training.device.record`.
    """

    plan: StagePlan
    source: DoneStage | None
    digest: str
    data: str
    result: FitResult
    devices: dict[str, Any]

    def write(
        self,
        directory: Path,
        model: CascadeModel,
        fingerprints: dict[str, str],
        origin: dict[str, Any] | None = None,
    ) -> None:
        """Write ``lineage.json`` and, last, ``done.json``.

        Args:
            directory: the stage's folder, with its ``model.pth``.
            model: the trained model.
            fingerprints: fingerprints of the frozen tensors.
            origin: where a model that was trained elsewhere came from.
        """
        plan, source, result = self.plan, self.source, self.result
        sha256 = file_digest(directory / "model.pth")
        write_json(
            directory / "lineage.json",
            {
                "stage": plan.number,
                "title": plan.title,
                "source": None if source is None else str(source.directory),
                "source_model_sha256": source.model_sha256 if source else None,
                "model_sha256": sha256,
                "frozen_layers": [layer.name for layer in plan.frozen],
                "trained_layers": [layer.name for layer in plan.trained],
                "reinitialised": plan.is_reinitialised and plan.number > 0,
                "reset_layers": [layer.name for layer in plan.reset],
                "random_top": plan.is_random_frozen,
                "frozen_fingerprints": fingerprints,
                "seed": plan.seed,
                "config": self.digest,
                "data": self.data,
                "code": code_version(),
                "torch": torch.__version__,
                **self.devices,
                "finished": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
                **dataclasses.asdict(result),
                **_work(model, plan, result),
                **(origin or {}),
            },
        )
        write_json(
            directory / "done.json",
            {
                "stage": plan.number,
                "digest": self.digest,
                "model_sha256": sha256,
                "metrics": result.metrics,
                "seconds": result.seconds,
                "cpu_seconds": result.cpu_seconds,
                "updates": result.updates,
                "frames": result.frames,
                **({"convergence": result.convergence} if result.convergence else {}),
            },
        )
        remove_leftovers(directory)


def _work(model: CascadeModel, plan: StagePlan, result: FitResult) -> dict[str, int]:
    """What the training computed; see `training.state.Work`."""
    sizes = {name: each.numel() for name, each in model.named_parameters()}
    # full training may have tied weights while the stages' layers are untied
    layers = [
        (sum(sizes.get(name, 0) for name in each.layer.parameters), each.is_trained)
        for each in plan.layers
    ]
    return dataclasses.asdict(work_of(layers, result.updates, result.frames))


def fingerprint_on_disk(path: Path, layers: tuple[Layer, ...]) -> dict[str, str]:
    """Fingerprints of the frozen tensors in the file that later stages will read."""
    weights = checkpoint.load(path)
    names = [name for layer in layers for name in (*layer.parameters, *layer.buffers)]
    return {name: tensor_digest(weights[name]) for name in names}


def write_config(path: Path, plan: StagePlan, given: str = "") -> None:
    """Write the options of a training as ``config.yaml``.

    Args:
        path: path of the file.
        plan: plan of the training.
        given: training options of the command line, as written.
    """
    with atomic_write(path) as stream:
        if given:
            stream.write(f"# --train-args {' '.join(given.split())}\n")
        yaml.safe_dump(dataclasses.asdict(plan.config), stream, sort_keys=False)
