#!/usr/bin/env bash
# LibriSpeech, read audiobooks: 5, 100 or 960 hours for training, the official dev and test
# sets; a Conformer or a BLSTM, trained in full and then top-down.
#
# Examples:
#   ./run.sh --part mini --train-config conf/train_rnn.yaml --cascade-config conf/cascade_rnn.yaml
#   ./run.sh --librispeech ~/corpora/LibriSpeech                    # 100 hours
#   ./run.sh --part 960 --train-config conf/train_conformer_960.yaml
set -euo pipefail
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=egs/librispeech/path.sh
. ./path.sh

# set by --part and --eval-sets, below
train_set=train_100
dev_set=dev
test_sets="dev_clean dev_other test_clean test_other"

# shellcheck source=utils/asr.sh
. "$CASCADE_ASR_ROOT/utils/asr.sh"

train_config=conf/train_conformer.yaml
cascade_config=conf/cascade_conformer.yaml
speed_perturb_factors="0.9 1.1"
token_type=bpe
vocabulary_size=auto
max_frames=3000

# begin options
# Corpus
part=100             # training part: mini (5 hours), 100 or 960
librispeech=         # the corpus, with train-clean-100 etc. in it; none: a download from OpenSLR
eval_sets="dev_clean dev_other test_clean test_other"
                     # sets to score; also dev_clean_2
strict=false         # stop if a part lacks utterances
vocabulary_size=auto # number of pieces; auto: 1000 for mini, else 5000
# end options

adjust_options() {
  local name
  train_set=train_$part test_sets=$eval_sets
  case $part in
    mini) dev_set=dev_clean_2 train_parts=train-clean-5 ;;
    100) dev_set=dev train_parts=train-clean-100 ;;
    960) dev_set=dev train_parts=train-clean-100,train-clean-360,train-other-500 ;;
    *) die "--part $part: expected mini, 100 or 960" ;;
  esac
  [[ -n ${test_sets// /} ]] || die "--eval-sets is empty"
  for name in $test_sets; do
    [[ $name =~ ^(dev_clean|dev_other|test_clean|test_other|dev_clean_2)$ ]] ||
      die "--eval-sets: '$name' is none of dev_clean dev_other test_clean test_other dev_clean_2"
  done
  if [[ $vocabulary_size == auto ]]; then
    if [[ $part == mini ]]; then vocabulary_size=1000; else vocabulary_size=5000; fi
  fi
  [[ $vocabulary_size =~ ^[1-9][0-9]{0,8}$ ]] ||
    die "--vocabulary-size $vocabulary_size: expected a number of pieces, or auto"
  if [[ -z $tag ]]; then # each part its own experiments
    tag=$(basename "${train_config%.yaml}")_$part
  fi
}

corpus_identity() {
  inputs=("part=$part" "librispeech=$librispeech" "eval_sets=$eval_sets" "strict=$strict")
  if [[ -n $librispeech ]]; then inputs+=("%$librispeech"); fi
}

prepare_data() {
  local name
  local -a made=("$train_set=$train_parts")
  if [[ $part == mini ]]; then made+=("dev_clean_2=dev-clean-2"); else made+=("dev=dev-clean,dev-other"); fi
  for name in $test_sets; do
    if [[ $name != "$dev_set" ]]; then made+=("$name=${name//_/-}"); fi
  done
  local -a options=(--outdir data)
  if $strict; then options+=(--strict); fi
  if [[ -n $librispeech ]]; then options+=(--librispeech "$librispeech"); fi
  local/data.sh "${options[@]}" "${made[@]}"
}

run_stages "$@"
