#!/usr/bin/env bash
# Sort a data folder and keep the utterances that all its tables have.
# Usage: utils/fix_data_dir.sh [--utt-extra-files "NAME ..."] [--spk-extra-files "NAME ..."] FOLDER
# --help explains the options and gives an example.
set -euo pipefail

# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python -m cascade_asr.cli.data_dir fix "$@"
