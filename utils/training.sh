# To be sourced by utils/stages.sh: the trainings of stages 3 and 4, here, several at the
# same time, or as Slurm jobs.
# shellcheck shell=bash disable=SC2154,SC2034 # options are declared by utils/stages.sh

detached=false # training goes on in jobs without this terminal

# with_task_options COMMAND...: run it with the options that say what is trained, on which data
with_task_options() {
  "$@" ${task:+--task "$task"} --exp "$exp" --dump "$dump" \
    --train-set "$train_set" --dev-set "$dev_set" --train-config "$train_config" \
    --cascade-config "$cascade_config" ${train_args:+"--train-args=$train_args"} \
    ${seed:+--seed "$seed"}
}

# with_training_options COMMAND...: also with those that say on which devices
with_training_options() {
  with_task_options "$@" ${ngpu:+--ngpu "$ngpu"} --processes "$processes" --nodes "$nodes"
}

# Check the configurations and show the plan; the end of stage 2.
check_training() {
  mkdir -p "$exp"
  rm -f "$exp/.checked" # the data may be other ones
  is_checked || true     # which begins it
  with_training_options python -m cascade_asr.cli.training check --controls "$controls" \
    --cascade-stages "$cascade_stages" --show-plan
  record_work "$exp/.checked"
}

# The same before the first training of another experiment on the same data, for which stage 2
# is done already. Seeds differ in nothing that is checked; jobs are checked when submitted.
check_experiment() {
  if [[ $cmd == slurm ]] || { [[ -n $seeds ]] && [[ $seed != "${all_seeds[0]}" ]]; }; then
    return 0
  fi
  mkdir -p "$exp"
  if ! is_checked; then check_training; fi
}

is_checked() {
  work_is_done "$exp/.checked" "@$train_config" "@$cascade_config" "train_args=$train_args" \
    "dump=$dump" "train_set=$train_set" "dev_set=$dev_set"
}

stage_3() {
  require_training_data
  check_experiment
  # a stage or control that the plan lacks is told before hours of training
  train full --cascade-stages "$cascade_stages" --controls "$controls"
}

stage_4() {
  if [[ $cmd != slurm ]]; then require_file "$exp/full/done.json" 3; fi # a job waits for it
  require_training_data
  check_experiment
  train cascade --cascade-stages "$cascade_stages" --controls "$controls"
}

# train WHAT [OPTION...]: in this terminal, with a progress bar and a log, or as jobs
train() {
  if [[ $cmd == slurm ]]; then
    local -a waiting=()
    if $follow; then waiting=(--follow); fi
    with_training_options python -m cascade_asr.cli.jobs submit "$1" \
      ${waiting[@]+"${waiting[@]}"} --job-options "$training_job_options $job_options" "${@:2}"
    if ! $follow; then detached=true; fi
    return
  fi
  mkdir -p "$exp/log"
  with_training_options python -m cascade_asr.cli.training "$1" --log "$exp/log/$1.log" "${@:2}"
}

# train_at_once STAGE: the trainings of all seeds, full ones for stage 3, the cascade and
# each control for stage 4, at most $train_jobs at the same time. The stage itself finds what
# they have done, and continues from there.
train_at_once() {
  if ((train_jobs == 1)) || all_are_done "$1"; then return 0; fi
  stage_number=$1
  require_training_data
  use_experiment "${all_seeds[0]:-$seed}"
  check_experiment
  local folder=exp/$tag${seeds:+_seeds}/trainings each branch number=0
  local -a branches=("")
  if (($1 == 4)); then
    read -ra branches <<<"cascade $(with_task_options python -m cascade_asr.cli.plan \
      --list-controls "$controls")"
  fi
  mkdir -p "$folder"
  rm -f "$folder/stage$1".*.sh
  for each in "${all_seeds[@]:-$seed}"; do
    use_experiment "$each"
    for branch in "${branches[@]}"; do
      number=$((number + 1))
      write_training "$branch" "$number" >"$folder/stage$1.$number.sh"
    done
  done
  log "stage $1: $number trainings, $train_jobs at the same time; logs in $folder"
  # shellcheck disable=SC2086 # a command of several words
  RUN_PL_SECONDS_TO_FINISH=120 $train_cmd --max-jobs-run "$train_jobs" "JOB=1:$number" "$folder/stage$1.JOB.log" \
    bash "$folder/stage$1.JOB.sh"
}

# all_are_done STAGE: for every seed
all_are_done() {
  local each
  for each in "${all_seeds[@]:-$seed}"; do
    use_experiment "$each"
    stage_is_done "$1" || return 1
  done
}

# write_training BRANCH NUMBER: write a script that trains it, or full training if none is named;
# it can also be started by hand. Those that run at the same time share processors and GPUs.
write_training() {
  local -a words=(full --cascade-stages "$cascade_stages" --controls "$controls")
  local threads=$(($(nproc) / train_jobs))
  if [[ -n $1 ]]; then words=(cascade --branch "$1"); fi
  if [[ $1 == cascade ]]; then words+=(--cascade-stages "$cascade_stages"); fi
  if ((train_jobs > 1)); then
    echo "export CASCADE_ASR_MOST_THREADS=$((threads > 0 ? threads : 1)) CASCADE_ASR_SHARE=$2/$train_jobs"
  fi
  with_training_options printf '%q ' python -m cascade_asr.cli.training "${words[@]}"
  echo
}
