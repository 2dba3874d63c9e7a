#!/usr/bin/env bash
# List everything that is wrong with a data folder; exit status 1 on any fault.
# Usage: utils/validate_data_dir.sh [--no-wav] [--no-text] [--no-feats] FOLDER
# --help explains the options and gives an example.
set -euo pipefail

# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python -m cascade_asr.cli.data_dir validate "$@"
