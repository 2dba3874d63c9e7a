#!/usr/bin/env bash
# Write utt2dur of a data folder: each utterance's duration in seconds.
# Usage: utils/get_utt2dur.sh [--frame-shift SECONDS] FOLDER
# --help explains what they are computed from and gives an example.
set -euo pipefail

# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python -m cascade_asr.cli.data_dir durations "$@"
