#!/usr/bin/env bash
# Stage 0 of egs/swbd: data folders from LDC's corpora.
#
#   local/data.sh --swbd DIR --eval2000 "DIR DIR" --outdir data \
#     --sets train_nodup train_dev eval2000
#
# All options go to prepare_swbd.py, whose --help lists them.
set -euo pipefail

exec python "$(dirname "${BASH_SOURCE[0]}")/prepare_swbd.py" "$@"
