# To be sourced by bash or zsh, from anywhere (a recipe's path.sh sources this one). Environment
# only: which python and which tools are meant, and the sort order of Kaldi tables.
# shellcheck shell=bash

CASCADE_ASR_ROOT=$(CDPATH='' cd -P "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd -P)
export CASCADE_ASR_ROOT
# Lists of folders are split at colons, and lines of tables at the ends of lines.
case $CASCADE_ASR_ROOT in
  *:*) _character="a colon (PATH and PYTHONPATH are split there)" ;;
  *[{}]*) _character="a brace (names of archives are expanded there)" ;;
  *[[:cntrl:]]*) _character="a line break or another control character" ;;
  *$'\xe2\x80\xa8'* | *$'\xe2\x80\xa9'* | *$'\xc2\x85'*)
    _character="a line separator (U+2028, U+2029 or U+0085)"
    ;;
  *) _character="" ;;
esac
if [[ -n $_character ]]; then
  printf 'error: the folder %q has %s in its name; please move or rename it\n' \
    "$CASCADE_ASR_ROOT" "$_character" >&2
  # shellcheck disable=SC2317 # only where this file is run instead of sourced
  return 1 2>/dev/null || exit 1
fi
if [[ -n ${CASCADE_ASR_ENV-} && $CASCADE_ASR_ENV != /* ]]; then
  printf 'error: CASCADE_ASR_ENV=%s: expected an absolute path\n' "$CASCADE_ASR_ENV" >&2
  # shellcheck disable=SC2317
  return 1 2>/dev/null || exit 1
fi
_environment=${CASCADE_ASR_ENV:-$CASCADE_ASR_ROOT/.venv}
case ":$PATH:" in
  *":$_environment/bin:$CASCADE_ASR_ROOT/utils:"*) ;;
  *) export PATH="$_environment/bin:$CASCADE_ASR_ROOT/utils:$PATH" ;;
esac
# Folders of the user's own stay, but behind the packages of the environment, which they
# would hide otherwise.
_own_path=$CASCADE_ASR_ROOT
if [[ -n ${PYTHONPATH-} && $PYTHONPATH != "$CASCADE_ASR_ROOT" && -d $_environment/lib ]]; then
  for _packages in "$_environment"/lib/python3*/site-packages; do
    if [[ -d $_packages ]]; then _own_path+=:$_packages; fi
  done
fi
case "${PYTHONPATH-}:" in
  "$_own_path:"*) ;;
  *) export PYTHONPATH="$_own_path${PYTHONPATH:+:$PYTHONPATH}" ;;
esac
unset _character _environment _own_path _packages
# Another Python's library; and the options' help texts are docstrings, which it removes.
unset PYTHONHOME PYTHONOPTIMIZE
# Python takes UTF-8 for its files, whatever the locale says.
export LC_ALL=C PYTHONUTF8=1
unset PYTHONIOENCODING
