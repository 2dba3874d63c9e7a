#!/usr/bin/env bash
# From a clone to a result: set up what is missing, then run a recipe.
# Usage: ./run.sh [--recipe NAME] [options of the recipe]
#  e.g.: ./run.sh
#        ./run.sh --stage 4 --ngpu 0
#        ./run.sh --recipe digits --help
#
# Without any option it trains the control `longer` too, without which a cascade's result
# means little: ./run.sh is ./run.sh --controls longer.
#
#   --recipe NAME   which recipe of egs/ to run (default: digits)
#   --help          print this text and the recipe's options
# All other options go to egs/NAME/run.sh. A path among them may be relative to
# the folder you are in; it has to contain a slash (./corpus.tar.gz).
set -euo pipefail

unset CDPATH # a user's own would make cd print, or go elsewhere
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=utils/log.sh
. "$root/utils/log.sh"

# The recipe runs in its own folder: a path that exists here and not there is meant
# from here. Sets `resolved`.
resolve_path() {
  resolved=$1
  local name="" value=$1
  if [[ $value == --*=* ]]; then
    name=${value%%=*}=
    value=${value#*=}
  fi
  if [[ $value == */* && $value != /* && -e $value && ! -e $root/egs/$recipe/$value ]]; then
    resolved=$name$PWD/$value
  fi
}

recipe=digits
help=false
given=()
while (($#)); do
  case $1 in
    --recipe=*) recipe=${1#*=} ;;
    --recipe)
      (($# > 1)) || die "option --recipe needs a value"
      recipe=$2
      shift
      ;;
    --help | -h) help=true ;;
    *) given+=("$1") ;;
  esac
  shift
done
if [[ ! -f $root/egs/$recipe/run.sh ]]; then
  recipes=("$root"/egs/*/run.sh)
  recipes=("${recipes[@]%/run.sh}")
  die "no recipe '$recipe'; there are: ${recipes[*]##*/}"
fi

if $help; then
  sed -n '/^#!/d; /^#/!q; s/^# \{0,1\}//; p' "${BASH_SOURCE[0]}"
  printf '\negs/%s/run.sh:\n' "$recipe"
  cd "$root/egs/$recipe"
  exec ./run.sh --help
fi

options=()
for option in ${given[@]+"${given[@]}"}; do
  resolve_path "$option"
  options+=("$resolved")
done
if [[ $recipe == digits && ${#options[@]} -eq 0 ]]; then options=(--controls longer); fi
if [[ -n ${CORPORA-} && -d $CORPORA ]]; then
  CORPORA=$(cd "$CORPORA" && pwd)
  export CORPORA
fi

if [[ -n ${CASCADE_ASR_ENV-} && $CASCADE_ASR_ENV != /* ]]; then
  export CASCADE_ASR_ENV=$PWD/$CASCADE_ASR_ENV
fi

# A mistake is better told before anything is installed. Recipes that share the stages of
# utils/stages.sh can check their options by themselves, with bash alone.
check_options() {
  if grep -q '^run_stages "$@"' "$root/egs/$recipe/run.sh"; then
    (cd "$root/egs/$recipe" && CASCADE_ASR_CHECK_OPTIONS=true ./run.sh "$@")
  fi
}

check_options ${options[@]+"${options[@]}"}
"$root/utils/setup_env.sh"
cd "$root/egs/$recipe"
exec ./run.sh ${options[@]+"${options[@]}"}
