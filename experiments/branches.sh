#!/usr/bin/env bash
# Train every branch for several seeds, in a recipe's folder: full training, cascade and controls,
# then branch `finetune`: one stage more, which trains everything from the weights of the last.
# It is added to a copy, exp/TAG_seedN_finetune, because selection in the original would otherwise
# choose among its stages, too. Finished trainings are not repeated.
#
#   cd egs/digits && ../../experiments/branches.sh 1,2,3 rnn conf/cascade.yaml [options of run.sh]
set -euo pipefail

if [ $# -lt 3 ]; then
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 1
fi
seeds=$1 tag=$2 cascade=$3
shift 3
[ -f "$cascade" ] || { echo "$0: $cascade: no such file" >&2; exit 1; }

./run.sh --controls longer,continue,bottom-up,best-of-n,random-top,keep "$@" \
  --seeds "$seeds" --tag "$tag" --cascade-config "$cascade"

{ cat "$cascade"; echo "finetune: true"; } > "exp/${tag}_finetune.yaml"
for seed in ${seeds//,/ }; do
  trained=exp/${tag}_seed$seed copy=exp/${tag}_seed${seed}_finetune
  if [ ! -d "$copy" ]; then
    rm -rf "$copy.new"
    cp -r "$trained" "$copy.new"
    mv "$copy.new" "$copy"
  fi
  ./run.sh "$@" --seed "$seed" --tag "${copy#exp/}" --cascade-config "exp/${tag}_finetune.yaml" --controls none
done
