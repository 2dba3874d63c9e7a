"""How many processors this process may use, which is seldom all of the machine's."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Allowed:
    """A number of processors, and what limits it.

    Attributes:
        count: 1 or more.
        reason: ``affinity``, ``cgroup quota`` or ``Slurm``.
    """

    count: int
    reason: str


def allowed() -> Allowed:
    """The smallest of the affinity mask, the quota of the control group, and Slurm's share."""
    limits = [Allowed(_affinity(), "affinity")]
    quota = cgroup_quota(Path("/proc/self/cgroup"), CGROUPS)
    if quota is not None:
        limits.append(Allowed(max(1, math.floor(quota)), "cgroup quota"))
    share = os.environ.get("SLURM_CPUS_ON_NODE", "")
    if share.isdigit() and int(share) > 0:
        limits.append(Allowed(int(share), "Slurm"))
    return min(limits, key=lambda limit: limit.count)


def _affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def cgroup_quota(membership: Path, root: Path) -> float | None:
    """Number of processors that this process's control groups allow; None without a limit.

    Args:
        membership: ``/proc/self/cgroup``.
        root: where control groups of version 1 or 2 are mounted.
    """
    quotas = []
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:  # version 2
            quotas += [_quota_v2(each / "cpu.max") for each in _ancestors(root, group)]
        elif "cpu" in controllers.split(","):
            for mount in (root / controllers, root / "cpu"):
                quotas += [_quota_v1(each) for each in _ancestors(mount, group)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _ancestors(mount: Path, group: str) -> list[Path]:
    """Folders of a group and of all groups containing it; a container may see only the last."""
    inner = mount / group.strip("/")
    return [inner, *(each for each in inner.parents if each.is_relative_to(mount))]


def _quota_v2(path: Path) -> float | None:
    try:
        quota, period = path.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
