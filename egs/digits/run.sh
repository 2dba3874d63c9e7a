#!/usr/bin/env bash
# Connected spoken digits, read by six people: a small VGG-BLSTM with CTC and
# attention, trained in full and then top-down.
#
# Examples:
#   ./run.sh                                   # all stages
#   ./run.sh --stage 4 --stop-stage 4 --cascade-stages 2
#   ./run.sh --fsdd ~/corpora/free-spoken-digit-dataset --seed 2
set -euo pipefail
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=egs/digits/path.sh
. ./path.sh

train_set=train
dev_set=dev
test_sets="test_seen test_unseen"

# shellcheck source=utils/asr.sh
. "$CASCADE_ASR_ROOT/utils/asr.sh"

# begin options
# Corpus
fsdd=                # Free Spoken Digit Dataset, a folder or an archive; none: the folder
                     # $CORPORA, else a download, else voices synthesised here
corpus_seed=1        # 0.. of the strings, pauses and noise
train_strings=1200   # 1.. utterances to train on
dev_strings=120      # 1.. dev utterances, used for model selection
test_strings=200     # 1.. utterances of each test set
# end options

# What stage 0 reads, or has read: as local/prepare_digits.py chooses it. Who says nothing
# of a corpus stays with the one that was used.
find_source() {
  local path=$fsdd archive=downloads/free-spoken-digit-dataset-1.0.10.tar.gz
  if [[ -z $path && -n ${CORPORA-} ]]; then path=$(find_in_corpora); fi
  if [[ -z $path && -f $archive ]]; then path=$archive; fi
  if [[ -z $path && -f data/corpus.txt ]]; then
    path=$(sed -n 's/^source: //p' data/corpus.txt)
  fi
  if [[ -e $path ]]; then path=$(realpath -- "$path"); fi
  printf '%s' "$path"
}

# Folders first, then archives.
find_in_corpora() {
  local path
  for path in "$CORPORA"/{free-spoken-digit-dataset,fsdd,FSDD}*; do
    if [[ -d $path ]]; then
      printf '%s' "$path"
      return
    fi
  done
  for path in "$CORPORA"/{free-spoken-digit-dataset,fsdd,FSDD}*; do
    if [[ -f $path && $path =~ \.(tar\.gz|tgz|tar|zip)$ ]]; then
      printf '%s' "$path"
      return
    fi
  done
}

corpus_identity() {
  local source
  source=$(find_source)
  if [[ -e $source ]]; then
    source+=" ($(digest_of "$source"))"
  elif [[ -f data/.stage0.done ]]; then # it is no longer there, and nothing else is
    source=$(sed -n 's/^input source=//p' data/.stage0.done)
  fi
  inputs=("source=$source" "fsdd=$fsdd" "corpus_seed=$corpus_seed" "train_strings=$train_strings"
    "dev_strings=$dev_strings" "test_strings=$test_strings")
}

prepare_data() {
  local/data.sh --outdir data --seed "$corpus_seed" --train-strings "$train_strings" \
    --dev-strings "$dev_strings" --test-seen-strings "$test_strings" \
    --test-unseen-strings "$test_strings" ${fsdd:+--fsdd "$fsdd"}
}

run_stages "$@"
