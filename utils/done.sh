# To be sourced. Is it done? The answer comes from cascade_asr.recipe; see there what counts.
#
#   must_be_done STAGE       for a stage of the recipe that is to be run; false if it is
#                            already done; reason says what has changed since
#   stage_is_done STAGE      the same question, without beginning anything
#   record_done STAGE        after the stage
#   work_is_done FILE INPUT... and record_work FILE OUTPUT...  for a part of a stage
#   about_recipe COMMAND...  another question that needs all options
#   digest_of PATH           a digest of the state of a file or folder of any size
# shellcheck shell=bash disable=SC2154,SC2034 # options are declared by utils/stages.sh

reason='' # why a stage runs again, for the log

# The name of this run: what another one has begun since is not recorded as done by this one.
CASCADE_ASR_RUN="process $$ on $(uname -n) since $(date '+%F %T')"
export CASCADE_ASR_RUN

# about_recipe COMMAND...: ask with all options, and the names of sets and experiment
about_recipe() {
  local name
  local -a values=("exp=$exp" "dump=$dump" "train_set=$train_set" "dev_set=$dev_set"
    "test_sets=$test_sets" "sets=${sets[*]-}" "original_train_set=${original_train_set:-$train_set}")
  for name in "${_option_names[@]}"; do values+=("$name=${!name-}"); done
  python -m cascade_asr.cli.recipe_stage "$@" --kind "${task:-speech}" --values "${values[@]}"
}

_ask() {
  local -a inputs=()
  local answer
  if (($2 == 0)); then corpus_identity; fi
  answer=$(about_recipe "$1" "$2" ${inputs[@]+"${inputs[@]/#/--input=}"}) || exit 1
  reason=${answer#to do: }
  [[ $answer != "done" ]]
}

must_be_done() { _ask begin "$1"; }
stage_is_done() { ! _ask check "$1"; }
record_done() { _ask finish "$1"; }

work_is_done() {
  local answer
  answer=$(python -m cascade_asr.cli.recipe_stage work begin "$@") || exit 1
  [[ $answer == "done" ]]
}

record_work() { python -m cascade_asr.cli.recipe_stage work finish "$@"; }
digest_of() { python -m cascade_asr.cli.recipe_stage digest "$1"; }
