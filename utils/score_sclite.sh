#!/usr/bin/env bash
# Word and character error rates of a decoding folder; the numbers are sclite's.
#
# Usage: utils/score_sclite.sh [options] DATA DECODE
#  e.g.: utils/score_sclite.sh --remove "<NOISE>" data/test_dev93 exp/asr/decode_test_dev93
#
# DATA has text and utt2spk, DECODE has text. The reports go to DECODE/score_wer
# and DECODE/score_cer: result.txt as `sclite -o all stdout` prints it, and
# result.json with counts and intervals.
set -euo pipefail

# begin options
wer=true            # score words
cer=true            # score characters
cer_spaces=true     # count spaces as characters, as ESPnet does; false: as sclite -c does
remove=""           # words, separated by spaces, that count on neither side
case_sensitive=false
                    # whether A differs from a
strict=false        # whether a reference without a hypothesis is an error
bootstrap=1000      # resampled sets for the 95% interval; 0: none
seed=0              # of the bootstrap
# end options

# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
# shellcheck source=utils/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"
# shellcheck disable=SC2034 # read by parse_options
positional_usage="DATA DECODE"
parse_options "$@"
# shellcheck disable=SC2154 # set by parse_options
[[ ${#arguments[@]} -eq 2 ]] || die "expected DATA and DECODE; see --help"
data=${arguments[0]}
decode=${arguments[1]}
for file in "$data/text" "$data/utt2spk" "$decode/text"; do
  [[ -s $file ]] || die "$file is missing or empty"
done

flags=(--ref "$data/text" --hyp "$decode/text" --utt2spk "$data/utt2spk" --format text
       --encoding utf-8 "--remove=$remove" --bootstrap "$bootstrap" --seed "$seed")
if $case_sensitive; then flags+=(--case-sensitive); fi
if $strict; then flags+=(--strict); fi
if $wer; then
  log "WER of $decode"
  python -m cascade_asr.cli.score "${flags[@]}" --outdir "$decode/score_wer"
fi
if $cer; then
  flags+=(--char)
  if $cer_spaces; then
    flags+=(--spaces)
    log "CER of $decode (with spaces)"
  else
    log "CER of $decode (without spaces)"
  fi
  python -m cascade_asr.cli.score "${flags[@]}" --outdir "$decode/score_cer"
fi
