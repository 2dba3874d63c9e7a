#!/usr/bin/env bash
# Describe a faster or slower copy of a data folder, with sox pipes.
# Usage: utils/perturb_data_dir_speed.sh FACTOR SOURCE DESTINATION
# --help explains the options and gives an example.
set -euo pipefail

# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python -m cascade_asr.cli.data_dir perturb-speed "$@"
