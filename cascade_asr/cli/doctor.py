"""Check this machine: tools, Python packages, GPU, Slurm, locale, threads, memory, disk.

Examples:
    cascade-asr doctor
    cascade-asr doctor --disk /scratch/exp     # where experiments will be kept
    cascade-asr doctor && ./run.sh             # exit status 1 if something is missing

Each line says ok, note (works, but read it), or MISSING with what to do. Nothing is changed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from cascade_asr import command
from cascade_asr.errors import ConfigError
from cascade_asr.files import toolkit_folder
from cascade_asr.scoring.hub5.hub5 import DEBIAN_FOLDER
from cascade_asr.version import PIP_LINE, TORCH, __version__

OK, NOTE, MISSING = "ok", "note", "MISSING"

# name, arguments to print its version, what it is for, whether recipes need it
TOOLS = (
    ("bash", "--version", "recipes", True),
    ("perl", "-e 'print $^V'", "run.pl and slurm.pl", True),
    ("sox", "--version", "audio other than WAV, speed perturbation", True),
    ("git", "--version", "the code's version in lineage.json", False),
    ("ffmpeg", "-version", "compressed SPHERE audio", False),
    ("espeak-ng", "--version", "a corpus without a network", False),
    ("flite", "--version", "a corpus without a network", False),
    ("sclite", "", "comparison with our scorer", False),
    ("hubscr.pl", "", "eval2000 and rt03", False),
)


@dataclass(frozen=True)
class Finding:
    """One line of the answer."""

    level: str
    name: str
    text: str


def output_of(words: list[str]) -> str:
    """What a program prints; empty if it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=20, check=False, errors="replace"
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout or done.stderr).strip() if done.returncode == 0 else ""


def tools() -> Iterator[Finding]:
    """External programs."""
    for name, option, purpose, needed in TOOLS:
        path = shutil.which(name) or shutil.which(name, path=DEBIAN_FOLDER)  # as scoring finds it
        if path is None:
            advice = f"sudo apt-get install {name}" if needed else ""
            if name in ("sclite", "hubscr.pl"):
                advice = "sudo apt-get install sctk"
            text = f"not found; for {purpose}" + (f"; {advice}" if advice else "")
            yield Finding(MISSING if needed else NOTE, name, text)
            continue
        words = [path, *option.replace("'", "").split(" ", 1)] if option else []
        shown = re.search(r"v?\d+(\.\d+)+", output_of(words)) if words else None
        yield Finding(OK, name, f"{shown[0]} at {path}" if shown else path)


def python() -> Iterator[Finding]:
    """The interpreter and the toolkit itself."""
    version = ".".join(map(str, sys.version_info[:3]))
    tested = sys.version_info[:2] in ((3, 11), (3, 12))
    level = OK if tested else NOTE
    yield Finding(
        level, "python", f"{version} at {sys.executable}" + ("" if tested else "; tested: 3.11, 3.12")
    )
    yield Finding(OK, "cascade_asr", f"{__version__} in {Path(__file__).parents[1]}")
    try:
        yield Finding(OK, "utils, conf", str(toolkit_folder()))
    except ConfigError as error:
        yield Finding(MISSING, "utils, conf", str(error))


def pinned_versions() -> dict[str, str]:
    """Tested version of each package, from conf/requirements.txt."""
    text = (toolkit_folder() / "conf/requirements.txt").read_text(encoding="utf-8")
    return {"torch": TORCH, **dict(re.findall(r"(?m)^([\w.-]+)==(\S+)", text))}


def packages() -> Iterator[Finding]:
    """Installed against tested versions of packages; those that agree share one line."""
    try:
        pinned = pinned_versions()
    except (ConfigError, OSError):
        return
    equal, other, absent = [], [], []
    for name, tested in pinned.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            absent.append(name)
            continue
        if found.partition("+")[0] == tested:
            equal.append(name)
        else:
            other.append(f"{name} {found} (tested: {tested})")
    yield Finding(OK, "packages", f"{len(equal)} of {len(pinned)} as tested")
    if other:
        yield Finding(NOTE, "packages", "other versions: " + ", ".join(other))
    if absent:
        yield Finding(
            MISSING, "packages",
            f"not installed: {', '.join(absent)}; in a clone run utils/setup_env.sh, "
            f"elsewhere: {PIP_LINE}",
        )  # fmt: skip


def gpu() -> Iterator[Finding]:
    """GPUs that the driver shows, and whether the installed torch can use them."""
    cards = [line for line in output_of(["nvidia-smi", "-L"]).splitlines() if "GPU" in line]
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        torch = ""
    if not cards:
        yield Finding(OK, "gpu", "none; training runs on the CPU")
        return
    names = ", ".join(re.sub(r"GPU \d+: | \(UUID.*", "", line) for line in cards)
    if torch.endswith("+cpu"):
        yield Finding(
            NOTE, "gpu", f"{names}; torch {torch} cannot use it: run utils/setup_env.sh --rebuild true"
        )
    else:
        yield Finding(OK, "gpu", f"{len(cards)}: {names}")


def slurm() -> Iterator[Finding]:
    """Whether jobs can be submitted from here."""
    if shutil.which("sbatch") is None:
        yield Finding(OK, "slurm", "none here; --cmd local")
        return
    version = output_of(["sbatch", "--version"]) or "sbatch"
    answer = output_of(["sinfo", "--noheader", "--format=%P"])
    if answer:
        yield Finding(OK, "slurm", f"{version}, partitions {', '.join(answer.split())}")
    else:
        yield Finding(NOTE, "slurm", f"{version}, but sinfo does not answer; --cmd slurm will fail")


def locale() -> Iterator[Finding]:
    """The locale; recipes sort in the C locale and read UTF-8."""
    value = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or "C"
    utf8 = sys.flags.utf8_mode or "utf" in value.lower() or value in ("C", "POSIX")
    text = f"{value}; recipes set LC_ALL=C and read files as UTF-8"
    yield Finding(OK if utf8 else NOTE, "locale", text)


def cgroup_limits() -> tuple[float | None, int | None]:
    """Processors and bytes of memory that the control group allows; None where it sets no limit."""
    processors, memory = None, None
    root = Path("/sys/fs/cgroup")
    try:
        own = next(
            (line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines()
             if line.startswith("0::")), "/",
        )  # fmt: skip
        folder = root / own.lstrip("/")
        if not folder.is_dir():
            folder = root
    except OSError:
        return None, None
    chain = [folder, *folder.parents]
    for each in chain[: chain.index(root) + 1] if root in chain else [root]:
        quota = _words(each / "cpu.max")
        if len(quota) == 2 and quota[0] != "max":
            processors = min(processors or 1e9, int(quota[0]) / int(quota[1]))
        limit = _words(each / "memory.max")
        if limit and limit[0] != "max":
            memory = min(memory or 1 << 62, int(limit[0]))
    return processors, memory


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def threads() -> Iterator[Finding]:
    """Processors, threads and memory that training gets."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processors, memory = cgroup_limits()
    text = f"{usable} of {os.cpu_count()} processors"
    if processors is not None:
        text += f", the control group allows {processors:g}"
    wanted = os.environ.get("OMP_NUM_THREADS")
    text += f", OMP_NUM_THREADS {wanted or 'unset'}"
    allowed = min(usable or 1, processors or 1e9)
    too_many = (int(wanted) if (wanted or "").isdigit() else usable or 1) > max(allowed, 1)
    if too_many:
        text += f"; more threads than processors are slow: export OMP_NUM_THREADS={max(int(allowed), 1)}"
    yield Finding(NOTE if too_many else OK, "threads", text)
    total = next((int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo")
                  if line.startswith("MemAvailable")), None)  # fmt: skip
    if total is not None:
        text = f"{total / 1e9:.1f} GB available"
        if memory is not None and memory < 1 << 60:
            text += f", the control group allows {memory / 1e9:.1f} GB"
        least = min(total, memory or total)
        yield Finding(OK if least > 2e9 else NOTE, "memory", text)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def disk(folder: Path) -> Iterator[Finding]:
    """Free space where experiments and temporary files go."""
    for name, place in (("disk", folder), ("temporary", Path(os.environ.get("TMPDIR", "/tmp")))):
        try:
            free = shutil.disk_usage(place).free
        except OSError as error:
            yield Finding(MISSING, name, f"{place}: {error.strerror}")
            continue
        writable = os.access(place, os.W_OK)
        text = f"{free / 1e9:.1f} GB free in {place.resolve()}"
        if not writable:
            text += "; not writable"
        yield Finding(OK if writable and free > 5e9 else NOTE, name, text)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--disk", type=Path, default=Path(), metavar="FOLDER",
        help="folder where experiments will be kept; default: the current folder",
    )  # fmt: skip
    arguments = parser.parse_args()
    findings = [
        *python(), *packages(), *tools(), *gpu(), *slurm(), *locale(), *threads(),
        *disk(arguments.disk),
    ]  # fmt: skip
    for each in findings:
        print(f"{each.level:<8}{each.name:<13}{each.text}")
    missing = [each.name for each in findings if each.level == MISSING]
    print(f"missing: {', '.join(missing)}" if missing else "nothing is missing")
    return 1 if missing else 0


if __name__ == "__main__":
    command.run(main)
