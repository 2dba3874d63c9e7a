#!/usr/bin/env bash
# Stage 0 of egs/wsj: data folders from LDC's discs.
#
#   local/data.sh --wsj0 DIR --wsj1 DIR --outdir data --sets train_si284 test_dev93 test_eval92
#
# All options go to prepare_wsj.py, whose --help lists them.
set -euo pipefail

exec python "$(dirname "${BASH_SOURCE[0]}")/prepare_wsj.py" "$@"
