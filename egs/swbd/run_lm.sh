#!/usr/bin/env bash
# A language model for shallow fusion: Fisher's transcripts and Switchboard's, in the pieces
# of the recogniser.
#
# Examples:
#   ./run.sh --swbd /corpora/LDC97S62 --eval2000 "/corpora/LDC2002S09 /corpora/LDC2002T43" \
#     --fisher "/corpora/LDC2004T19 /corpora/LDC2005T19" --stop-stage 4
#   ./run_lm.sh
#   ./run.sh --stage 5 --decode-config conf/decode_lm.yaml
set -euo pipefail
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=egs/swbd/path.sh
. ./path.sh

# begin options
# Text
train_set=train_nodup        # whose transcripts are added to Fisher's
dev_set=train_dev            # whose transcripts select
fisher_text=data/lm/fisher.txt
                             # made by stage 0 of run.sh with --fisher; may be missing
# end options

# shellcheck source=utils/fusion_lm.sh
. "$CASCADE_ASR_ROOT/utils/fusion_lm.sh"

# transcripts SET: without the ids; an utterance without words is no line
transcripts() { cut --only-delimited --delimiter ' ' --fields 2- "data/$1/text"; }

make_text() {
  local -a fisher=("$fisher_text")
  if [[ ! -f $fisher_text ]]; then
    log "no $fisher_text (run.sh --fisher, stage 0): Switchboard's transcripts alone"
    fisher=()
  fi
  mkdir -p data/lm
  transcripts "$train_set" | cat ${fisher[@]+"${fisher[@]}"} - >data/lm/train.txt.partial
  transcripts "$dev_set" >data/lm/valid.txt.partial
  mv data/lm/train.txt.partial data/lm/train.txt
  mv data/lm/valid.txt.partial data/lm/valid.txt
  log "$(wc -l data/lm/train.txt data/lm/valid.txt | sed 's/^ *//' | paste --serial --delimiters ';')"
}

run_lm_stages "$@"
