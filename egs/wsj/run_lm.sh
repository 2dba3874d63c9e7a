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
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=egs/wsj/path.sh
. ./path.sh

# begin options
# Stages: 0 text, needs stage 0 of run.sh; 1 token ids, needs stage 2 of run.sh; 2 training
stage=0                # first stage to run
stop_stage=2           # last stage to run
wsj0=                  # folder with the discs of LDC93S6A or LDC93S6B
wsj1=                  # folder with the discs of LDC94S13A or LDC94S13B
wsj=                   # instead of both: one folder with wsj0 and wsj1, or with all discs
train_set=train_si284  # whose transcripts are added to the newspapers
dev_set=test_dev93     # whose transcripts select
train_config=conf/train_lm.yaml
                       # training options
exp=exp/lm             # where the model is put; conf/decode_lm.yaml names it
ngpu=                  # 0 trains on the CPU; none: on a GPU if there is one
# end options

# shellcheck source=utils/parse_options.sh
. "$CASCADE_ASR_ROOT/utils/parse_options.sh"
# shellcheck disable=SC2034 # read by parse_options; $0 was relative to another folder
option_files=("./${0##*/}")
parse_options "$@"
for name in stage stop_stage; do
  [[ ${!name} =~ ^[0-2]$ ]] || die "--${name//_/-} ${!name}: expected a stage from 0 to 2"
done
[[ -f $train_config ]] || die "--train-config $train_config: no such file"

if ((stage <= 0 && stop_stage >= 0)); then
  log "text"
  [[ -f data/$train_set/text ]] || die "no data/$train_set/text: run ./run.sh --stop-stage 2 first"
  python local/lm_text.py ${wsj0:+--wsj0 "$wsj0"} ${wsj1:+--wsj1 "$wsj1"} ${wsj:+--wsj "$wsj"} \
    --data data --train-set "$train_set" --dev-set "$dev_set" --outdir data/lm
fi
if ((stage <= 1 && stop_stage >= 1)); then
  log "token ids"
  [[ -f dump/tokens/tokens.txt ]] || die "no dump/tokens: run ./run.sh --stop-stage 2 first"
  python local/lm_tokens.py --text data/lm --tokens dump/tokens --dump dump/lm
fi
if ((stage <= 2 && stop_stage >= 2)); then
  log "training"
  [[ -f dump/lm/valid/tokens.npy ]] || die "no dump/lm: run stage 1 first (--stage 1)"
  mkdir -p "$exp/log"
  python -m cascade_asr.cli.training full --task text --exp "$exp" --dump dump/lm \
    --train-set train --dev-set valid --train-config "$train_config" --log "$exp/log/full.log" \
    ${ngpu:+--ngpu "$ngpu"}
fi
