#!/usr/bin/env bash
# Make a data folder of some utterances of another.
# Usage: utils/subset_data_dir.sh [--first|--last|--shortest|--per-spk|--speakers] SOURCE N DESTINATION
# --help explains the options and gives an example.
set -euo pipefail

# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python -m cascade_asr.cli.data_dir subset "$@"
