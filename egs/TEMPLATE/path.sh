# To be sourced: the environment of this recipe, and where the toolkit is. In order: the
# clone that the recipe lies in (egs/NAME), the toolkit whose cascade-asr is in PATH, and
# the one that made this recipe. The next two lines are filled in by cascade-asr new-recipe.
# shellcheck shell=bash
_made_by=''
_made_with=''
_recipe=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd -P)
if [[ -f $_recipe/../../path.sh && -f $_recipe/../../utils/asr.sh ]]; then
  _toolkit=$_recipe/../..
elif command -v cascade-asr >/dev/null; then
  _toolkit=$(cascade-asr path)
else
  _toolkit=$_made_by
  if [[ -n $_made_with ]]; then export CASCADE_ASR_ENV=${CASCADE_ASR_ENV:-$_made_with}; fi
fi
if [[ ! -f $_toolkit/path.sh ]]; then
  printf 'error: the toolkit is not found%s; put its cascade-asr into PATH, for example with . CLONE/path.sh\n' \
    "${_toolkit:+: $_toolkit is gone}" >&2
  # shellcheck disable=SC2317 # only where this file is run instead of sourced
  return 1 2>/dev/null || exit 1
fi
# shellcheck source=path.sh
. "$_toolkit/path.sh"
unset _made_by _made_with _recipe _toolkit
