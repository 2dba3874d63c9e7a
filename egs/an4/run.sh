#!/usr/bin/env bash
# CMU AN4: spelled names, dates and commands, 48 minutes by 84 speakers, freely available.
# Uses ESPnet's sets and a BLSTM or a Transformer, trained in full and then top-down.
#
# Examples:
#   ./run.sh                                       # downloads the corpus, 64 MB
#   ./run.sh --an4 ~/corpora/an4_sphere.tar.gz --token-type bpe
#   ./run.sh --an4 ~/corpora/an4 --train-config conf/train_transformer.yaml \
#     --cascade-config conf/cascade_transformer.yaml
#   ./run.sh --an4-mfcc ~/corpora/an4_mfcc.tar.gz --train-config conf/train_ctc.yaml \
#     --cascade-config conf/cascade_ctc.yaml --decode-config conf/decode_ctc.yaml
set -euo pipefail
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=egs/an4/path.sh
. ./path.sh

train_set=train_nodev
dev_set=train_dev
test_sets="train_dev test"

# shellcheck source=utils/asr.sh
. "$CASCADE_ASR_ROOT/utils/asr.sh"

train_config=conf/train_rnn.yaml
speed_perturb_factors=auto
add_deltas=auto
vocabulary_size=30

# begin options
# Corpus
an4=                 # AN4, a folder or an archive (an4_sphere.tar.gz); none: a download
an4_mfcc=            # its Sphinx cepstra instead of audio, a folder or an archive
dev_utterances=100   # 1.. the first training utterances by id become train_dev, as in ESPnet
raw_byte_order=auto  # big or little, for a corpus of .raw files; auto: detected
speed_perturb_factors=auto
                     # speeds of further copies of the training data; auto: "0.9 1.1",
                     # none with cepstra
add_deltas=auto      # append derivatives to the features; auto: true with cepstra, else false
vocabulary_size=30   # 1.. pieces, for --token-type bpe
# end options

adjust_options() {
  [[ -z $an4 || -z $an4_mfcc ]] || die "--an4 and --an4-mfcc: give one of them"
  local factors="0.9 1.1" deltas=false
  if [[ -n $an4_mfcc ]]; then factors='' deltas=true; fi
  if [[ $speed_perturb_factors == auto ]]; then speed_perturb_factors=$factors; fi
  if [[ $add_deltas == auto ]]; then add_deltas=$deltas; fi
  [[ -z $an4_mfcc || -z $speed_perturb_factors ]] ||
    die "--speed-perturb-factors '$speed_perturb_factors': cepstra cannot be perturbed, only audio"
}

corpus_identity() {
  inputs=("an4=$an4" "an4_mfcc=$an4_mfcc" "dev_utterances=$dev_utterances"
    "raw_byte_order=$raw_byte_order" ${an4:+"%$an4"} ${an4_mfcc:+"%$an4_mfcc"})
}

prepare_data() {
  local/data.sh --outdir data --dev-utterances "$dev_utterances" --raw-byte-order "$raw_byte_order" \
    ${an4:+--an4 "$an4"} ${an4_mfcc:+--an4-mfcc "$an4_mfcc"}
}

run_stages "$@"
