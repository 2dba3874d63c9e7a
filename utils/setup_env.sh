#!/usr/bin/env bash
# Set up what cascade_asr needs: system tools, and Python packages in .venv.
# Usage: utils/setup_env.sh [options]
#  e.g.: utils/setup_env.sh --tests true
#
# run.sh and tests/run.sh call this; once everything is installed it only checks, and
# it may be interrupted at any time and started again. Three variables override it:
#   CASCADE_ASR_PYTHON   the Python 3.11 or 3.12 to use
#   CASCADE_ASR_TORCH    pip's requirement for torch, for example torch==2.11.0;
#                        otherwise it is the CUDA build if there is an NVIDIA
#                        GPU, and else the CPU build, which is 5 GB smaller
#   CASCADE_ASR_ENV      an existing environment to be used instead of .venv: like
#                        a .venv that is a link, it is checked and never changed
set -euo pipefail

# begin options
tests=false         # also what only tests/run.sh needs
rebuild=false       # make .venv anew, for example after a GPU was added
# end options

root=$(CDPATH='' cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=utils/parse_options.sh
. "$root/utils/parse_options.sh"

torch_version=2.13.0
cpu_wheels=https://download.pytorch.org/whl/cpu
environment=${CASCADE_ASR_ENV:-$root/.venv}
python=$environment/bin/python
state=$environment/.cascade_asr           # says "building" until the end
tests_state=$environment/.cascade_asr_tests
pip_log=$environment/pip.log
requirements=$root/conf/requirements.txt
tests_requirements=$root/tests/requirements.txt
checked=$root/.checked_environment        # one of somebody else's that was found complete

# Variables that users may have set for other projects.
unset PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIRE_VIRTUALENV PIP_DRY_RUN
unset PYTHONHOME PYTHONOPTIMIZE PYTHONIOENCODING
export PYTHONUTF8=1

# Tools are Debian packages; all except sctk contain a command of the same name.
needed_tools=(sox)
useful_tools=(ffmpeg espeak-ng flite)
useful_for="ffmpeg reads compressed sphere audio, espeak-ng and flite speak a corpus without a network"

main() {
  if $tests; then
    needed_tools+=(shellcheck)
    useful_tools+=(sctk munge slurmctld slurmd)
    useful_for+=", sctk is compared with in tests, munge, slurmctld and slurmd run their jobs"
  fi
  lock
  if is_of_others; then
    check_of_others
    exit 0
  fi
  if is_complete; then
    exit 0
  fi
  install_tools
  if $tests; then
    install_browser
  fi
  if ! base_is_complete; then
    build_environment
  fi
  if $tests && ! tests_are_complete; then
    log "installing the packages of the tests"
    pip_install --no-deps -r "$tests_requirements" || die_of_pip "the packages of the tests"
    checksum "$tests_requirements" >"$tests_state.tmp"
    mv "$tests_state.tmp" "$tests_state"
  fi
  log "set-up is complete"
}

# Make a second set-up of this clone wait for the first one to end.
lock() {
  exec 9<"$root"
  flock --nonblock 9 || {
    log "waiting for another set-up of $root"
    flock 9
  }
}

# An environment that this script did not make, or that several clones share.
is_of_others() { [[ -n ${CASCADE_ASR_ENV-} || -L $environment ]]; }

check_of_others() {
  local now packages missing whose="$environment is a link"
  if [[ -n ${CASCADE_ASR_ENV-} ]]; then whose="CASCADE_ASR_ENV names $environment"; fi
  [[ $rebuild == false ]] || die "$whose: it is used as it is; --rebuild is for a .venv made here"
  [[ -x $python ]] || die "$whose: it has no bin/python"
  [[ $(python_version "$python") =~ ^3\.1[12]$ ]] ||
    die "$whose: its Python is $(python_version "$python"), not 3.11 or 3.12"
  local -a lists=("$requirements")
  if $tests; then lists+=("$tests_requirements"); fi
  packages=$(installed_packages)
  now="$environment $(printf '%s' "$packages" | cat - "${lists[@]}" | checksum /dev/stdin)"
  if [[ -z $(missing_of "${needed_tools[@]}") && -f $checked && $(<"$checked") == "$now" ]]; then
    return
  fi
  install_tools
  missing=$(missing_packages "${lists[@]}")
  [[ -z $missing ]] || die "$whose: it lacks $missing; to add them:" \
    "$python -m pip install --no-deps ${lists[*]/#/-r }"
  log "checking that all packages load from $environment"
  PYTHONPATH=$root "$python" -P -W ignore -c "$import_all" "${modules[@]}" ||
    die "$whose: its packages do not load, see above"
  printf '%s' "$now" >"$checked" 2>/dev/null || true # a clone may be read only
}

installed_packages() {
  "$python" -I -c 'from importlib.metadata import distributions
print(sorted({(each.name, each.version) for each in distributions()}))'
}

# missing_packages LIST...: names that are not installed; other versions are reported
missing_packages() {
  "$python" -I -c 'import re, sys
from importlib.metadata import PackageNotFoundError, version
missing = []
for path in sys.argv[1:]:
    for name, wanted in re.findall(r"(?m)^([\w.-]+)==(\S+)", open(path, encoding="utf-8").read()):
        try:
            found = version(name)
        except PackageNotFoundError:
            missing.append(name)
            continue
        if found != wanted:
            print(f"  {name} is {found}; tested with {wanted}", file=sys.stderr)
print(*missing, sep=", ")' "$@"
}

checksum() { sha256sum <"$1" | cut -d ' ' -f 1; }

# A torch chosen by hand is kept until another one is asked for.
chosen_torch() {
  if [[ -n ${CASCADE_ASR_TORCH-} ]]; then
    printf '%s' "$CASCADE_ASR_TORCH"
  elif [[ -f $state ]]; then
    sed -n 's/^chosen torch //p' "$state"
  fi
}

# complete_state CHOSEN: what the state file says when .venv is complete.
complete_state() {
  printf 'requirements %s\ntorch %s\nfolder %s\nchosen torch %s\n' \
    "$(checksum "$requirements")" "$torch_version" "$root" "$1"
}

base_is_complete() {
  [[ $rebuild == false && -x $python && -f $state &&
    $(<"$state") == "$(complete_state "$(chosen_torch)")" ]]
}

tests_are_complete() {
  [[ -f $tests_state && $(<"$tests_state") == "$(checksum "$tests_requirements")" ]]
}

is_complete() {
  local tool
  for tool in "${needed_tools[@]}"; do
    command -v "$tool" >/dev/null || return 1
  done
  base_is_complete && { [[ $tests == false ]] || tests_are_complete; }
}

# Print `sudo -n`, or nothing for root; fail if neither may install packages.
administrator() {
  command -v apt-get >/dev/null || return 1
  if ((EUID == 0)); then
    return 0
  fi
  sudo -n true 2>/dev/null && printf 'sudo -n'
}

# apt_install PACKAGE...: all together, or else each one that is available.
apt_install() {
  local become package
  become=$(administrator) || return 1
  local -a apt=(env DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes
    -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20)
  log "installing with apt-get: $*"
  # shellcheck disable=SC2086  # $become is two words or none
  {
    $become "${apt[@]}" install --no-install-recommends "$@" && return 0
    $become "${apt[@]}" update || true
    $become "${apt[@]}" install --no-install-recommends "$@" && return 0
    for package in "$@"; do
      $become "${apt[@]}" install --no-install-recommends "$package" || true
    done
  } </dev/null >/dev/null 2>&1
}

# Chromium opens the report in tests; its driver's command is named differently from its package.
install_browser() {
  [[ $(missing_of chromium chromedriver) ]] || return 0
  apt_install chromium chromium-driver || true
  if [[ $(missing_of chromium chromedriver) ]]; then
    log "going on without chromium, in which tests open the report; to have it, run:" \
      "sudo apt-get install chromium chromium-driver"
  fi
}

missing_of() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || printf '%s ' "$tool"
  done
}

install_tools() {
  local -a needed useful
  read -ra needed <<<"$(missing_of "${needed_tools[@]}")"
  read -ra useful <<<"$(missing_of "${useful_tools[@]}")"
  ((${#needed[@]} + ${#useful[@]})) || return 0
  apt_install "${needed[@]}" "${useful[@]}" || true
  read -ra needed <<<"$(missing_of "${needed_tools[@]}")"
  read -ra useful <<<"$(missing_of "${useful_tools[@]}")"
  if ((${#needed[@]})); then
    die "missing, and cannot be installed from here: ${needed[*]} ${useful[*]}; please run:" \
      "sudo apt-get install ${needed[*]} ${useful[*]}"
  fi
  if ((${#useful[@]})); then
    log "going on without ${useful[*]} ($useful_for); to have them, run:" \
      "sudo apt-get install ${useful[*]}"
  fi
}

python_version() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

# Set base_python to a Python of a version that works.
find_python() {
  local candidate version seen=""
  for candidate in ${CASCADE_ASR_PYTHON:-python3 python3.12 python3.11 python}; do
    version=$(python_version "$candidate") || continue
    case $version in
      3.11 | 3.12)
        base_python=$candidate
        return 0
        ;;
    esac
    seen+=" $candidate is $version;"
  done
  die "no Python 3.11 or 3.12 found;${seen:- no other version either;} install one" \
    "(sudo apt-get install python3 python3-venv) or name it: CASCADE_ASR_PYTHON=/path/to/python3.11"
}

# An empty virtual environment, with pip. Debian has venv in a separate package.
make_environment() {
  local package
  if ! "$base_python" -c 'import ensurepip, venv' 2>/dev/null; then
    package=python$(python_version "$base_python")-venv
    apt_install "$package" || true
    "$base_python" -c 'import ensurepip, venv' 2>/dev/null ||
      die "Python's module venv is missing; please run: sudo apt-get install $package"
  fi
  if [[ -e $environment && ! -f $state ]]; then
    die "$environment was not made by this script; move it away"
  fi
  # By renaming, so that .venv has its state file at all times.
  rm -rf "$environment.new" "$environment.old"
  mkdir "$environment.new"
  echo building >"$environment.new/${state##*/}"
  if [[ -e $environment ]]; then
    mv "$environment" "$environment.old"
  fi
  mv "$environment.new" "$environment"
  rm -rf "$environment.old"
  log "making $environment with $base_python ($(python_version "$base_python"))"
  run_logged "$base_python" -m venv "$environment" || die_of_pip "a virtual environment"
}

# Run a command with its output in the log, so that Ctrl-C and TERM end it at once.
child=""
run_logged() {
  printf '\n# %s\n' "$*" >>"$pip_log"
  "$@" >>"$pip_log" 2>&1 &
  child=$!
  wait "$child"
}

stop() {
  [[ -z $child ]] || kill "$child" 2>/dev/null || true
  log "interrupted; start it again to continue"
  exit 130
}
trap stop INT TERM HUP

pip_install() {
  run_logged "$python" -m pip install --no-user --no-input --disable-pip-version-check --no-compile "$@"
}

# die_of_pip WHAT [ADVICE]
die_of_pip() {
  tail -n 15 "$pip_log" | sed 's/^/  /' >&2
  die "cannot install $1; the end of $pip_log is above${2:+; $2}"
}

has_gpu() {
  command -v nvidia-smi >/dev/null && [[ $(nvidia-smi -L 2>/dev/null) == *GPU* ]]
}

# install_torch CHOSEN: torch is installed first and separately, because its CPU build is
# not in every package index and pip must not install the CUDA build without a GPU.
install_torch() {
  local chosen=$1 cpu=torch==$torch_version+cpu
  if [[ -n $chosen ]]; then
    log "installing $chosen, chosen by CASCADE_ASR_TORCH"
    pip_install "$chosen" || die_of_pip "$chosen"
  elif has_gpu; then
    log "installing torch $torch_version for the GPU; this downloads several GB"
    pip_install --constraint "$requirements" "torch==$torch_version" ||
      die_of_pip "torch==$torch_version"
  else
    log "installing torch $torch_version for the CPU, about 200 MB"
    pip_install --no-deps --retries 2 "$cpu" ||
      pip_install --no-deps --timeout 15 --retries 1 --index-url "$cpu_wheels" "$cpu" ||
      die_of_pip "$cpu" "start this again when the network is back; with the wheel in a folder \
run: PIP_FIND_LINKS=FOLDER $0 (or, for the CUDA build of several GB: \
CASCADE_ASR_TORCH=torch==$torch_version $0)"
  fi
}

# Our commands, and the modules that they import late, must load before set-up is complete.
modules=(
  cascade_asr.cli.{fbank,dump,tokens,training,decode,join_decoding,report,score}
  espnet2.text.sentencepiece_tokenizer espnet2.torch_utils.initialize
  torch.utils.tensorboard sentencepiece soundfile
)
import_all='import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)'
check_imports() {
  PYTHONPATH=$root run_logged "$python" -P -W ignore -c "$import_all" "${modules[@]}" || die_of_pip "a working set of packages"
}

build_environment() {
  local chosen
  chosen=$(chosen_torch)
  if [[ $rebuild == true || ! -x $python || ! -f $state || $(<"$state") == building ]] ||
    ! grep -qxF "folder $root" "$state"; then
    find_python
    make_environment
  fi
  echo building >"$state"
  install_torch "$chosen"
  log "installing the packages of conf/requirements.txt"
  pip_install --no-deps -r "$requirements" || die_of_pip "the packages of conf/requirements.txt"
  log "checking that all packages load"
  check_imports
  complete_state "$chosen" >"$state.tmp"
  mv "$state.tmp" "$state"
}

# Folders in PYTHONPATH always come before Python's own library.
check_python_path() {
  local folder module
  local -a folders
  IFS=: read -ra folders <<<"${PYTHONPATH-}"
  for folder in ${folders[@]+"${folders[@]}"}; do
    for module in abc argparse asyncio collections copy csv dataclasses enum functools inspect io \
      json logging math multiprocessing os pathlib pickle queue random re select signal socket \
      ssl statistics string struct subprocess tempfile threading time tokenize types typing \
      unittest uuid warnings weakref; do
      if [[ -n $folder && (-f $folder/$module.py || -f $folder/$module/__init__.py) ]]; then
        die "PYTHONPATH has $folder, whose $module hides Python's own; please run: unset PYTHONPATH"
      fi
    done
  done
}

parse_options "$@"
check_python_path
main
