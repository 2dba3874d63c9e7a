#!/usr/bin/env bash
# A character language model for shallow fusion: the newspapers of 1987 to 1989 on disc
# 13-32.1 and the training transcripts, in the tokens of the recogniser.
#
# Examples:
#   ./run.sh --wsj0 /corpora/LDC93S6B --wsj1 /corpora/LDC94S13B --stop-stage 4
#   ./run_lm.sh --wsj0 /corpora/LDC93S6B --wsj1 /corpora/LDC94S13B
#   ./run.sh --wsj0 /corpora/LDC93S6B --wsj1 /corpora/LDC94S13B --stage 5 \
#     --decode-config conf/decode_lm.yaml
set -euo pipefail
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=egs/wsj/path.sh
. ./path.sh

# begin options
# Text
wsj0=                  # folder with the discs of LDC93S6A or LDC93S6B
wsj1=                  # folder with the discs of LDC94S13A or LDC94S13B
wsj=                   # instead of both: one folder with wsj0 and wsj1, or with all discs
train_set=train_si284  # whose transcripts are added to the newspapers
dev_set=test_dev93     # whose transcripts select
# end options

# shellcheck source=utils/fusion_lm.sh
. "$CASCADE_ASR_ROOT/utils/fusion_lm.sh"

make_text() {
  python local/lm_text.py ${wsj0:+--wsj0 "$wsj0"} ${wsj1:+--wsj1 "$wsj1"} ${wsj:+--wsj "$wsj"} \
    --data data --train-set "$train_set" --dev-set "$dev_set" --outdir data/lm
}

run_lm_stages "$@"
