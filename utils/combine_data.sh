#!/usr/bin/env bash
# Combine data folders; an id with two different values is an error.
# Usage: utils/combine_data.sh DESTINATION SOURCE...
# --help explains the options and gives an example.
set -euo pipefail

# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python -m cascade_asr.cli.data_dir combine "$@"
