#!/usr/bin/env bash
# Wall Street Journal: read newspaper sentences, 81 hours, from LDC's discs to WERs.
#
# Examples:
#   ./run.sh --wsj0 /corpora/LDC93S6B --wsj1 /corpora/LDC94S13B
#   ./run.sh --wsj /corpora/wsj --train-config conf/train_ctc.yaml --cascade-config conf/cascade_ctc.yaml
#   ./run.sh --wsj /corpora/wsj --train-set train_si84 --test-sets "test_eval92 test_eval93"
#   ./run.sh --stage 4 --stop-stage 4 --cascade-stages 2
set -euo pipefail
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=egs/wsj/path.sh
. ./path.sh

train_set=train_si284
dev_set=test_dev93
test_sets="test_dev93 test_eval92"

# shellcheck source=utils/asr.sh
. "$CASCADE_ASR_ROOT/utils/asr.sh"

train_config=conf/train_rnn.yaml
non_linguistic_symbols=conf/non_linguistic_symbols.txt

# begin options
# Corpus
wsj0=                # folder with the discs of LDC93S6A or LDC93S6B
wsj1=                # folder with the discs of LDC94S13A or LDC94S13B
wsj=                 # one folder instead of both, with wsj0 and wsj1 or with all discs
train_set=train_si284
                     # train_si284 or train_si84
dev_set=test_dev93   # dev set, used for model selection; also dev_dt_20
test_sets="test_dev93 test_eval92"
                     # sets to score; also test_eval93, test_dev93_5k,
                     # test_eval92_5k, test_eval93_5k, dev_dt_20, dev_dt_05
wsj0_train_spkrinfo= # genders of si84's speakers; this file is not on the discs
clean_words=false    # remove the marks of words such as *DECLINED* and ,COMMA
allow_missing=false  # skip missing audio
strict=false         # stop if a set's number of utterances differs from LDC's
# end options

corpus_identity() {
  inputs=("wsj0=$wsj0" "wsj1=$wsj1" "wsj=$wsj" "sets=${sets[*]}" "clean_words=$clean_words"
    "wsj0_train_spkrinfo=$wsj0_train_spkrinfo" "allow_missing=$allow_missing" "strict=$strict"
    ${wsj0:+"%$wsj0"} ${wsj1:+"%$wsj1"} ${wsj:+"%$wsj"}
    ${wsj0_train_spkrinfo:+"@$wsj0_train_spkrinfo"})
}

prepare_data() {
  local -a options=()
  if $clean_words; then options+=(--clean-words); fi
  if $allow_missing; then options+=(--allow-missing); fi
  if $strict; then options+=(--strict); fi
  local/data.sh --outdir data ${wsj0:+--wsj0 "$wsj0"} ${wsj1:+--wsj1 "$wsj1"} ${wsj:+--wsj "$wsj"} \
    ${wsj0_train_spkrinfo:+--wsj0-train-spkrinfo "$wsj0_train_spkrinfo"} ${options[@]+"${options[@]}"} \
    --sets "$original_train_set" "${sets[@]:1}"
}

run_stages "$@"
