#!/usr/bin/env bash
# Unite data folders; one id with two values is an error.
# Usage: utils/combine_data.sh DESTINATION SOURCE...
# --help explains the options and gives an example.
set -euo pipefail

# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python -m cascade_asr.cli.data_dir combine "$@"
