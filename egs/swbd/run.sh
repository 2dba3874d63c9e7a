#!/usr/bin/env bash
# Switchboard: telephone conversations, 313 hours, from LDC's folders to WERs on eval2000
# and rt03, scored as in the Hub5 evaluations.
#
# Examples:
#   ./run.sh --swbd /corpora/LDC97S62 --eval2000 "/corpora/LDC2002S09 /corpora/LDC2002T43"
#   ./run.sh --swbd /corpora/LDC97S62 --eval2000 "/corpora/LDC2002S09 /corpora/LDC2002T43" \
#     --rt03 /corpora/LDC2007S10 --fisher "/corpora/LDC2004T19 /corpora/LDC2005T19" \
#     --conv-tab /corpora/LDC97S62-docs/conv_tab.csv
#   ./run.sh --train-config conf/train_conformer.yaml --stage 3
#   ./run.sh --stage 4 --stop-stage 4 --cascade-stages 2
set -euo pipefail
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=egs/swbd/path.sh
. ./path.sh

train_set=train_nodup
dev_set=train_dev
test_sets="train_dev eval2000"

# shellcheck source=utils/asr.sh
. "$CASCADE_ASR_ROOT/utils/asr.sh"

train_config=conf/train_transformer.yaml
speed_perturb_factors="0.9 1.1"
min_frames=11
max_frames=1999
max_characters=399
token_type=bpe
non_linguistic_symbols=conf/non_linguistic_symbols.txt

# begin options
# Corpora, for stage 0; several folders in one argument, such as "DIR DIR"
swbd=                # folders of LDC97S62: audio and transcripts, these in it or beside it
eval2000=            # folders of LDC2002S09 (speech) and LDC2002T43 (transcripts)
rt03=                # folder of LDC2007S10; adds rt03 to --test-sets
fisher=              # folders of LDC2004T19 and LDC2005T19: text for ./run_lm.sh
conv_tab=            # conv_tab.csv of LDC97S62, with the speakers; none: each side is one
test_sets="train_dev eval2000"
                     # sets to score: train_dev, eval2000, rt03
upsample=false       # resample to 16 kHz, for a 16 kHz model; otherwise 8 kHz features
dev_utterances=4000  # 1.. the first segments of Switchboard, used for model selection
max_repeats=300      # 1.. keep at most this many segments of a text such as "yeah"
corpus_seed=1        # 0.. seed of that choice
allow_missing=false  # skip missing audio
strict=false         # stop if a set's number of segments differs from LDC's
# end options

adjust_options() {
  if [[ -n $rt03 && " $test_sets " != *" rt03 "* ]]; then test_sets+=" rt03"; fi
  if $upsample && [[ $fbank_config == conf/fbank.conf ]]; then fbank_config=conf/fbank_16k.conf; fi
}

corpus_identity() {
  inputs=("swbd=$swbd" "eval2000=$eval2000" "rt03=$rt03" "fisher=$fisher" "conv_tab=$conv_tab"
    "sets=${sets[*]}" "upsample=$upsample" "dev_utterances=$dev_utterances"
    "max_repeats=$max_repeats" "corpus_seed=$corpus_seed" "allow_missing=$allow_missing"
    "strict=$strict" ${conv_tab:+"@$conv_tab"})
  local option folder
  local -a folders transcripts=()
  for option in swbd eval2000 rt03 fisher; do
    folders=("${!option}") # one folder, perhaps with a blank in its name; or several
    if [[ ! -d ${!option} ]]; then read -ra folders <<<"${!option}"; fi
    for folder in ${folders[@]+"${folders[@]}"}; do
      inputs+=("%$folder")
      if [[ $option == swbd ]]; then # transcripts may lie beside it
        transcripts+=("$(dirname "$folder")"/[Ss][Ww][Bb]_[Mm][Ss]98_[Tt]ranscriptions)
      fi
    done
  done
  for folder in ${transcripts[@]+"${transcripts[@]}"}; do
    if [[ -d $folder ]]; then inputs+=("%$folder"); fi
  done
}

prepare_data() {
  [[ -n $swbd ]] || die "--swbd: which folder has LDC97S62?"
  local name evaluated=false
  for name in eval2000 rt03; do
    [[ " $test_sets " == *" $name "* ]] || continue
    evaluated=true
    [[ -n ${!name} ]] || die "--$name: where is it? Or leave it out: --test-sets train_dev"
  done
  if $evaluated; then # better told now than after days of training
    python -m cascade_asr.cli.score_hub5 --check ${sctk:+--sctk "$sctk"} >/dev/null
  fi
  local -a options=()
  if $upsample; then options+=(--upsample); fi
  if $allow_missing; then options+=(--allow-missing); fi
  if $strict; then options+=(--strict); fi
  local/data.sh --outdir data ${swbd:+--swbd "$swbd"} ${eval2000:+--eval2000 "$eval2000"} \
    ${rt03:+--rt03 "$rt03"} ${fisher:+--fisher "$fisher"} ${conv_tab:+--conv-tab "$conv_tab"} \
    --seed "$corpus_seed" --max-repeats "$max_repeats" --dev-utterances "$dev_utterances" \
    ${options[@]+"${options[@]}"} --sets "$original_train_set" "${sets[@]:1}"
}

run_stages "$@"
