#!/usr/bin/env bash
# Stage 0 of egs/digits: data folders of connected digits from FSDD.
#
#   local/data.sh --outdir data --seed 1 [--fsdd DIR|ARCHIVE]
#
# All options go to prepare_digits.py, whose --help lists them.
set -euo pipefail

exec python "$(dirname "${BASH_SOURCE[0]}")/prepare_digits.py" "$@"
