# To be sourced by a recipe's run.sh: the stages that all ASR recipes share.
#
# The recipe sets train_set, dev_set and test_sets, may change the defaults below,
# defines prepare_data (stage 0: makes data/SET for each set) and calls
#   run_stages "$@"
# It may define adjust_options, which is called once the options are known.
# Any stage can be started alone in a new shell: everything it needs is declared up here.
# shellcheck shell=bash

: "${train_set:?a recipe sets train_set}" "${dev_set:?a recipe sets dev_set}"
: "${test_sets:?a recipe sets test_sets}"
decode_cmd='' # set by the recipe's cmd.sh, by --cmd
kind_file=$CASCADE_ASR_ROOT/utils/asr.sh
# shellcheck source=utils/stages.sh
. "$CASCADE_ASR_ROOT/utils/stages.sh"
# shellcheck disable=SC2034 # read by utils/stages.sh
stage_names=("data preparation" "features" "tokens and batches" "full training"
  "cascade stages" "decoding" "scoring and report")

# begin options
# Stages: 0 data, 1 features, 2 tokens and batches, 3 full training,
# 4 cascade stages, 5 decoding, 6 scoring and report
decode_config=conf/decode.yaml    # decoding options
gpu_inference=false               # decode on GPUs: --nj jobs share this machine's GPUs; with
                                  # slurm each job has its own
sctk=                             # folder with NIST's hubscr.pl, for the sets scored by it;
                                  # none: looked for on PATH, then in Debian's package
# Features and tokens
dumpdir=dump                      # folder for features and tokens; use another for other features
fbank_config=conf/fbank.conf      # Kaldi fbank options, or those of an ESPnet2 model's frontend
add_deltas=false                  # append first and second time derivatives to the features
splice=0                          # 0.. frames of context spliced to either side of each frame
speed_perturb_factors=            # speeds of further copies of the training data, such as "0.9 1.1"
min_frames=                       # 0.. leave out training utterances shorter than this
max_frames=                       # 0.. leave out training utterances longer than this
max_characters=                   # 0.. leave out training utterances with more characters
token_type=char                   # char or bpe; a second choice of tokens gets a separate
                                  # folder, such as dump/tokens_bpe2000
vocabulary_size=2000              # 1.. number of pieces, for bpe
bpemode=unigram                   # how sentencepiece finds pieces: unigram, by the likelihood of
                                  # the text, or bpe, by merging the most frequent pairs
non_linguistic_symbols=           # file of symbols, each kept as one token
token_list=                       # tokens of another model, for a transferred classifier: its
                                  # tokens folder, a tokens.txt, or an ESPnet2 config.yaml
# end options

check_kind_options() {
  local name
  if declare -F adjust_options >/dev/null; then adjust_options; fi
  for name in decode_config fbank_config; do
    [[ -f ${!name} ]] || die "--${name//_/-} ${!name}: no such file"
  done
  [[ $token_type =~ ^(char|bpe)$ ]] || die "--token-type $token_type: expected char or bpe"
  [[ $bpemode =~ ^(unigram|bpe)$ ]] || die "--bpemode $bpemode: expected unigram or bpe"
  [[ -z $non_linguistic_symbols || -f $non_linguistic_symbols ]] ||
    die "--non-linguistic-symbols $non_linguistic_symbols: no such file"
  [[ $add_deltas =~ ^(true|false)$ ]] || die "--add-deltas $add_deltas: expected true or false"
  [[ -z $token_list || -e $token_list ]] || die "--token-list $token_list: no such file or folder"
  [[ $dumpdir =~ ^[A-Za-z0-9._+/-]+$ ]] ||
    die "--dumpdir $dumpdir: expected letters, digits and . _ + - / only"
  while [[ $dumpdir == ?*/ ]]; do dumpdir=${dumpdir%/}; done
  [[ ! ${dumpdir##*/} =~ ^(|\.|\.\.)$ && ! $dumpdir =~ ^(\./)*(data|exp|conf|local)(/|$) && ! $dumpdir -ef data ]] ||
    die "--dumpdir $dumpdir: expected a folder of its own, such as dump_bpe"
  check_speed_factors
}

# Leave out 1, which is the data themselves: ESPnet users write "0.9 1.0 1.1".
check_speed_factors() {
  local factor number
  local -a words others=()
  read -ra words <<<"${speed_perturb_factors//,/ }"
  for factor in ${words[@]+"${words[@]}"}; do
    [[ $factor =~ ^(0\.[5-9][0-9]*|1(\.[0-9]+)?|2(\.0+)?)$ ]] ||
      die "--speed-perturb-factors: '$factor'; expected speeds from 0.5 to 2, such as \"0.9 1.1\""
    number=$factor
    while [[ $number == *.*0 ]]; do number=${number%0}; done
    number=${number%.}
    [[ " ${others[*]-} " != *" $number "* ]] || die "--speed-perturb-factors: $factor is given twice"
    [[ $number == 1 ]] || others+=("$number")
  done
  speed_perturb_factors=${others[*]-}
}

declare_kind_paths() {
  sets=("$train_set" "$dev_set")
  local name
  for name in $test_sets; do # the dev set may be scored too
    [[ " ${sets[*]} " == *" $name "* ]] || sets+=("$name")
  done
  original_train_set=$train_set
  if [[ -n $speed_perturb_factors ]]; then
    train_set=${train_set}_sp
    sets=("$train_set" "${sets[@]:1}")
  fi
}

features_of() {
  local name=$1
  if [[ -f data/$name/feats.scp ]]; then
    log "features of $name: those of data/$name/feats.scp"
    [[ ! -f data/$name/cmvn.scp ]] ||
      log "data/$name/cmvn.scp is not used: statistics are computed anew, for normalize in the training options"
  else
    log "features of $name"
  fi
  local jobs
  # a speaker's utterances stay together; wc does not count a last line without line end
  jobs=$(grep -c '' "data/$name/spk2utt")
  jobs=$((jobs < nj ? jobs : nj))
  split_data.sh "data/$name" "$jobs"
  # shellcheck disable=SC2086 # a command of several words
  $train_cmd "JOB=1:$jobs" "$dumpdir/$name/log/fbank.JOB.log" \
    python -m cascade_asr.cli.fbank --config "$fbank_config" \
    --add-deltas "$add_deltas" --splice "$splice" \
    "data/$name/split$jobs/JOB" "$dumpdir/$name/fbank.JOB"
  local -a options=(--complete true --like "$dumpdir/$train_set")
  if [[ $name == "$train_set" ]]; then options=(--complete false); fi
  python -m cascade_asr.cli.dump "data/$name" "$dumpdir/$name" --jobs "$jobs" "${options[@]}"
}

# validate_data SET [OPTION...]: with audio, or with existing features
validate_data() {
  local name=$1
  shift
  if [[ -f data/$name/feats.scp ]]; then
    validate_data_dir.sh --no-wav "$@" "data/$name"
  else
    validate_data_dir.sh --no-feats "$@" "data/$name"
  fi
}

perturb_speed() {
  local factor copies=()
  [[ ! -f data/$original_train_set/feats.scp ]] ||
    die "--speed-perturb-factors '$speed_perturb_factors': speed is changed in the audio, but" \
      "data/$original_train_set has its own features (feats.scp); give '' or remove feats.scp"
  for factor in $speed_perturb_factors; do
    perturb_data_dir_speed.sh "$factor" "data/$original_train_set" "data/${original_train_set}_sp$factor"
    copies+=("data/${original_train_set}_sp$factor")
  done
  combine_data.sh "data/$train_set" "data/$original_train_set" "${copies[@]}"
}

stage_0() {
  prepare_data
  local name
  local -a folders=()
  for name in "$original_train_set" "${sets[@]:1}"; do folders+=("data/$name"); done
  python -m cascade_asr.cli.data_dir tidy "${folders[@]}"
  for name in "$original_train_set" "${sets[@]:1}"; do
    validate_data "$name"
  done
  local -a scored=()
  for name in "${sets[@]:1}"; do
    if [[ -d data/$name/hub5 ]]; then score_reference "$name"; else scored+=("data/$name"); fi
  done
  [[ ${#scored[@]} -gt 0 ]] || return 0
  python -m cascade_asr.cli.check_references "${scored[@]}" \
    --warn-only "data/$original_train_set" \
    ${non_linguistic_symbols:+--non-linguistic-symbols "$non_linguistic_symbols"}
}

# score_reference SET: find what NIST's programs cannot read before training
score_reference() {
  log "$1: the reference scored against itself; its error rates should be 0"
  python -m cascade_asr.cli.score_hub5 --strict ${sctk:+--sctk "$sctk"} --set "$1" \
    --hyp "data/$1/text" --segments "data/$1/hub5/segments" --stm "data/$1/hub5/stm" \
    --glm "data/$1/hub5/glm" --reco2file-and-channel "data/$1/reco2file_and_channel" \
    --outdir "data/$1/hub5/reference"
}

stage_1() {
  local name
  for name in "$original_train_set" "${sets[@]:1}"; do
    if [[ ! -f data/$name/feats.scp ]]; then require_file "data/$name/wav.scp" 0; fi
    validate_data "$name" --quiet
  done
  if [[ -n $speed_perturb_factors ]]; then perturb_speed; fi
  for name in "${sets[@]}"; do features_of "$name"; done
}

stage_2() {
  local name
  local -a keep_empty=()
  for name in "${sets[@]}"; do
    require_file "$dumpdir/$name/feats.scp" 1
    if [[ -d data/$name/hub5 ]]; then keep_empty+=(--keep-empty "$name"); fi
  done
  about_recipe token-folder
  python -m cascade_asr.cli.tokens "$dump" --train-set "$train_set" --token-type "$token_type" \
    --vocabulary-size "$vocabulary_size" --bpemode "$bpemode" ${min_frames:+--min-frames "$min_frames"} \
    ${max_frames:+--max-frames "$max_frames"} \
    ${max_characters:+--max-characters "$max_characters"} ${token_list:+--token-list "$token_list"} \
    ${non_linguistic_symbols:+--non-linguistic-symbols "$non_linguistic_symbols"} \
    ${keep_empty[@]+"${keep_empty[@]}"} "${sets[@]}"
  check_training
}

# Options that choose tokens have to be repeated where later stages are run on their own.
other_choice() {
  if [[ $dump != "$dumpdir" && -f $dumpdir/.tokens ]]; then
    printf '; or give the token options that %s was made with, as --token-type: it has the tokens %s' \
      "$dumpdir" "$(<"$dumpdir/.tokens")"
  fi
}

require_training_data() {
  require_file "$dump/$train_set/manifest.tsv" 2
  require_file "$dump/$dev_set/manifest.tsv" 2
  about_recipe same-features
}

# Conversations are scored by a program that may be missing: report this before decoding.
require_scorer() {
  local name
  for name in $test_sets; do
    if [[ -d data/$name/hub5 ]]; then
      python -m cascade_asr.cli.score_hub5 --check ${sctk:+--sctk "$sctk"} >/dev/null
      return
    fi
  done
}

stage_5() {
  require_file "$exp/selection.json" 3
  about_recipe same-features
  require_scorer
  local models model name output jobs most=0 reads frame_shift
  local -a pending=() places=() outputs=() read_files
  models=$(python -m cascade_asr.cli.stages "$exp")
  reads=$(python -m cascade_asr.cli.recipe_stage decoding "$decode_config")
  mapfile -t read_files <<<"$reads"
  for model in $models; do
    for name in $test_sets; do
      require_file "$dump/$name/manifest.tsv" 2
      output=$exp/$model/decode_$name
      frame_shift=''
      if [[ -f data/$name/feats.scp ]]; then frame_shift=@$dump/$name/frame_shift; fi
      if work_is_done "$output/.done" "@$exp/$model/done.json" "${read_files[@]}" \
        "@$dump/$name/manifest.tsv" "@$dump/$name/cmvn.npz" ${frame_shift:+"$frame_shift"}; then
        log "$model on $name: already decoded"
        continue
      fi
      pending+=("$model $name")
      outputs+=("$output")
      places+=(--set "$dump/$name" --outdir "$output")
      jobs=$(wc -l <"$dump/$name/manifest.tsv")
      most=$((jobs > most ? jobs : most))
    done
  done
  ((${#pending[@]})) || return 0
  jobs=$((most < nj ? most : nj))
  decode_pending
  python -m cascade_asr.cli.join_decoding "${places[@]}" --jobs "$jobs"
  for output in "${outputs[@]}"; do record_work "$output/.done" "$output/text"; done
}

# decode_pending: decode all of them in the same jobs, because a job takes seconds to start;
# a job that is started again carries on from where it was
decode_pending() {
  local each follower status=0
  local on_gpu='' gpus=0 # a site's slurm.conf need not know --gpu unless it is used
  if $gpu_inference; then on_gpu="--gpu 1" gpus=1; fi
  local -a models=()
  for each in "${pending[@]}"; do
    log "decoding ${each#* } with ${each% *}"
    models+=(--model "$exp/${each% *}")
  done
  python -m cascade_asr.cli.follow_decoding "${places[@]}" &
  follower=$!
  # shellcheck disable=SC2086 # a command of several words
  $decode_cmd $on_gpu "JOB=1:$jobs" "$exp/log/decode.JOB.log" \
    python -m cascade_asr.cli.decode "${models[@]}" "${places[@]}" \
    --config "$decode_config" --job JOB --jobs "$jobs" --ngpu "$gpus" || status=$?
  kill "$follower" 2>/dev/null || true
  wait "$follower" 2>/dev/null || true
  ((status == 0)) || exit "$status"
}

stage_6() {
  require_file "$exp/selection.json" 3
  about_recipe same-texts
  # shellcheck disable=SC2086 # a list of names
  python -m cascade_asr.cli.report --exp "$exp" --dump "$dump" --data data \
    ${sctk:+--sctk "$sctk"} --dev-set "$dev_set" --samples "$report_samples" $test_sets
}
