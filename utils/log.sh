# To be sourced. One way to log and one way to fail, for all scripts:
#   log MESSAGE...   one line on stderr with the time and the script's name
#   die MESSAGE...   the same, marked as an error; then exit 1
# shellcheck shell=bash

log() { printf '%s %s: %s\n' "$(date '+%Y-%m-%d %H:%M:%S')" "${0##*/}" "$*" >&2; }

die() {
  local mark="error:"
  if [[ -t 2 && -z ${NO_COLOR-} && ${TERM-dumb} != dumb ]]; then mark=$'\e[1;31merror:\e[0m'; fi
  log "$mark $*"
  exit 1
}
