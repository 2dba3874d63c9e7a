# To be sourced by a recipe's run.sh: the stages that all ASR recipes share.
#
# The recipe sets train_set, dev_set and test_sets, may change the defaults below,
# defines prepare_data (stage 0: makes data/SET for each set) and calls
#   run_stages "$@"
# Every stage starts alone in a new shell: whatever it needs is declared up here.
# shellcheck shell=bash

: "${train_set:?a recipe sets train_set}" "${dev_set:?a recipe sets dev_set}"
: "${test_sets:?a recipe sets test_sets}"
train_cmd='' decode_cmd='' training_job_options='' # set by the recipe's cmd.sh, by --cmd

# begin options
# Stages: 0 data, 1 features, 2 tokens and batches, 3 full training,
# 4 cascade stages, 5 decoding, 6 scoring and report
stage=0                # first stage to run
stop_stage=6           # last stage to run
cascade_stages=all     # cascade stages of stage 4: all, none, or numbers such as 2,3 or 2-4
controls=none          # trained beside the cascade at equal compute: all, or some of
                       # longer,continue,best-of-n,bottom-up,random-top,keep
# Resources
ngpu=                  # GPUs for training; 0 trains on the CPU; none: those there are
nj=                    # jobs at the same time; none: one a processor
# shellcheck disable=SC2034
cmd=local              # where jobs run: local; stdout: local, with their output shown; slurm
train_jobs=1           # trainings at the same time on this machine: seeds, cascade, controls
processes=1            # training processes of a machine, on the CPU
nodes=1                # machines to train on, with slurm
job_options=           # of training jobs on slurm, such as "--mem 16G --time 8:00:00"
follow=false           # --follow waits for training jobs on slurm, --detach does not
# Experiment
seed=                  # of weights and batches; none: the training configuration's
seeds=                 # several, such as 1,2,3: each its own folder exp/TAG_seedN, one table
tag=                   # name of the folder exp/TAG; none: the training configuration's name
train_config=conf/train.yaml      # training options
cascade_config=conf/cascade.yaml  # cascade options
decode_config=conf/decode.yaml    # decoding options
# Features and tokens
fbank_config=conf/fbank.conf      # Kaldi fbank options
speed_perturb_factors=            # copies of the training data, such as "0.9 1.1"
token_type=char                   # char or bpe
vocabulary_size=2000              # pieces, for bpe
non_linguistic_symbols=           # file of symbols that are one token each
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
  for name in ngpu nj seed processes nodes train_jobs; do
    [[ ${!name} =~ ^[0-9]*$ ]] || die "--$name ${!name}: expected a number"
  done
  [[ $nj != 0 ]] || die "--nj 0: expected 1 or more"
  ((train_jobs > 0)) || die "--train-jobs $train_jobs: expected 1 or more"
  [[ $seeds =~ ^([0-9]+(,[0-9]+)*)?$ ]] || die "--seeds $seeds: expected numbers such as 1,2,3"
  [[ -z $seed || -z $seeds ]] || die "--seed $seed and --seeds $seeds: give one of them"
  [[ -z $(tr ',' '\n' <<<"$seeds" | sort | uniq --repeated) ]] ||
    die "--seeds $seeds: each number once"
  [[ $cmd != slurm || $train_jobs == 1 ]] || die "--train-jobs is for this machine, not for --cmd slurm"
  for name in train_config cascade_config decode_config fbank_config; do
    [[ -f ${!name} ]] || die "--${name//_/-} ${!name}: no such file"
  done
  [[ $tag =~ ^[A-Za-z0-9._+-]*$ ]] || die "--tag $tag: expected letters, digits and . _ + - only"
  [[ $token_type =~ ^(char|bpe)$ ]] || die "--token-type $token_type: expected char or bpe"
  [[ -z $non_linguistic_symbols || -f $non_linguistic_symbols ]] ||
    die "--non-linguistic-symbols $non_linguistic_symbols: no such file"
}

# Everything that a stage reads or writes is named here, before any stage.
declare_paths() {
  nj=${nj:-$(nproc)}
  tag=${tag:-$(basename "$train_config" .yaml)${seed:+_seed$seed}}
  sets=("$train_set" "$dev_set")
  local name factor
  for name in $test_sets; do # the dev set may be scored too
    [[ " ${sets[*]} " == *" $name "* ]] || sets+=("$name")
  done
  original_train_set=$train_set
  for factor in $speed_perturb_factors; do
    [[ $factor =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "--speed-perturb-factors: '$factor' is no number"
  done
  if [[ -n $speed_perturb_factors ]]; then
    train_set=${train_set}_sp
    sets=("$train_set" "${sets[@]:1}")
  fi
  # shellcheck source=/dev/null
  . ./cmd.sh
  training=(python -m cascade_asr.cli.training)
  read -ra all_seeds <<<"${seeds//,/ }"
  use_experiment "${all_seeds[0]:-$seed}"
}

# use_experiment SEED: the folder and the options of its trainings; a seed may be none
use_experiment() {
  seed=$1
  exp=exp/$tag${seeds:+_seed$seed}
  task_options=(--exp "$exp" --dump dump --train-set "$train_set" --dev-set "$dev_set"
    --train-config "$train_config" --cascade-config "$cascade_config" ${seed:+--seed "$seed"})
  training_options=("${task_options[@]}" ${ngpu:+--ngpu "$ngpu"}
    --processes "$processes" --nodes "$nodes")
}

# The folders that a stage needs, or which stage to run first.
require_file() {
  [[ -f $1 ]] || die "stage $stage_number needs $1: run stage $2 first (--stage $2)"
}

features_of() {
  local name=$1
  log "features of $name"
  split_data.sh "data/$name" "$nj"
  local jobs
  jobs=$(find "data/$name/split$nj" -mindepth 1 -maxdepth 1 -type d | wc -l)
  # shellcheck disable=SC2086 # a command of several words
  $train_cmd "JOB=1:$jobs" "dump/$name/log/fbank.JOB.log" \
    python -m cascade_asr.cli.fbank --config "$fbank_config" \
    "data/$name/split$nj/JOB" "dump/$name/fbank.JOB"
  local complete=true
  [[ $name != "$train_set" ]] || complete=false
  python -m cascade_asr.cli.dump "data/$name" "dump/$name" --jobs "$jobs" --complete "$complete"
}

perturb_speed() {
  local factor copies=()
  for factor in $speed_perturb_factors; do
    perturb_data_dir_speed.sh "$factor" "data/$original_train_set" "data/${original_train_set}_sp$factor"
    copies+=("data/${original_train_set}_sp$factor")
  done
  combine_data.sh "data/$train_set" "data/$original_train_set" "${copies[@]}"
}

stage_0() {
  prepare_data
  local name
  for name in "$original_train_set" "${sets[@]:1}"; do
    validate_data_dir.sh --no-feats "data/$name"
  done
}

stage_1() {
  local name
  for name in "$original_train_set" "${sets[@]:1}"; do
    require_file "data/$name/wav.scp" 0
    validate_data_dir.sh --no-feats "data/$name"
  done
  if [[ -n $speed_perturb_factors ]]; then perturb_speed; fi
  for name in "${sets[@]}"; do features_of "$name"; done
}

stage_2() {
  local name
  for name in "${sets[@]}"; do require_file "dump/$name/feats.scp" 1; done
  python -m cascade_asr.cli.tokens dump --train-set "$train_set" --token-type "$token_type" \
    --vocabulary-size "$vocabulary_size" \
    ${non_linguistic_symbols:+--non-linguistic-symbols "$non_linguistic_symbols"} "${sets[@]}"
  "${training[@]}" check "${training_options[@]}" --controls "$controls"
  python -m cascade_asr.cli.plan "${task_options[@]}" --controls "$controls"
}

stage_3() {
  require_file "dump/$train_set/manifest.tsv" 2
  require_file "dump/$dev_set/manifest.tsv" 2
  run_training "$exp/log/full.log" full
}

stage_4() {
  if [[ $cmd != slurm ]]; then require_file "$exp/full/done.json" 3; fi # a job waits for it
  run_training "$exp/log/cascade.log" cascade --cascade-stages "$cascade_stages" \
    --controls "$controls"
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

stage_5() {
  require_file "$exp/selection.json" 3
  local models model name output jobs
  models=$(python -m cascade_asr.cli.stages "$exp")
  for model in $models; do
    for name in $test_sets; do
      require_file "dump/$name/manifest.tsv" 2
      output=$exp/$model/decode_$name
      jobs=$(wc -l <"dump/$name/manifest.tsv")
      jobs=$((jobs < nj ? jobs : nj))
      if marker_is_fresh "$output/.done" "@$exp/$model/done.json" "@$decode_config" \
        "@dump/$name/manifest.tsv" "@dump/$name/cmvn.npz"; then
        log "$model on $name: already decoded"
        continue
      fi
      log "decoding $name with $model"
      marker_remove "$output/.done"
      # shellcheck disable=SC2086 # a command of several words
      $decode_cmd "JOB=1:$jobs" "$output/log/decode.JOB.log" \
        python -m cascade_asr.cli.decode --model "$exp/$model" --set "dump/$name" \
        --config "$decode_config" --outdir "$output" --job JOB --jobs "$jobs"
      python -m cascade_asr.cli.join_decoding --set "dump/$name" --outdir "$output" --jobs "$jobs"
      marker_write "$output/.done" "$output/text"
    done
  done
}

stage_6() {
  require_file "$exp/selection.json" 3
  # shellcheck disable=SC2086 # a list of names
  python -m cascade_asr.cli.report --exp "$exp" --dump dump $test_sets
}

# What decides the result of a stage: options as NAME=VALUE, files as @FILE. What a
# stage leaves behind follows after --; both must be unchanged for it to be skipped.
describe_stage() {
  local name
  case $1 in
    0)
      corpus_identity
      for name in "$original_train_set" "${sets[@]:1}"; do outputs+=("data/$name/text"); done
      ;;
    1)
      inputs=("@data/.stage0.done" "@$fbank_config" "speed_perturb_factors=$speed_perturb_factors")
      for name in "$original_train_set" "${sets[@]:1}"; do
        inputs+=("@data/$name/wav.scp" "@data/$name/text" "@data/$name/utt2spk" "@data/$name/segments")
      done
      for name in "${sets[@]}"; do outputs+=("dump/$name/feats.scp"); done
      ;;
    2)
      inputs=("token_type=$token_type" "vocabulary_size=$vocabulary_size"
        ${non_linguistic_symbols:+"@$non_linguistic_symbols"} "train_set=$train_set")
      for name in "${sets[@]}"; do
        inputs+=("@dump/$name/feats.scp" "@dump/$name/text" "@dump/$name/cmvn.npz")
        outputs+=("dump/$name/manifest.tsv")
      done
      outputs+=("dump/tokens/tokens.txt")
      ;;
    3 | 4)
      inputs=("@$train_config" "seed=$seed" "@dump/$train_set/manifest.tsv"
        "@dump/$dev_set/manifest.tsv" "@dump/tokens/tokens.txt" "@dump/$train_set/cmvn.npz"
        "@dump/$dev_set/cmvn.npz")
      outputs=("$exp/full/done.json" "$exp/full/model.pth")
      if (($1 == 4)); then
        inputs+=("@$cascade_config" "cascade_stages=$cascade_stages" "@$exp/full/done.json")
        if [[ $controls != none ]]; then inputs+=("controls=$controls"); fi
        outputs=("$exp/selection.json")
        add_stage_files outputs "" done.json
        add_stage_files outputs "" model.pth
      fi
      ;;
    5)
      inputs=("@$decode_config" "@$exp/full/done.json")
      add_stage_files inputs @ done.json
      for name in $test_sets; do
        inputs+=("@dump/$name/manifest.tsv" "@dump/$name/cmvn.npz")
        outputs+=("$exp/full/decode_$name/text")
        add_stage_files outputs "" "decode_$name/text"
      done
      ;;
    6)
      inputs=("@$exp/selection.json")
      for name in $test_sets; do
        inputs+=("@dump/$name/text" "@$exp/full/decode_$name/text")
        add_stage_files inputs @ "decode_$name/text"
      done
      outputs=("$exp/RESULTS.md" "$exp/report.html")
      ;;
  esac
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
    1 | 2) echo "dump/.stage$1.done" ;;
    *) echo "$exp/.stage$1.done" ;;
  esac
}

run_one_stage() {
  stage_number=$1
  local marker started=$SECONDS
  local -a inputs=() outputs=()
  marker=$(marker_of "$1")
  describe_stage "$1"
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
  outputs=()
  describe_stage "$1"
  _marker_inputs=("${used[@]}")
  marker_write "$marker" "${outputs[@]}"
  log "stage $1 (${stage_names[$1]}): done in $((SECONDS - started)) s"
}

run_stages() {
  option_files=("./${0##*/}" "$CASCADE_ASR_ROOT/utils/asr.sh") # $0 was relative to another folder
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
  check_stage_options
  declare_paths
  local -a stage_names=("data preparation" "features" "tokens and batches" "full training"
    "cascade stages" "decoding" "scoring and report")
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
    if ((train_jobs > 1 && number < 5)); then train_at_once "$number"; fi
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
