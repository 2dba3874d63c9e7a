# To be sourced. Markers of finished work: what it was made from, what it left.
#
#   marker_is_fresh FILE INPUT...   true if FILE says that the same inputs were used
#                                   and its outputs are unchanged; else the reason is
#                                   in marker_reason (empty where there is no FILE)
#   marker_write FILE OUTPUT...     after the work; with the inputs of the last check
#   marker_remove FILE              before the work
# An INPUT is NAME=VALUE or @PATH, of which the content counts.
# shellcheck shell=bash disable=SC2034 # marker_reason is for the caller

declare -a _marker_inputs=()

# Print one line for each input; a file that is not there counts as absent.
_marker_describe() {
  local input sum
  for input in "$@"; do
    if [[ $input == @* ]]; then
      if [[ -f ${input#@} ]]; then
        read -r sum _ < <(sha256sum <"${input#@}")
        printf 'input %s=%s\n' "${input#@}" "$sum"
      else
        printf 'input %s=absent\n' "${input#@}"
      fi
    else
      printf 'input %s\n' "$input"
    fi
  done
}

marker_prepare() {
  mapfile -t _marker_inputs < <(_marker_describe "$@")
}

marker_is_fresh() {
  local file=$1 line name old new
  shift
  marker_reason=""
  marker_prepare "$@"
  [[ -f $file ]] || return 1
  local -A before=() now=()
  while IFS= read -r line; do
    case $line in
      input\ *) line=${line#input } && before[${line%%=*}]=${line#*=} ;;
      output\ *)
        if ! sha256sum --check --status <<<"${line#output }" 2>/dev/null; then
          marker_reason="${line##* } was changed or removed; running again"
          return 1
        fi
        ;;
    esac
  done <"$file"
  for line in "${_marker_inputs[@]}"; do
    line=${line#input }
    name=${line%%=*} new=${line#*=}
    old=${before[$name]-absent} now[$name]=$new
    if [[ $old != "$new" ]]; then
      if [[ ${#old} == 64 || ${#new} == 64 ]]; then
        marker_reason="$name has changed; running again"
      else
        marker_reason="$name was '$old', now '$new'; running again"
      fi
      return 1
    fi
  done
  for name in "${!before[@]}"; do
    if [[ -z ${now[$name]+given} ]]; then
      marker_reason="no longer made from $name; running again"
      return 1
    fi
  done
}

marker_remove() { rm -f "$1"; }

marker_write() {
  local file=$1
  shift
  mkdir -p "$(dirname "$file")"
  {
    printf '%s\n' "${_marker_inputs[@]}"
    if (($#)); then sha256sum -- "$@" | sed 's/^/output /'; fi
  } >"$file.tmp"
  mv "$file.tmp" "$file"
}
