# To be sourced. Options for bash scripts: log, die and parse_options.
#
# A script lists its options once, in a block that is ordinary bash (it sets the
# defaults), the help text and the list of accepted names at the same time:
#
#   # begin options
#   # A comment in the first column is a heading in the help.
#   stage=0                  # first stage to run
#   speed_perturb=false      # true|false: a boolean takes nothing else
#   cmd="run.pl --mem 4G"    # how jobs are run; a longer text continues
#                            # in indented comment lines
#   # end options
#   . utils/parse_options.sh
#   parse_options "$@"
#
# A whole number is declared by its bounds at the beginning of its comment, `1..` or
# `0..99:`; nothing else is then accepted, except that an option without a default may be
# empty:
#   nj=8                     # 1.. jobs at the same time
#
# parse_options accepts --name VALUE and --name=VALUE with dashes or underscores
# and assigns VALUE literally: nothing in it is ever executed or split.
#   --help, -h     prints the script's leading comment and all options, exits 0
#   --config FILE  reads lines `name=value` or `--name value` as data; the
#                  command line takes precedence over the file
# An unknown option, a missing value and a stray argument are errors.
#
# What a script may set before the call:
#   option_files=(FILE...)   files whose option blocks count (default: the script)
#   positional_usage=TEXT    arguments that are not options are accepted and put
#                            into the array `arguments`
#
# A script that does not call parse_options sources this file as Kaldi's scripts do:
#
#   nj=4
#   . utils/parse_options.sh
#
# Every variable that is set by then is an option. Options end at the first word that is
# not an option, which then begins "$@"; --help prints $help_message.
#
# Every variable here begins with _option, so that none can hide one of the script's.
# shellcheck shell=bash

# shellcheck source=utils/log.sh
. "$(dirname "${BASH_SOURCE[0]}")/log.sh"

declare -a _option_names=() _option_layout=()
declare -A _option_help=() _option_boolean=() _option_default=() _option_bounds=()
_option_largest=4294967295 # where no upper bound is declared
# The value in a line of a block, with its quotes, then its comment.
_option_line='^([A-Za-z][A-Za-z0-9_]*)=(("[^"]*"|'\''[^'\'']*'\''|[^"'\''#[:space:]]|[[:space:]]+[^#[:space:]])*)[[:space:]]*(#[[:space:]]*(.*))?$'

# Read one file's option blocks into _option_names, _option_help and _option_layout.
_option_read_block() {
  local _option_text _option_inside=false _option_number=0 _option_last=""
  [[ -r $1 ]] || die "cannot read the options of $1"
  _option_layout+=("file $1")
  while IFS= read -r _option_text || [[ -n $_option_text ]]; do
    _option_number=$((_option_number + 1))
    case $_option_text in
      "# begin options"*) _option_inside=true; continue ;;
      "# end options"*) _option_inside=false; continue ;;
    esac
    $_option_inside || continue
    if [[ $_option_text =~ ^[[:space:]]*(#[[:space:]]*shellcheck[[:space:]].*)?$ ]]; then
      continue
    elif [[ $_option_text =~ ^#[[:space:]]*(.*)$ ]]; then
      _option_layout+=("heading ${BASH_REMATCH[1]}")
    elif [[ $_option_text =~ ^[[:space:]]+#[[:space:]]*(.*)$ && -n $_option_last ]]; then
      _option_help[$_option_last]+=" ${BASH_REMATCH[1]}"
    elif [[ $_option_text =~ $_option_line ]]; then
      _option_last=${BASH_REMATCH[1]}
      _option_declare "$_option_last" "${BASH_REMATCH[2]}" "${BASH_REMATCH[5]}" "$1:$_option_number"
    else
      die "$1:$_option_number: expected 'name=value  # help' or '# end options', found: $_option_text"
    fi
  done <"$1"
  ! $_option_inside || die "$1: '# begin options' without '# end options'"
}

# _option_declare NAME TEXT HELP WHERE: the default shown is the variable's value
# if it is set, else the text in the block. Of two blocks, the first one counts.
_option_declare() {
  [[ $1 != config && $1 != help ]] || die "$4: the option --$1 is taken by parse_options"
  [[ -z ${_option_default[$1]+set} ]] || return 0
  _option_names+=("$1")
  _option_layout+=("option $1")
  _option_help[$1]=$3
  _option_default[$1]=${!1-$2}
  if [[ $3 =~ ^([0-9]+)\.\.([0-9]*)[[:space:]]+(.*)$ ]]; then
    _option_bounds[$1]="${BASH_REMATCH[1]} ${BASH_REMATCH[2]:-$_option_largest} ${2:+needed}"
    _option_help[$1]=${BASH_REMATCH[3]}
  fi
  if [[ ${_option_default[$1]} =~ ^(true|false)$ ]]; then
    _option_boolean[$1]=yes
  fi
}

_option_print_help() {
  local _option_entry _option_rest _option_shown
  # The script's leading comment, without the line that names the interpreter.
  sed -n '/^#!/d; /^# shellcheck /d; /^#/!q; s/^# \{0,1\}//; p' "${option_files[0]}"
  for _option_entry in "${_option_layout[@]}"; do
    _option_rest=${_option_entry#* }
    case $_option_entry in
      file\ *) printf '\nOptions of %s:\n' "$_option_rest" ;;
      heading\ *) printf ' %s\n' "$_option_rest" ;;
      option\ *)
        _option_shown=${_option_default[$_option_rest]:-none}
        printf '  --%-24s %s (default: %s)\n' \
          "${_option_rest//_/-}" "${_option_help[$_option_rest]}" "$_option_shown"
        ;;
    esac
  done
  printf '\nCommon options:\n'
  printf '  --%-24s %s\n' config "file of 'name=value' lines; the command line takes precedence" \
    help "print this text and exit"
}

# Print "; did you mean --name?" for the known option nearest to $1, if one is near.
_option_nearest() {
  local -a _option_words=("$1" "${_option_names[@]}" config help)
  PYTHONPATH=$(dirname "${BASH_SOURCE[0]}")/.. python3 -c 'import sys; from cascade_asr.errors import nearest
print(nearest(sys.argv[1], sys.argv[2:]).replace("\x27", "--", 1).replace("\x27", ""), end="")' \
    "${_option_words[@]//_/-}" 2>/dev/null || true # before set-up there may be no Python
}

# _option_check NAME WRITTEN PREFIX: NAME must be a known option.
_option_check() {
  [[ $1 =~ ^[A-Za-z][A-Za-z0-9_]*$ && -n ${_option_default[$1]+set} ]] ||
    die "$3unknown option $2$(_option_nearest "$1"); '$0 --help' lists all options"
}

# _option_assign NAME VALUE PREFIX: set the script's variable, literally.
_option_assign() {
  if [[ -n ${_option_boolean[$1]-} && $2 != true && $2 != false ]]; then
    die "$3option --${1//_/-} takes true or false, not '$2'"
  fi
  if [[ -n ${_option_bounds[$1]-} ]]; then _option_check_bounds "$1" "$2" "$3"; fi
  printf -v "$1" '%s' "$2"
}

# _option_check_bounds NAME VALUE PREFIX: a whole number, in plain digits
_option_check_bounds() {
  local _option_low _option_high _option_needed _option_words
  read -r _option_low _option_high _option_needed <<<"${_option_bounds[$1]}"
  [[ -n $2 || $_option_needed == needed ]] || return 0
  _option_words="$_option_low or more"
  if ((_option_high < _option_largest)); then _option_words="$_option_low to $_option_high"; fi
  [[ $2 =~ ^(0|[1-9][0-9]{0,11})$ && $2 -ge _option_low && $2 -le _option_high ]] ||
    die "$3option --${1//_/-} '$2': expected a whole number, $_option_words"
}

# Apply a file of `name=value`, `--name=value` and `--name value` lines as data.
# A value may be quoted, and the quotes are removed; otherwise ' #' starts a comment.
_option_read_config() {
  local _option_text _option_number=0 _option_key _option_value _option_where
  [[ -f $1 && -r $1 ]] || die "option --config: cannot read the file '$1'"
  while IFS= read -r _option_text || [[ -n $_option_text ]]; do
    _option_number=$((_option_number + 1))
    _option_where="$1:$_option_number: "
    _option_text=${_option_text%$'\r'}
    [[ ! $_option_text =~ ^[[:space:]]*(#|$) ]] || continue
    if [[ $_option_text =~ ^[[:space:]]*--([A-Za-z0-9_-]+)([[:space:]]+|=)(.*)$ ]]; then
      _option_value=${BASH_REMATCH[3]}
    elif [[ $_option_text =~ ^[[:space:]]*([A-Za-z0-9_-]+)(=)(.*)$ ]]; then
      _option_value=${BASH_REMATCH[3]}
    else
      die "${_option_where}expected 'name=value' or '--name value', found: $_option_text"
    fi
    _option_key=${BASH_REMATCH[1]//-/_}
    _option_check "$_option_key" "--${BASH_REMATCH[1]}" "$_option_where"
    if [[ $_option_value =~ ^\"([^\"]*)\"[[:space:]]*(#.*)?$ ||
      $_option_value =~ ^\'([^\']*)\'[[:space:]]*(#.*)?$ ]]; then
      _option_value=${BASH_REMATCH[1]}
    else
      [[ ! $_option_value =~ ^(|.*[[:space:]])#.*$ ]] || _option_value=${_option_value%%[[:space:]]#*}
      _option_value=${_option_value%"${_option_value##*[![:space:]]}"}
    fi
    _option_assign "$_option_key" "$_option_value" "$_option_where"
  done <"$1"
}

parse_options() {
  local _option_file _option_key _option_given _option_value _option_index
  local -a _option_keys=() _option_values=() _option_configs=()
  [[ -n ${option_files+set} ]] || local -a option_files=("$0")
  _option_names=() _option_layout=() _option_help=() _option_boolean=() _option_default=() _option_bounds=()
  for _option_file in "${option_files[@]}"; do _option_read_block "$_option_file"; done
  declare -ga arguments=()

  while (($#)); do
    _option_given=$1
    shift
    case $_option_given in
      --help | -h) _option_print_help; exit 0 ;;
      --) arguments+=("$@"); break ;;
      --*) ;;
      -?*) die "unknown option $_option_given; options begin with two dashes, '$0 --help' lists them" ;;
      *) arguments+=("$_option_given"); continue ;;
    esac
    _option_key=${_option_given#--}
    _option_key=${_option_key%%=*}
    _option_key=${_option_key//-/_}
    [[ $_option_key == config ]] || _option_check "$_option_key" "${_option_given%%=*}" ""
    if [[ $_option_given == *=* ]]; then
      _option_value=${_option_given#*=}
    else
      [[ $# -gt 0 && $1 != --* ]] || die "option $_option_given needs a value" \
        "(one that begins with two dashes is written $_option_given=VALUE)"
      _option_value=$1
      shift
    fi
    if [[ $_option_key == config ]]; then
      _option_configs+=("$_option_value")
    else
      _option_keys+=("$_option_key")
      _option_values+=("$_option_value")
    fi
  done

  if [[ -z ${positional_usage-} && ${#arguments[@]} -gt 0 ]]; then
    die "unexpected argument '${arguments[0]}'; options begin with two dashes, '$0 --help' lists them"
  fi
  for _option_file in ${_option_configs[@]+"${_option_configs[@]}"}; do
    _option_read_config "$_option_file"
  done
  for _option_index in "${!_option_keys[@]}"; do
    _option_assign "${_option_keys[_option_index]}" "${_option_values[_option_index]}" ""
  done
}

# Whether the script that sources this file leaves parsing to it, as Kaldi's scripts do.
_option_is_kaldi_script() {
  [[ -f $1 ]] && ! grep -Eq '^[^#]*\bparse_options([^.A-Za-z_]|$)' "$1"
}

# Parse as Kaldi does; set _option_taken to the number of words that were options.
_option_parse_kaldi() {
  local _option_given _option_key _option_value _option_index
  local -a _option_words=("$@") _option_keys=() _option_values=()
  _option_taken=0
  while ((_option_taken < ${#_option_words[@]})); do
    _option_given=${_option_words[_option_taken]}
    case $_option_given in
      --help | -h)
        # Escapes such as \n are interpreted, as by Kaldi.
        if [[ -n ${help_message-} ]]; then printf '%b\n' "$help_message"; else
          sed -n '/^#!/d; /^# shellcheck /d; /^#/!q; s/^# \{0,1\}//; p' "$0"
        fi
        exit 0
        ;;
      --) _option_taken=$((_option_taken + 1)); break ;;
      --*) ;;
      *) break ;;
    esac
    _option_key=${_option_given#--}
    _option_key=${_option_key%%=*}
    _option_key=${_option_key//-/_}
    [[ $_option_key == config ]] || _option_check_kaldi "$_option_key" "${_option_given%%=*}" ""
    _option_taken=$((_option_taken + 1))
    if [[ $_option_given == *=* ]]; then
      _option_value=${_option_given#*=}
    else
      ((_option_taken < ${#_option_words[@]})) || die "option $_option_given needs a value"
      _option_value=${_option_words[_option_taken]}
      _option_taken=$((_option_taken + 1))
    fi
    if [[ $_option_key == config ]]; then
      _option_read_config "$_option_value"
    else
      _option_keys+=("$_option_key")
      _option_values+=("$_option_value")
    fi
  done
  for _option_index in ${_option_keys[@]+"${!_option_keys[@]}"}; do # after all files
    _option_assign "${_option_keys[_option_index]}" "${_option_values[_option_index]}" ""
  done
  [[ -z ${cmd+set} || -n $cmd ]] || die "option --cmd is empty"
}

# _option_check_kaldi NAME WRITTEN PREFIX: NAME must be a variable that is set.
_option_check_kaldi() {
  [[ $1 =~ ^[A-Za-z][A-Za-z0-9_]*$ && ! $1 =~ ^(BASH|SHELL|PATH|HOME|IFS|EUID|UID|PPID) && -n ${!1+set} ]] ||
    die "$3unknown option $2; '$0 --help' lists all options"
  _option_default[$1]=${_option_default[$1]-${!1}}
  if [[ ${_option_default[$1]} =~ ^(true|false)$ ]]; then _option_boolean[$1]=yes; fi
}

if _option_is_kaldi_script "${BASH_SOURCE[1]-}"; then
  _option_check() { _option_check_kaldi "$@"; }
  _option_parse_kaldi "$@"
  shift "$_option_taken"
fi
