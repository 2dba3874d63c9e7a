#!/usr/bin/env bash
# Connected spoken digits, read by six speakers: a small BLSTM with CTC and
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
fsdd=                # Free Spoken Digit Dataset, a folder or an archive; none: searched in
                     # $CORPORA, else downloaded, else synthesised
corpus_seed=1        # 0.. seed of the strings, pauses and noise
train_strings=1200   # 1.. training utterances
dev_strings=200      # 1.. dev utterances, used for model selection
test_strings=200     # 1.. utterances of each test set
speakers=            # of train, dev and test_seen, such as george,lucas; none: all four
# end options

corpus_identity() {
  local source
  source=$(python local/corpus_in_use.py ${fsdd:+--fsdd "$fsdd"}) || exit 1
  inputs=("source=$source" "fsdd=$fsdd" "corpus_seed=$corpus_seed" "train_strings=$train_strings"
    "dev_strings=$dev_strings" "test_strings=$test_strings" ${speakers:+"speakers=$speakers"})
}

prepare_data() {
  local/data.sh --outdir data --seed "$corpus_seed" --train-strings "$train_strings" \
    --dev-strings "$dev_strings" --test-seen-strings "$test_strings" \
    --test-unseen-strings "$test_strings" ${speakers:+--speakers "$speakers"} ${fsdd:+--fsdd "$fsdd"}
}

run_stages "$@"
