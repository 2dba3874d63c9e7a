#!/usr/bin/env bash
# Stage 0 of egs/librispeech: data folders of LibriSpeech's parts.
#
#   local/data.sh --outdir data --train train_100=train-clean-100 ... [--librispeech DIR]
#
# All options go to prepare_librispeech.py, whose --help lists them.
set -euo pipefail

exec python "$(dirname "${BASH_SOURCE[0]}")/prepare_librispeech.py" "$@"
