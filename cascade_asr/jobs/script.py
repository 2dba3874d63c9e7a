"""The script that Slurm runs for one training."""

from __future__ import annotations

import os
import shlex
import sys

from cascade_asr.files import atomic_write
from cascade_asr.jobs.record import JobFolder, JobRecord

# Where sbatch does not hand the environment on (--export=PATH or NONE in a slurm.conf), Python
# would not find this package.
# srun: steps do not inherit --cpus-per-task from sbatch; the launching node is that of
# rank 0, whose name the others need not know.
TEMPLATE = """\
#!/usr/bin/env bash
# {training} of {experiment}; written by cascade_asr.cli.jobs, started by Slurm, perhaps often
cd {place} || exit
[[ ${{PYTHONPATH-}} == {modules} ]] || export PYTHONPATH={modules} PATH={programs}
terminated=no
trap 'terminated=yes' TERM
jobs=({python} -m cascade_asr.cli.jobs)
attempt=$("${{jobs[@]}}" begin {folder}) || exit
[[ -n $attempt ]] || exit 0
export CASCADE_ASR_ATTEMPT=$attempt
[[ -z ${{SLURM_CPUS_PER_TASK-}} ]] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
srun --export=ALL --kill-on-bad-exit=1 \\
  bash -c 'export MASTER_ADDR=$SLURM_LAUNCH_NODE_IPADDR; exec "$@"' bash \\
  {command}
code=$?
"${{jobs[@]}}" end {folder} --code "$code" --terminated "$terminated"
"""


def write_script(folder: JobFolder, record: JobRecord) -> str:
    """Write job.sh; returns its path."""
    path = folder.path / "job.sh"
    with atomic_write(path) as stream:
        stream.write(
            TEMPLATE.format(
                training=folder.training,
                experiment=shlex.quote(str(folder.experiment)),
                place=shlex.quote(record.place),
                modules=shlex.quote(os.environ.get("PYTHONPATH", "")),
                programs=shlex.quote(os.environ.get("PATH", "")),
                python=shlex.quote(sys.executable),
                folder=shlex.quote(os.path.abspath(folder.path)),
                command=shlex.join(record.command),
            )
        )
    return str(path)
