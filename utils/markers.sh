# To be sourced. Markers of finished work: what it was made from, what it left.
#
#   marker_is_fresh FILE INPUT...   true if FILE says that the same inputs were used
#                                   and its outputs are unchanged; else the reason is
#                                   in marker_reason (empty where there is no FILE)
#   marker_write FILE OUTPUT...     after the work; with the inputs of the last check
#   marker_remove FILE              before the work
#   marker_update NAME INPUT...     after the work, for an input that only the work itself
#                                   can tell: the value that it has among INPUT...
# An INPUT is NAME=VALUE; or @PATH, a file of which the content counts; or %PATH, a file
# or a folder of any size: what is small counts by its content, what is large by the
# names, sizes and times of its files. A %PATH that is no longer there, such as a disc that
# is not mounted, is no change: nothing else could be read from it.
# shellcheck shell=bash disable=SC2034 # marker_reason is for the caller

declare -a _marker_inputs=()
_marker_small_bytes=$((64 * 1024 * 1024)) # read in less than a second
_marker_small_files=5000

# marker_tree PATH: print what stands for the state of a file or of a folder.
marker_tree() {
  local path=$1 sum count bytes
  if [[ ! -e $path ]]; then
    printf 'gone'
    return
  fi
  read -r count bytes < <(find -L "$path" -type f -printf '%s\n' 2>/dev/null |
    awk '{ bytes += $1 } END { printf "%d %.0f\n", NR, bytes }')
  if ((count <= _marker_small_files && bytes <= _marker_small_bytes)); then
    read -r sum _ < <(_marker_contents "$path" | sha256sum)
  else
    read -r sum _ < <(find -L "$path" -type f -printf '%P\t%s\t%T@\0' 2>/dev/null |
      LC_ALL=C sort --zero-terminated | sha256sum)
  fi
  printf '%s' "$sum"
}

# Names below a folder do not depend on where it lies: a corpus may be moved.
_marker_contents() {
  if [[ -d $1 ]]; then
    (
      CDPATH='' cd -- "$1" || exit
      { find -L . -type f -print0 2>/dev/null || true; } | LC_ALL=C sort --zero-terminated |
        xargs --null --no-run-if-empty sha256sum 2>/dev/null || true
    )
  else
    sha256sum <"$1" || true
  fi
}

# Print one line for each input; a file that is not there counts as absent.
_marker_describe() {
  local input sum
  for input in "$@"; do
    if [[ $input == %* ]]; then
      printf 'input %s=%s\n' "${input#%}" "$(marker_tree "${input#%}")"
    elif [[ $input == @* ]]; then
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
    if [[ $new == gone && $old != absent ]]; then continue; fi
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

marker_update() {
  local name=$1 line index
  while IFS= read -r line; do
    [[ ${line%%=*} == "input $name" ]] || continue
    for index in "${!_marker_inputs[@]}"; do
      [[ ${_marker_inputs[index]%%=*} != "input $name" ]] || _marker_inputs[index]=$line
    done
  done < <(_marker_describe "${@:2}")
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
