#!/usr/bin/env bash
# Stage 0 of egs/wikitext2: data/train.txt, data/valid.txt and data/test.txt.
#
# Example:
#   local/data.sh --wikitext2 ~/corpora/wikitext-2 --data data
set -euo pipefail

# begin options
data=data            # folder to write to
wikitext2=           # folder of WikiText-2
text=                # folder with train.txt, valid.txt and test.txt
wikitext2_heldout=   # folder with WikiText-2's valid and test text
strict=false         # stop where the corpus is not all of WikiText-2
# end options

# shellcheck source=utils/parse_options.sh
. "$CASCADE_ASR_ROOT/utils/parse_options.sh"
parse_options "$@"

given=()
if [[ -n $wikitext2 ]]; then given+=(--wikitext2 "$wikitext2"); fi
if [[ -n $text ]]; then given+=(--text "$text"); fi
if [[ -n $wikitext2_heldout ]]; then given+=(--wikitext2-heldout "$wikitext2_heldout"); fi
if ((${#given[@]} == 0)); then
  die "no corpus given. This recipe needs one of
  --wikitext2 DIR          WikiText-2 (wikitext-2-v1, 4.3 MB packed; not the raw variant), which has
                           wiki.train.tokens, wiki.valid.tokens and wiki.test.tokens. Search for
                           'WikiText-2' at the page of its authors (Salesforce Research) or at
                           Hugging Face (Salesforce/wikitext, wikitext-2-v1)
  --text DIR               a folder of your own with train.txt, valid.txt and test.txt,
                           words separated by blanks, one sentence or paragraph a line
  --wikitext2-heldout DIR  WikiText-2's valid and test text alone: a small training, minutes on a CPU"
fi
((${#given[@]} == 2)) || die "give one of --wikitext2, --text and --wikitext2-heldout, not several"
if $strict; then given+=(--strict); fi
exec python -m cascade_asr.cli.lm_text text "${given[@]}" "$data"
