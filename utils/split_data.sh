#!/usr/bin/env bash
# Split a data folder into FOLDER/splitN/1..N.
# Usage: utils/split_data.sh [--per-utt|--per-reco] FOLDER N
# --help explains the options and gives an example.
set -euo pipefail

# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python -m cascade_asr.cli.data_dir split "$@"
