# To be sourced by a recipe's run_lm.sh: a language model for shallow fusion, in the
# tokens of the recogniser.
#
# The recipe sets train_set and dev_set, may add options, defines
#   make_text     stage 0: writes data/lm/train.txt and data/lm/valid.txt
# and calls
#   run_lm_stages "$@"
# shellcheck shell=bash

: "${train_set:?a recipe sets train_set}" "${dev_set:?a recipe sets dev_set}"

# begin options
# Stages: 0 text, needs stage 0 of run.sh; 1 token ids, needs stage 2 of run.sh; 2 training
stage=0                # first stage to run
stop_stage=2           # last stage to run
train_config=conf/train_lm.yaml
                       # training options
exp=exp/lm             # where the model is put; conf/decode_lm.yaml names it
tokens=dump/tokens     # tokens of the recogniser; others such as dump/tokens_bpe500/tokens need
                       # their own --exp
ngpu=                  # 0 trains on the CPU; none: on a GPU if there is one
# end options

# shellcheck source=utils/parse_options.sh
. "$CASCADE_ASR_ROOT/utils/parse_options.sh"

lm_text() {
  local name
  for name in "$train_set" "$dev_set"; do
    [[ -f data/$name/text ]] || die "no data/$name/text: run ./run.sh --stop-stage 2 first"
  done
  make_text
}

lm_token_ids() {
  [[ -f $tokens/tokens.txt ]] || die "no $tokens: run ./run.sh --stop-stage 2 first"
  python -m cascade_asr.cli.lm_tokens --text data/lm --tokens "$tokens" --dump "$dump"
}

lm_training() {
  [[ -f $dump/valid/tokens.npy ]] || die "no $dump: run stage 1 first (--stage 1)"
  mkdir -p "$exp/log"
  python -m cascade_asr.cli.training full --task text --exp "$exp" --dump "$dump" \
    --train-set train --dev-set valid --train-config "$train_config" --log "$exp/log/full.log" \
    ${ngpu:+--ngpu "$ngpu"}
}

run_lm_stages() {
  # $0 was relative to another folder
  option_files=("./${0##*/}" "$CASCADE_ASR_ROOT/utils/fusion_lm.sh")
  parse_options "$@"
  local name
  for name in stage stop_stage; do
    [[ ${!name} =~ ^[0-2]$ ]] || die "--${name//_/-} ${!name}: expected a stage from 0 to 2"
  done
  ((stage <= stop_stage)) || die "--stage $stage comes after --stop-stage $stop_stage"
  [[ -f $train_config ]] || die "--train-config $train_config: no such file"
  tokens=${tokens%/}
  dump=$(dirname "$tokens")/lm
  local number
  local -a stages=(lm_text lm_token_ids lm_training) names=(text "token ids" training)
  for ((number = stage; number <= stop_stage; number++)); do
    log "stage $number (${names[number]})"
    "${stages[number]}"
  done
}
