# To be sourced by what a kind of recipe is made of, such as utils/asr.sh: the options
# and the machinery that recipes of every kind share. Who sources this
# defines
#   stage_0, stage_1, stage_2, stage_5, stage_6    what these stages do
#   describe_stage N       fills the arrays inputs (NAME=VALUE or @FILE, what decides the
#                          result) and outputs (what it leaves behind), which must both be
#                          unchanged for a stage to be skipped; for stages 3 and 4 only
#                          the data that their trainings read
#   require_training_data  dies where stage 2 has not been run
#   check_kind_options     dies where an option of its own is wrong
#   declare_kind_paths     names all files, before any stage; may set dump, the folder that
#                          training reads, and kind_tag, which joins an experiment's name
#   is_of_this_kind EXP    where kind_tag is set: whether EXP is what it would tell apart
#   stage_names            an array of seven names
# and sets kind_file to its own path.
# shellcheck shell=bash

train_cmd='' training_job_options='' # set by the recipe's cmd.sh, by --cmd
dump=dump kind_tag=''                # a kind may have others: see declare_kind_paths
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
ngpu=                  # 0.. GPUs for training; 0 trains on the CPU; none: those there are
nj=                    # 1.. jobs at the same time; default: one per processor
# shellcheck disable=SC2034
cmd=local              # where jobs run: local; stdout: local, with their output shown; slurm
train_jobs=1           # 1.. trainings at the same time on this machine: seeds, cascade, controls
processes=1            # 1.. training processes of a machine, on the CPU
nodes=1                # 1.. machines to train on, with slurm
job_options=           # of training jobs on slurm, such as "--mem 16G --time 8:00:00"
follow=false           # --follow waits for training jobs on slurm, --detach does not
# Experiment
seed=                  # 0.. of weights and batches; none: the training configuration's
seeds=                 # several, such as 1,2,3: each its own folder exp/TAG_seedN, one table
tag=                   # name of the folder exp/TAG; none: the training configuration's name
train_config=conf/train.yaml      # training options
train_args=            # training options over that file, such as "optim_conf.lr=3e-3 max_epoch=10"
cascade_config=conf/cascade.yaml  # cascade options
# shellcheck disable=SC2034
report_samples=3       # 0.. dev utterances whose attention and CTC alignments the report draws;
                       # 0 does not load the models, which similarity of layers needs too
# end options

# shellcheck source=utils/parse_options.sh
. "$CASCADE_ASR_ROOT/utils/parse_options.sh"
# shellcheck source=utils/markers.sh
. "$CASCADE_ASR_ROOT/utils/markers.sh"

check_stage_options() {
  local name
  for name in stage stop_stage; do
    [[ ${!name} =~ ^[0-6]$ ]] || die "--${name//_/-} ${!name}: expected a stage from 0 to 6"
  done
  ((stage <= stop_stage)) || die "--stage $stage is behind --stop-stage $stop_stage"
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
  [[ $tag =~ ^[A-Za-z0-9._+-]*$ ]] || die "--tag $tag: expected letters, digits and . _ + - only"
  check_kind_options
}

# Everything that a stage reads or writes is named here, before any stage.
declare_paths() {
  nj=${nj:-$(nproc)}
  declare_kind_paths
  if [[ -z $tag ]]; then
    tag=$(basename "$train_config" .yaml)$(tag_of_train_args)
    if [[ -n $kind_tag ]] && ! is_of_this_kind "exp/$tag${seed:+_seed$seed}${seeds:+_seed${seeds%%,*}}"; then
      tag+=_$kind_tag
    fi
    tag+=${seed:+_seed$seed}
  fi
  # shellcheck source=/dev/null
  . ./cmd.sh
  training=(python -m cascade_asr.cli.training)
  read -ra all_seeds <<<"${seeds//,/ }"
  use_experiment "${all_seeds[0]:-$seed}"
}

# Training options of the command line in the name of the experiment, as ESPnet has it, so
# that no setting takes another one's folder.
tag_of_train_args() {
  [[ -n $train_args ]] || return 0
  local -a words
  local name
  read -ra words <<<"$train_args"
  name=$(printf '_%s' "${words[@]//[^A-Za-z0-9._+-]/}")
  if ((${#name} > 100)) || [[ $train_args == *[!A-Za-z0-9._+=\ -]* ]]; then
    name=${name:0:90}_$(cksum <<<"$train_args" | cut -d ' ' -f 1)
  fi
  printf '%s' "$name"
}

# use_experiment SEED: the folder and the options of its trainings; a seed may be none
use_experiment() {
  seed=$1
  exp=exp/$tag${seeds:+_seed$seed}
  task_options=(${task:+--task "$task"} --exp "$exp" --dump "$dump"
    --train-set "$train_set" --dev-set "$dev_set" --train-config "$train_config"
    --cascade-config "$cascade_config" ${train_args:+"--train-args=$train_args"}
    ${seed:+--seed "$seed"})
  training_options=("${task_options[@]}" ${ngpu:+--ngpu "$ngpu"}
    --processes "$processes" --nodes "$nodes")
}

# The folders that a stage needs, or which stage to run first.
require_file() {
  [[ -f $1 ]] || die "stage $stage_number needs $1: run stage $2 first (--stage $2)"
}

# Check the configurations and show the plan; the end of stage 2.
check_training() {
  "${training[@]}" check "${training_options[@]}" --controls "$controls" \
    --cascade-stages "$cascade_stages"
  python -m cascade_asr.cli.plan "${task_options[@]}" --controls "$controls"
}

stage_3() {
  require_training_data
  run_training "$exp/log/full.log" full
}

stage_4() {
  if [[ $cmd != slurm ]]; then require_file "$exp/full/done.json" 3; fi # a job waits for it
  run_training "$exp/log/cascade.log" cascade --cascade-stages "$cascade_stages" \
    --controls "$controls"
}

# all_are_done STAGE: whether it is done, as it is to be done now, for every seed
all_are_done() {
  local each status=0
  for each in "${all_seeds[@]:-$seed}"; do
    use_experiment "$each"
    local -a inputs=() outputs=()
    describe_all "$1"
    marker_is_fresh "$(marker_of "$1")" "${inputs[@]}" || status=1
  done
  use_experiment "${all_seeds[0]:-$seed}"
  return "$status"
}

# train_at_once STAGE: the trainings of all seeds, full ones for stage 3, the cascade
# and each control for stage 4, at most $train_jobs at the same time. What they leave
# is found by the stage itself, which goes on from there.
train_at_once() {
  local folder=exp/$tag${seeds:+_seeds}/trainings each branch number=0
  local -a branches=("")
  if (($1 == 4)); then
    read -ra branches <<<"cascade $(python -m cascade_asr.cli.plan "${task_options[@]}" \
      --list-controls "$controls")"
  fi
  mkdir -p "$folder"
  rm -f "$folder/stage$1".*.sh
  for each in "${all_seeds[@]:-$seed}"; do
    use_experiment "$each"
    for branch in "${branches[@]}"; do
      number=$((number + 1))
      write_training "$1" "$branch" >"$folder/stage$1.$number.sh"
    done
  done
  log "stage $1: $number trainings, $train_jobs at the same time; logs in $folder"
  # shellcheck disable=SC2086 # a command of several words
  $train_cmd --max-jobs-run "$train_jobs" "JOB=1:$number" "$folder/stage$1.JOB.log" \
    bash "$folder/stage$1.JOB.sh"
  use_experiment "${all_seeds[0]:-$seed}"
}

# write_training STAGE BRANCH: a script that trains it, and can be started by hand too
write_training() {
  local -a words=(full)
  local threads=$(($(nproc) / train_jobs))
  if [[ -n $2 ]]; then words=(cascade --branch "$2"); fi
  if [[ $2 == cascade ]]; then words+=(--cascade-stages "$cascade_stages"); fi
  echo "export OMP_NUM_THREADS=\${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}"
  printf '%q ' "${training[@]}" "${words[0]}" "${training_options[@]}" "${words[@]:1}"
  echo
}

# run_training LOG WHAT [OPTION...]: in this terminal, with a progress bar and the log
run_training() {
  if [[ $cmd == slurm ]]; then
    submit_training "${@:2}"
    return
  fi
  local log_file=$1
  shift
  mkdir -p "$(dirname "$log_file")"
  "${training[@]}" "$1" "${training_options[@]}" --log "$log_file" "${@:2}"
}

# submit_training WHAT [OPTION...]: as jobs that go on without this terminal
detached=false
submit_training() {
  local -a waiting=()
  if $follow; then waiting=(--follow); fi
  python -m cascade_asr.cli.jobs submit "$1" "${waiting[@]}" \
    --job-options "$training_job_options $job_options" "${training_options[@]}" "${@:2}"
  if ! $follow; then detached=true; fi
}

# describe_training N: what stages 3 and 4 read and leave, beside their data.
describe_training() {
  inputs+=("@$train_config" "seed=$seed")
  if [[ -n $train_args ]]; then inputs+=("train_args=$train_args"); fi
  outputs+=("$exp/full/done.json" "$exp/full/model.pth")
  if (($1 == 4)); then
    inputs+=("@$cascade_config" "cascade_stages=$cascade_stages" "@$exp/full/done.json")
    if [[ $controls != none ]]; then inputs+=("controls=$controls"); fi
    outputs=("$exp/selection.json")
    add_stage_files outputs "" done.json
    add_stage_files outputs "" model.pth
  fi
}

# add_stage_files ARRAY PREFIX NAME: append that file of each cascade stage and control
# that has it
add_stage_files() {
  local -n array=$1
  local path
  for path in "$exp"/*[0-9]/"$3"; do
    if [[ -f $path && $path != *.replaced.* ]]; then array+=("$2$path"); fi
  done
}

marker_of() {
  case $1 in
    0) echo "data/.stage0.done" ;;
    1) echo "${dumpdir:-dump}/.stage$1.done" ;;
    2) echo "$dump/.stage$1.done" ;;
    *) echo "$exp/.stage$1.done" ;;
  esac
}

describe_all() {
  inputs=() outputs=()
  describe_stage "$1"
  if (($1 == 3 || $1 == 4)); then describe_training "$1"; fi
}

run_one_stage() {
  stage_number=$1
  local marker started=$SECONDS
  local -a inputs=() outputs=()
  marker=$(marker_of "$1")
  describe_all "$1"
  if marker_is_fresh "$marker" "${inputs[@]}"; then
    log "stage $1 (${stage_names[$1]}): already done, skipping"
    return 0
  fi
  local -a used=("${_marker_inputs[@]}") # as they are now: a stage may take days
  log "stage $1 (${stage_names[$1]})${marker_reason:+: $marker_reason}"
  marker_remove "$marker"
  "stage_$1"
  if $detached; then
    log "stage $1 (${stage_names[$1]}): submitted"
    return 0
  fi
  inputs=() outputs=()
  describe_all "$1"
  _marker_inputs=("${used[@]}")
  if (($1 == 0)); then marker_update source "${inputs[@]}"; fi # such as what was downloaded
  marker_write "$marker" "${outputs[@]}"
  log "stage $1 (${stage_names[$1]}): done in $((SECONDS - started)) s"
}

run_stages() {
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
  if [[ ${CASCADE_ASR_CHECK_OPTIONS-} == true ]]; then exit 0; fi # asked by run.sh
  declare_paths
  local number each
  for ((number = stage; number <= stop_stage; number++)); do
    if $detached && ((number > 4)); then
      log "stages $number to $stop_stage need these jobs: --stage $number once they are done"
      return 0
    fi
    if ((number < 3)); then
      run_one_stage "$number"
      continue
    fi
    if ((train_jobs > 1 && number < 5)) && ! all_are_done "$number"; then
      train_at_once "$number"
    fi
    for each in "${all_seeds[@]:-$seed}"; do
      use_experiment "$each"
      run_one_stage "$number"
    done
  done
  if ((stop_stage == 6)); then show_results; fi
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
