# To be sourced: the environment of this recipe.
# shellcheck shell=bash
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]:-$0}")/../../path.sh"
