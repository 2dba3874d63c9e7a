"""Which device a training runs on."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import torch

from cascade_asr.errors import ConfigError

if TYPE_CHECKING:  # it takes 1.4 s to import: where there is a Fabric, it is there
    from lightning_fabric import Fabric

logger = logging.getLogger(__name__)


PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def make_fabric(ngpu: int | None, precision: str, processes: int = 1, nodes: int = 1) -> Fabric:
    """Choose device, precision and ranks, and start the ranks.

    Args:
        ngpu: GPUs to use; 0 is the CPU; None takes those that are there.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        processes: ranks on the CPU of a machine, where ``ngpu`` is 0.
        nodes: machines. Slurm's srun starts all ranks, on one machine too; else
            this process starts those of its own machine.

    Raises:
        ConfigError: if there are fewer GPUs than asked for, or no such precision.
    """
    from lightning_fabric import Fabric

    available = torch.cuda.device_count()
    ngpu = available if ngpu is None else ngpu
    if ngpu > available:
        raise ConfigError(
            f"--ngpu {ngpu}: this machine has {available} GPUs; use --ngpu {available}"
        )
    if precision not in PRECISIONS:
        raise ConfigError(
            f"unknown precision '{precision}'; expected 32-true, bf16-mixed or 16-mixed"
        )
    if precision == "16-mixed" and ngpu == 0:
        logger.warning("precision 16-mixed needs a GPU; this training on a CPU uses 32-true")
        precision = "32-true"
    torch.set_flush_denormal(True)  # else gradients near zero slow a CPU down twofold
    if ngpu == 0:  # some gradients would be added up in the order in which threads come
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    warnings.filterwarnings("ignore", message="The `srun` command is available")
    count = ngpu or processes
    fabric = Fabric(
        accelerator="cuda" if ngpu else "cpu",
        devices=count,
        num_nodes=nodes,
        strategy="ddp" if count * nodes > 1 else "auto",
        precision=precision,
    )
    fabric.launch()
    return fabric


def record(fabric: Fabric) -> dict[str, str | int]:
    """The device for ``lineage.json``: in words, and each part by itself.

    ``device_type`` is ``CPU`` or ``GPU``; ``ranks`` are all processes that trained,
    and ``threads`` those of each on the CPU.
    """
    return {
        "device": describe(fabric),
        "device_type": "GPU" if fabric.device.type == "cuda" else "CPU",
        "ranks": fabric.world_size,
        "threads": torch.get_num_threads(),
    }


def describe(fabric: Fabric) -> str:
    """The device in words, for records: a GPU's name or the number of threads."""
    if fabric.device.type == "cuda":
        name = torch.cuda.get_device_name(fabric.device)
        return f"{fabric.world_size} x {name}"
    return f"CPU, {fabric.world_size} x {torch.get_num_threads()} threads"
