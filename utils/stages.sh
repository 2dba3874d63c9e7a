# To be sourced by the file of a kind of recipe, such as utils/asr.sh: the options
# and the order of stages that recipes of every kind share. The file that sources this
# defines
#   stage_0, stage_1, stage_2, stage_5, stage_6    what these stages do
#   corpus_identity        fills the array inputs with what stage 0 reads: NAME=VALUE, @FILE or
#                          %TREE; what other stages read and write is in
#                          cascade_asr/recipe/files_of_stages.py
#   require_training_data  dies if stage 2 has not been run
#   check_kind_options     dies if one of the kind's own options is wrong
#   declare_kind_paths     names all sets, before any stage
#   stage_names            an array of seven names
# and sets kind_file to its own path.
# shellcheck shell=bash

train_cmd='' training_job_options='' # set by the recipe's cmd.sh, by --cmd
dump=dump                            # folder that training reads
task=                                # text, for language models; none: speech
stage_names=()

# begin options
# Stages to run
stage=0                # first stage
stop_stage=6           # last stage
cascade_stages=all     # cascade stages of stage 4: all, none, or numbers such as 2,3 or 2-4
controls=none          # trained beside the cascade at equal compute: all, or some of
                       # longer,longer-early-stop,continue,best-of-n,bottom-up,random-top,keep
# Resources
ngpu=                  # 0.. GPUs for training; 0 trains on the CPU; none: all there are, one for
                       # a language model
nj=                    # 1.. jobs at the same time; default: one per processor
# shellcheck disable=SC2034
cmd=local              # where jobs run: local; stdout: local, with their output shown; slurm
train_jobs=1           # 1.. trainings that run at once on this machine: seeds, cascade, controls;
                       # each has a share of the GPUs, or --ngpu of them
processes=1            # 1.. training processes per machine, on the CPU
nodes=1                # 1.. machines to train on, with slurm
job_options=           # of training jobs on slurm, such as "--mem 16G --time 8:00:00"
follow=false           # --follow waits for training jobs on slurm, --detach does not
# Experiment
seed=                  # 0.. seed of weights and batches; none: the training configuration's
seeds=                 # several, such as 1,2,3: a folder exp/TAG_seedN for each, and one table
tag=                   # name of the folder exp/TAG; none: the training configuration's name
train_config=conf/train.yaml      # training options
train_args=            # training options that override the file, such as "optim_conf.lr=3e-3 max_epoch=10"
cascade_config=conf/cascade.yaml  # cascade options
# shellcheck disable=SC2034
report_samples=3       # 0.. dev utterances whose attention and CTC alignments the report draws;
                       # 0 does not load the models, which similarity of layers needs too
# end options

# shellcheck source=utils/parse_options.sh
. "$CASCADE_ASR_ROOT/utils/parse_options.sh"
# shellcheck source=utils/done.sh
. "$CASCADE_ASR_ROOT/utils/done.sh"
# shellcheck source=utils/training.sh
. "$CASCADE_ASR_ROOT/utils/training.sh"

run_stages() {
  read_options "$@"
  local number each
  for ((number = stage; number <= stop_stage; number++)); do
    if $detached && ((number > 4)); then
      log "stages $number to $stop_stage need these jobs: --stage $number once they are done"
      return 0
    fi
    if ((number == 3 || number == 4)); then train_at_once "$number"; fi
    for each in "${all_seeds[@]:-$seed}"; do
      use_experiment "$each"
      run_stage "$number"
      if ((number < 3)); then break; fi # data are the same for all seeds
    done
  done
  if ((stop_stage == 6)); then show_results; fi
}

run_stage() {
  local name="stage $1 (${stage_names[$1]})" started=$SECONDS
  stage_number=$1
  if ! must_be_done "$1"; then
    log "$name: already done, skipping"
    return 0
  fi
  log "$name${reason:+: $reason}"
  "stage_$1"
  if $detached; then
    log "$name: submitted"
    return 0
  fi
  record_done "$1"
  log "$name: done in $((SECONDS - started)) s"
}

# The files that a stage needs, or which stage to run first.
require_file() {
  [[ -f $1 ]] || die "stage $stage_number needs $1: run stage $2 first (--stage $2)$(other_choice)"
}

# What else may be wrong where a file is missing; a kind of recipe may say more.
other_choice() { :; }

read_options() {
  # $0 was relative to another folder
  option_files=("./${0##*/}" "$kind_file" "$CASCADE_ASR_ROOT/utils/stages.sh")
  local -a words=()
  while (($#)); do
    case $1 in
      --follow | --detach)
        if [[ ${2-} =~ ^(true|false)$ ]]; then die "$1 takes no value"; fi
        if [[ $1 == --follow ]]; then words+=(--follow=true); else words+=(--follow=false); fi
        ;;
      *) words+=("$1") ;;
    esac
    shift
  done
  parse_options ${words[@]+"${words[@]}"}
  CASCADE_ASR_COMMAND=./${0##*/}
  if ((${#words[@]})); then
    CASCADE_ASR_COMMAND+=$(printf ' %q' "${words[@]}")
  fi
  export CASCADE_ASR_COMMAND # the report shows it
  check_stage_options
  check_folder
  if [[ ${CASCADE_ASR_CHECK_OPTIONS-} == true ]]; then exit 0; fi # asked by run.sh
  declare_paths
}

# Tables name archives by their absolute paths, in which braces are expanded.
check_folder() {
  case $PWD in
    *[{}]*) die "the folder $PWD has a brace in its name, which would be expanded in names of archives; rename it" ;;
    *[[:cntrl:]]*) die "the folder $(printf '%q' "$PWD") has a control character in its name; rename it" ;;
  esac
}

check_stage_options() {
  local name
  for name in stage stop_stage; do
    [[ ${!name} =~ ^[0-6]$ ]] || die "--${name//_/-} ${!name}: expected a stage from 0 to 6"
  done
  ((stage <= stop_stage)) || die "--stage $stage comes after --stop-stage $stop_stage"
  ((nodes == 1)) || [[ $cmd == slurm ]] ||
    die "--nodes $nodes needs --cmd slurm: nothing else would start the other machines' processes"
  [[ $seeds =~ ^((0|[1-9][0-9]{0,8})(,(0|[1-9][0-9]{0,8}))*)?$ ]] || die "--seeds $seeds: expected numbers such as 1,2,3"
  [[ -z $seed || -z $seeds ]] || die "--seed $seed and --seeds $seeds: give one of them"
  [[ -z $(tr ',' '\n' <<<"$seeds" | sort | uniq --repeated) ]] ||
    die "--seeds $seeds: each number once"
  [[ $cmd != slurm || $train_jobs == 1 ]] || die "--train-jobs is for this machine, not for --cmd slurm"
  for name in train_config cascade_config; do
    [[ -f ${!name} ]] || die "--${name//_/-} ${!name}: no such file"
  done
  local word='^[[:space:]]*[A-Za-z_][A-Za-z0-9_.]*='
  [[ -z $train_args || $train_args =~ $word ]] ||
    die "--train-args $train_args: expected KEY=VALUE such as optim_conf.lr=3e-3"
  [[ $tag =~ ^([A-Za-z0-9_][A-Za-z0-9._+-]*)?$ ]] ||
    die "--tag $tag: expected letters, digits and . _ + - only, and a letter, digit or _ first"
  check_kind_options
}

# Everything that a stage reads or writes is named here, before any stage runs.
declare_paths() {
  nj=${nj:-$(nproc)}
  declare_kind_paths
  exp='' # not known yet
  { read -r dump && read -r tag; } < <(about_recipe names --check-options) || exit 1
  # shellcheck source=/dev/null
  . ./cmd.sh
  read -ra all_seeds <<<"${seeds//,/ }"
  use_experiment "${all_seeds[0]:-$seed}"
}

# use_experiment SEED: exp/TAG, or exp/TAG_seedN if --seeds names several
use_experiment() {
  seed=$1
  exp=exp/$tag${seeds:+_seed$seed}
}

# The table of the experiment, or that of all seeds.
show_results() {
  if [[ -z $seeds ]]; then
    cat "$exp/RESULTS.md"
    return
  fi
  local each
  local -a experiments=()
  for each in "${all_seeds[@]}"; do experiments+=("exp/${tag}_seed$each"); done
  python -m cascade_asr.cli.compare seeds --outdir "exp/${tag}_seeds" "${experiments[@]}"
  cat "exp/${tag}_seeds/RESULTS.md"
}
