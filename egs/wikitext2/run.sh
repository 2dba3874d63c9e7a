#!/usr/bin/env bash
# WikiText-2: an AWD-LSTM language model, trained in full and then top-down.
#
# Examples:
#   ./run.sh --wikitext2 ~/corpora/wikitext-2 --train-config conf/train_awdlstm.yaml
#   ./run.sh --text ~/my_texts --min-count 3
#   ./run.sh --wikitext2-heldout ~/corpora/wikitext-2 --min-count 3
#   ./run.sh --wikitext2 ~/corpora/wikitext-2 --stage 4 --stop-stage 4 --cascade-stages 2
set -euo pipefail
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=egs/wikitext2/path.sh
. ./path.sh

# shellcheck source=utils/lm.sh
. "$CASCADE_ASR_ROOT/utils/lm.sh"

train_config=conf/train_small.yaml

# begin options
# Corpus, for stage 0: one of the first three
wikitext2=           # folder of WikiText-2: wiki.train.tokens and so on; not the raw variant
text=                # folder with train.txt, valid.txt and test.txt of your own
wikitext2_heldout=   # folder with WikiText-2's valid and test text alone: trains on the
                     # test text, develops on the first half of the valid text, tests on
                     # the second
strict=false         # stop if the corpus is not all of WikiText-2
# end options

corpus_identity() {
  inputs=("wikitext2=$wikitext2" "text=$text" "wikitext2_heldout=$wikitext2_heldout"
    "strict=$strict")
  local name
  for name in "$wikitext2" "$text" "$wikitext2_heldout"; do # their files may have other names
    if [[ -n $name ]]; then inputs+=("%$name"); fi
  done
}

prepare_data() {
  local/data.sh --data data ${wikitext2:+--wikitext2 "$wikitext2"} ${text:+--text "$text"} \
    ${wikitext2_heldout:+--wikitext2-heldout "$wikitext2_heldout"} --strict "$strict"
}

run_stages "$@"
