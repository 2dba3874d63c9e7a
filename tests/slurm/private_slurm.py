"""A private Slurm: started for a test, on the loopback, stopped by process id.

It needs Debian's packages slurm-wlm and munge, no configuration of the machine
and no particular user. Everything it writes is in one folder. As a plugin of pytest
it has two clusters that all tests of a session share.

PYTEST_DONT_REWRITE: a plugin that tests import too.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
SEARCH_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

CONFIGURATION = """\
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmctldParameters=enable_configless
SlurmdParameters=config_overrides
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/completed
SchedulerParameters=batch_sched_delay=0,sched_min_interval=200000
KillWait=5
SlurmctldTimeout=20
SlurmdTimeout=20
MessageTimeout=10
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MailProg=/bin/true
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def missing_programs() -> list[str]:
    """Which programs of Slurm are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=SEARCH_PATH) is None]


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def is_alive(process: int) -> bool:
    """Whether a process exists and runs, and is not just a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds: float, what: str, interval: float = 0.1):
    """Return the condition's value once it is true; fail with ``what`` after a time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(interval)
    return value


class PrivateSlurm:
    """Daemons of a small cluster, and an environment in which its commands work.

    Args:
        nodes: machines to pretend, n1, n2, …
        cpus: processors that each one claims.
        memory_mb: memory that each one claims.
    """

    def __init__(self, nodes: int = 1, cpus: int = 4, memory_mb: int = 4000) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm.", dir="/tmp"))
        self.folder.chmod(0o711)
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.environment = {
            **{name: value for name, value in os.environ.items() if name[:6] != "SLURM_"},
            "PATH": SEARCH_PATH,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
        }
        self._write_configuration(cpus, memory_mb)

    @property
    def variables(self) -> dict[str, str]:
        """The environment that makes Slurm's commands use this cluster."""
        return {"SLURM_CONF": self.environment["SLURM_CONF"]}

    def _write_configuration(self, cpus: int, memory_mb: int) -> None:
        controller_port, *node_ports = free_ports(1 + len(self.nodes))
        host = socket.gethostname().split(".")[0]
        lines = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} "
            f"RealMemory={memory_mb} State=UNKNOWN"
            for node, port in zip(self.nodes, node_ports, strict=True)
        ]
        for name in ("munge", "state"):
            (self.folder / name).mkdir(mode=0o711)
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=host,
                controller_port=controller_port,
                user=getpass.getuser(),
                folder=self.folder,
                nodes="\n".join(lines),
            )
        )
        key = self.folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)

    # ---- daemons ----------------------------------------------------------

    def start(self) -> PrivateSlurm:
        """Start everything and wait until the nodes are idle."""
        munge = self.folder / "munge"
        self.run(
            "munged", f"--key-file={munge}/key", f"--socket={munge}/socket",
            f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed",
        )  # fmt: skip
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        self.wait_for_nodes()
        return self

    def start_controller(self, *options: str) -> None:
        """Start slurmctld and wait until it answers."""
        self.run("slurmctld", *options)
        wait_until(
            lambda: "is UP" in self.run("scontrol", "ping", check=False).stdout, 20, "slurmctld"
        )

    def start_node(self, node: str) -> None:
        """Start one slurmd."""
        self.run("slurmd", "-N", node)

    def wait_for_nodes(self) -> None:
        """Wait until every node takes jobs."""

        def states() -> set[str]:
            return set(self.run("sinfo", "-h", "-N", "-o", "%t", check=False).stdout.split())

        wait_until(lambda: states() and states() <= {"idle", "mix", "alloc"}, 40, "idle nodes")

    def pid_file(self, name: str) -> Path:
        """Of ``slurmctld``, ``munged``, or a node."""
        if name == "munged":
            return self.folder / "munge" / "pid"
        return self.folder / ("slurmctld.pid" if name == "slurmctld" else f"slurmd.{name}.pid")

    def kill(self, name: str, number: int = signal.SIGTERM) -> None:
        """Signal one daemon and wait until it is gone."""
        path = self.pid_file(name)
        with suppress(FileNotFoundError, ProcessLookupError):
            process = int(path.read_text())
            os.kill(process, number)
            wait_until(lambda: not is_alive(process), 20, f"the end of {name}")
        path.unlink(missing_ok=True)

    def stop(self) -> None:
        """Cancel all jobs, stop the daemons, remove the folder."""
        with suppress(AssertionError, subprocess.TimeoutExpired):
            self.run("scancel", "--full", "--signal=KILL", *self.job_ids(), check=False)
            self.run("scancel", *self.job_ids(), check=False)
            wait_until(lambda: not self.job_ids(), 15, "the end of all jobs")
        for name in (*self.nodes, "slurmctld", "munged"):
            self.kill(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def save_state(self, job: str) -> None:
        """Wait until the controller has saved a job as it is now.

        A controller that is killed before forgets the job and gives its number to another;
        a node that still knows the number then refuses that one and is drained.
        """
        mark, path = secrets.token_hex(8), self.folder / "state" / "job_state"
        self.run("scontrol", "update", f"jobid={job}", f"comment={mark}")
        wait_until(
            lambda: path.is_file() and mark.encode() in path.read_bytes(), 30, "the saved state"
        )

    def forget_all_jobs(self) -> None:
        """What a controller does, by and by, with each job that has ended."""
        self.kill("slurmctld")
        self.start_controller("-c")

    def impatient(self) -> str:
        """A slurm.conf for a command that gives up on the controller after 3 s, not 10 s."""
        path = self.folder / "impatient.conf"
        text = (self.folder / "slurm.conf").read_text()
        path.write_text(text.replace("MessageTimeout=10", "MessageTimeout=3"))
        return str(path)

    # ---- commands ---------------------------------------------------------

    def run(self, *command: str, check: bool = True, **options) -> subprocess.CompletedProcess:
        """Run a command in the cluster's environment."""
        options = {"timeout": 60, "env": self.environment, **options}
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False, **options
        )
        if check:
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def job_ids(self) -> list[str]:
        """Ids of all jobs that have not ended."""
        return self.run("squeue", "-h", "-o", "%A", check=False).stdout.split()

    def jobs_named(self, name: str) -> list[str]:
        """Ids of all jobs of a name that the controller still knows."""
        return self.run("squeue", "-h", "-t", "all", "-o", "%A", f"--name={name}").stdout.split()

    def state(self, job: str) -> str:
        """State of a job, such as RUNNING; empty once it is forgotten."""
        done = self.run("squeue", "-h", "-t", "all", "-j", job, "-o", "%T", check=False)
        return done.stdout.strip()


def started(**options) -> Iterator[PrivateSlurm]:
    """A cluster for the length of a fixture; without the packages a loud skip."""
    if missing := missing_programs():
        reason = f"not installed: {', '.join(missing)}; apt-get install slurm-wlm munge"
        warnings.warn(f"NOTHING OF SLURM IS TESTED: {reason}", stacklevel=1)
        pytest.skip(reason)
    slurm = PrivateSlurm(**options)
    try:
        yield slurm.start()
    finally:
        slurm.stop()


@pytest.fixture(scope="session")
def cluster() -> Iterator[PrivateSlurm]:
    """One node with 8 processors and 8 GB, to which nothing happens."""
    yield from started(cpus=8, memory_mb=8000)


@pytest.fixture(scope="session")
def two_nodes() -> Iterator[PrivateSlurm]:
    """Another cluster, where the controller and nodes may be lost and jobs may be preempted."""
    yield from started(nodes=2, cpus=2, memory_mb=3000)
