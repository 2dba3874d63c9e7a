#!/usr/bin/env bash
# Set up what is missing, then check all bash scripts and run the tests.
# Usage: tests/run.sh [options of pytest] [test files]
#  e.g.: tests/run.sh
#        tests/run.sh -x tests/unit/test_data_dir.py
#        tests/run.sh tests/slurm
# Without a test file it runs all but tests/slurm, which starts a private Slurm and
# injects faults into it for minutes.
set -euo pipefail

if [[ ${1-} == --help || ${1-} == -h ]]; then
  sed -n '/^#!/d; /^#/!q; s/^# \{0,1\}//; p' "${BASH_SOURCE[0]}"
  exit 0
fi
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.."
utils/setup_env.sh --tests true
# shellcheck source=path.sh
. ./path.sh

mapfile -t scripts < <(find . -type d \( -name '.venv*' -o -name .git -o -path './egs/*/data' \
  -o -path './egs/*/dump' -o -path './egs/*/exp' -o -path './egs/*/downloads' \) -prune \
  -o -type f \( -name '*.sh' -o -path ./.ci/run \) -print | sort)
shellcheck --external-sources "${scripts[@]}"

# A process a processor, of one thread; a file's tests stay together, because they share fixtures.
targets=(tests --ignore=tests/slurm --numprocesses auto --dist loadfile)
for argument in "$@"; do
  if [[ -e ${argument%%::*} ]]; then
    targets=()
  fi
done
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec python -m pytest ${targets[@]+"${targets[@]}"} "$@"
