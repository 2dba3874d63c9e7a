#!/usr/bin/env bash
# A recipe for your own data: three sets, each a manifest (.csv, .tsv, .jsonl), a Common Voice
# list, lhotse cuts, a Hugging Face audio folder, or a Kaldi data folder.
#
# Examples:
#   ./run.sh --train-data mine/train.csv --dev-data mine/dev.csv --test-data mine/test.csv
#   ./run.sh --train-data cv/cy/train.tsv --dev-data cv/cy/dev.tsv --test-data cv/cy/test.tsv
#   ./run.sh --train-data mine/train --dev-data mine/dev --test-data mine/test  # wav.scp, text, utt2spk
set -euo pipefail
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=egs/TEMPLATE/path.sh
. ./path.sh

train_set=train
dev_set=dev
test_sets="test"

# shellcheck source=utils/asr.sh
. "$CASCADE_ASR_ROOT/utils/asr.sh"

# begin options
# Data
train_data=          # training data: a manifest, a list of Common Voice, lhotse's, or a data folder
dev_data=            # dev data, used for model selection
test_data=           # test data
data_format=auto     # manifest, common-voice, lhotse, audiofolder, kaldi; auto: found out
import_options="--sample-rate 16000"
                     # of cascade-asr import-data, such as "--columns text=sentence --skip-faults"
# end options

corpus_identity() {
  inputs=("train_data=$train_data" "dev_data=$dev_data" "test_data=$test_data"
    "data_format=$data_format" "import_options=$import_options")
  local given
  for given in "$train_data" "$dev_data" "$test_data"; do
    if [[ -e $given ]]; then inputs+=("%$given"); fi
  done
}

prepare_data() {
  [[ -n $train_data && -n $dev_data && -n $test_data ]] ||
    die "--train-data, --dev-data, --test-data: give a manifest or a data folder for each; ./run.sh --help has examples"
  import_set train "$train_data"
  import_set dev "$dev_data"
  import_set test "$test_data"
}

import_set() {
  local -a options
  read -ra options <<<"$import_options"
  python -m cascade_asr.cli.import_data ${options[@]+"${options[@]}"} -- "$data_format" "$2" "data/$1"
}

run_stages "$@"
