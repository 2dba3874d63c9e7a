#!/usr/bin/env bash
# Stage 0 of egs/an4: data folders train_nodev, train_dev and test.
#
#   local/data.sh --outdir data [--an4 DIR|ARCHIVE | --an4-mfcc DIR|ARCHIVE]
#
# All options go to prepare_an4.py, whose --help lists them.
set -euo pipefail

exec python "$(dirname "${BASH_SOURCE[0]}")/prepare_an4.py" "$@"
