"""The device that a training runs on."""

from __future__ import annotations

import atexit
import logging
import os
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from cascade_asr.data.loader import die_with_parent
from cascade_asr.errors import ConfigError
from cascade_asr.networks.fast.switch import VARIABLE, is_fast
from cascade_asr.training import processors
from cascade_asr.training.fencing import Fence

if TYPE_CHECKING:  # importing it takes 1.4 s, which commands without training should not spend
    from lightning_fabric import Fabric

logger = logging.getLogger(__name__)

PARAMETERS_A_THREAD = 5_000_000
MOST_THREADS = "CASCADE_ASR_MOST_THREADS"  # set when trainings run side by side
SHARE = "CASCADE_ASR_SHARE"  # then also "3/4" for the third of those of which four run at once
FIRST_RANK = "CASCADE_ASR_FIRST_RANK"  # process id of the rank that starts the others of its machine
FITTED = "CASCADE_ASR_FITTED_THREADS"  # set for ranks started here, not by users


PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def check_counts(ngpu: int | None, processes: int, nodes: int, threads: int | None = None) -> None:
    """Refuse meaningless numbers of devices.

    Raises:
        ConfigError: naming each of them.
    """
    problems = [
        f"--{name} {value}: expected {least} or more"
        for name, value, least in (
            ("ngpu", ngpu, 0), ("processes", processes, 1), ("nodes", nodes, 1),
            ("threads", threads, 1),
        )
        if value is not None and value < least
    ]  # fmt: skip
    if problems:
        raise ConfigError("; ".join(problems))


def set_threads(ranks: int, threads: int | None = None) -> None:
    """Decide, once, the largest number of threads per process, and log it.

    The sums of a gradient depend on this number, so it must not change by itself.
    ``OMP_NUM_THREADS`` comes first, then ``--threads``, else the processors that this
    process may use, shared among the ranks of this machine; then `fit_threads` lowers it.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given:
        if threads is not None and given.split(",")[0].strip() != str(threads):
            logger.warning("--threads %d has no effect: OMP_NUM_THREADS=%s is set", threads, given)
        return
    allowed = processors.allowed()
    limit = int(os.environ.get(MOST_THREADS) or allowed.count)
    count = threads or max(1, min(limit, allowed.count) // ranks)
    torch.set_num_threads(count)
    os.environ["OMP_NUM_THREADS"] = str(count)  # for the other ranks
    if threads:
        logger.info("%d threads per process (--threads)", count)
        return
    os.environ[FITTED] = str(count)
    if count > 1:
        logger.info(
            "up to %d threads per process (%d processors: %s), one for every %d million parameters "
            "of a network; --threads or OMP_NUM_THREADS sets another number",
            count, allowed.count, allowed.reason, PARAMETERS_A_THREAD // 10**6,
        )  # fmt: skip


def fit_threads(fabric: Fabric, network: nn.Module) -> None:
    """Compute with fewer threads if a network is small, unless the user has set their number.

    Threads that wait for each other after every small operation can be up to four times
    slower than a single one (docs/performance.md). The number depends on the network, not
    on the load of the machine, so that a training can be repeated bit for bit.

    Args:
        fabric: on GPUs nothing changes.
        network: frozen parameters count too, so all stages of a cascade have as many threads.
    """
    most = os.environ.get(FITTED)
    if most is not None and fabric.device.type == "cpu":
        parameters = sum(each.numel() for each in network.parameters())
        torch.set_num_threads(max(1, min(int(most), parameters // PARAMETERS_A_THREAD)))


def fit_ranks(fabric: Fabric, network: nn.Module) -> None:
    """Let a rank be without gradients for blocks that it skips in an update.

    Otherwise PyTorch ends a training whose rank has none for a weight. Each rank draws by
    itself what it skips; gradients of a block are summed over those that did not.

    Args:
        fabric: before its ``setup`` of the network; with one rank nothing changes.
        network: modules that may skip something have an attribute ``skips_blocks``.
    """
    if fabric.world_size > 1:
        skips = any(getattr(each, "skips_blocks", False) for each in network.modules())
        # Fabric takes this only when it is made, which is before the network
        fabric.strategy._ddp_kwargs["find_unused_parameters"] = skips


def _environment(processes: int, nodes: int) -> dict[str, Any]:
    """How the ranks find each other, as options of Fabric: through Slurm only in our own jobs.

    Raises:
        ConfigError: for several machines, if nothing starts the processes of the others.
    """
    from lightning_fabric.plugins.environments import (
        LightningEnvironment,
        SLURMEnvironment,
        TorchElasticEnvironment,
    )

    if Fence.from_environment() is not None or TorchElasticEnvironment.detect():
        return {}
    by_hand = {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK"} <= set(os.environ)
    if nodes > 1 and not by_hand:
        raise ConfigError(
            f"--nodes {nodes}: nothing starts the processes of the other machines; use "
            "--cmd slurm, or start it on each with MASTER_ADDR, MASTER_PORT and NODE_RANK set"
        )
    if SLURMEnvironment.detect():
        logger.info(
            "inside Slurm job %s, which cascade-asr did not submit: this training starts its %d "
            "process(es) itself, on this machine",
            os.environ.get("SLURM_JOB_ID", "?"),
            processes,
        )
    return {"plugins": [LightningEnvironment()]}


def own_gpus(ngpu: int | None, available: int) -> list[int] | None:
    """Which GPUs a training takes that runs beside others (`SHARE`); None if it does not.

    Args:
        ngpu: number of GPUs that was asked for; None is an equal share, and at least one.
        available: number of GPUs of this machine.
    """
    number, _, at_once = os.environ.get(SHARE, "").partition("/")
    if not at_once or not available:
        return None
    count = max(1, available // int(at_once)) if ngpu is None else ngpu
    first = (int(number) - 1) * count
    return [(first + index) % available for index in range(min(count, available))]


def single(ngpu: int | None) -> int | None:
    """What `make_fabric` should be given where one process does all the work.

    Args:
        ngpu: number of GPUs that was asked for; None becomes 1, or 0 if there is none.
    """
    return min(torch.cuda.device_count(), 1) if ngpu is None else ngpu


def make_fabric(
    ngpu: int | None,
    precision: str,
    processes: int = 1,
    nodes: int = 1,
    threads: int | None = None,
) -> Fabric:
    """Choose device, precision and ranks, and start the ranks.

    Args:
        ngpu: number of GPUs; 0 is the CPU; None takes all that exist, or an equal share of
            them beside other trainings (`own_gpus`).
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        processes: ranks per machine on the CPU, if ``ngpu`` is 0.
        nodes: number of machines. In our own Slurm jobs srun starts all ranks, even on
            a single machine; otherwise this process starts those of its own machine.
        threads: threads of each process; None for as many as there are processors (see
            `fit_threads`).

    Raises:
        ConfigError: if there are fewer GPUs than asked for, the precision is unknown,
            or a number is meaningless.
    """
    from lightning_fabric import Fabric

    check_counts(ngpu, processes, nodes, threads)
    available = torch.cuda.device_count()
    own = own_gpus(ngpu, available)
    if ngpu is None:
        ngpu = available if own is None else len(own)
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
    if ngpu == 0:  # some gradients would be summed in the order in which threads finish
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    warnings.filterwarnings("ignore", message="The `srun` command is available")
    count = ngpu or processes
    set_threads(count, threads)
    if not is_fast():
        logger.info("%s is set: operations take their plain form, which is slower", VARIABLE)
    fabric = Fabric(
        accelerator="cuda" if ngpu else "cpu",
        devices=own if own and ngpu else count,
        num_nodes=nodes,
        strategy="ddp" if count * nodes > 1 else "auto",
        precision=precision,
        **_environment(count, nodes),
    )
    if "LOCAL_RANK" not in os.environ:
        os.environ[FIRST_RANK] = str(os.getpid())
    fabric.launch()
    if fabric.world_size > 1:
        atexit.register(_leave_group)
    return fabric


def _leave_group() -> None:
    """End the threads by which the ranks talk; gloo's would abort a program that ends with them."""
    if torch.distributed.is_initialized() and torch.distributed.get_backend() == "gloo":
        torch.distributed.destroy_process_group()


def end_with_first_rank(fabric: Fabric) -> None:
    """Let this process end at once when the rank that has started it ends, as by a kill.

    Otherwise it may wait for that one, and keep its GPU, for minutes. Only for programs whose
    ranks have nothing left to do when the first one ends.
    """
    if fabric.local_rank > 0 and os.environ.get(FIRST_RANK) == str(os.getppid()):
        die_with_parent()


def record(fabric: Fabric) -> dict[str, str | int]:
    """The device for ``lineage.json``: in words, and each part separately.

    ``device_type`` is ``CPU`` or ``GPU``; ``ranks`` counts all processes that trained,
    and ``threads`` those of each process on the CPU.
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
