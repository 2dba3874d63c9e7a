#!/usr/bin/env bash
# Add branch `finetune` to a finished experiment: one stage more, which trains everything from the
# weights of the last. It is added to a copy, exp/TAG_finetune, because selection in the original
# would otherwise choose among its stages, too.
#
#   cd egs/digits && ../../experiments/finetune.sh rnn_seed1 conf/cascade.yaml --seed 1 [options of run.sh]
set -euo pipefail

if [ $# -lt 2 ]; then
  sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
  exit 1
fi
tag=$1 cascade=$2
shift 2
[ -f "exp/$tag/selection.json" ] || { echo "$0: exp/$tag/selection.json: not found; train it first" >&2; exit 1; }
[ -f "$cascade" ] || { echo "$0: $cascade: no such file" >&2; exit 1; }

copy=exp/${tag}_finetune
if [ ! -d "$copy" ]; then
  rm -rf "$copy.new"
  cp -r "exp/$tag" "$copy.new"
  mv "$copy.new" "$copy"
fi
{ cat "$cascade"; echo "finetune: true"; } > "$copy.yaml"
./run.sh "$@" --tag "${tag}_finetune" --cascade-config "$copy.yaml" --controls none
