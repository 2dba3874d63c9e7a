# To be sourced by a recipe's run.sh: the stages that all language-model recipes share.
#
# The recipe defines prepare_data (stage 0: makes data/{train,valid,test}.txt) and
# corpus_identity (what that depends on), may change the defaults below, and calls
#   run_stages "$@"
# Any stage can be started alone in a new shell: everything it needs is declared up here.
# shellcheck shell=bash disable=SC2034 # much of this is read by utils/stages.sh

train_set=train
dev_set=valid
test_sets="valid test"
kind_file=$CASCADE_ASR_ROOT/utils/lm.sh
# shellcheck source=utils/stages.sh
. "$CASCADE_ASR_ROOT/utils/stages.sh"
task=text
stage_names=("text" "vocabulary" "batches" "full training" "cascade stages" "perplexities"
  "report")

# begin options
# Stages: 0 text, 1 vocabulary, 2 batches, 3 full training, 4 cascade stages,
# 5 perplexities, 6 report
min_count=1            # 1.. tokens seen fewer times in the training text become <unk>
evaluate_config=conf/evaluate.yaml  # how perplexities are computed; the neural cache
# end options

check_kind_options() {
  [[ -f $evaluate_config ]] || die "--evaluate-config $evaluate_config: no such file"
  if ((processes > 1 || nodes > 1)); then
    die "--processes $processes, --nodes $nodes: a language model trains in one process"
  fi
}

declare_kind_paths() { :; }

stage_0() { prepare_data; }

stage_1() {
  require_file data/train.txt 0
  python -m cascade_asr.cli.lm_text vocabulary data dump --min-count "$min_count"
}

stage_2() {
  require_file dump/tokens/tokens.txt 1
  python -m cascade_asr.cli.lm_text batches data dump
  check_training
}

require_training_data() {
  require_file dump/train/tokens.npy 2
  require_file dump/valid/tokens.npy 2
}

stage_5() {
  require_file "$exp/selection.json" 3
  local models
  models=$(python -m cascade_asr.cli.stages "$exp")
  # shellcheck disable=SC2086 # lists of names
  python -m cascade_asr.cli.perplexity --exp "$exp" --dump dump --config "$evaluate_config" \
    ${ngpu:+--ngpu "$ngpu"} --models $models --texts $test_sets
}

stage_6() {
  require_file "$exp/full/perplexity.json" 5
  # shellcheck disable=SC2086 # a list of names
  python -m cascade_asr.cli.report --task text --exp "$exp" --dev-set "$dev_set" \
    --samples "$report_samples" $test_sets
}
