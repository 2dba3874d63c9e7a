#!/usr/bin/env bash
# Does a frozen classifier from three speakers help with 20 strings of a fourth? Part A trains on
# george, jackson and nicolas, part B on lucas: from scratch, below A's classifier (the cascade),
# below a random one, above A's lower layers (bottom-up), and from scratch for as long (longer).
# Both are copies of the recipe, egs/digits_a and egs/digits_b. Finished trainings are not repeated.
#
#   cd egs/digits && ../../experiments/digits_transfer.sh 1,2,3,4,5 [options of run.sh]
set -euo pipefail

if [ $# -lt 1 ] || [ ! -f local/prepare_digits.py ]; then
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 1
fi
seeds=$1
shift
for part in a b; do
  [ ! -d "../digits_$part" ] || continue # another seed of it may be running
  rm -rf "../digits_$part.new"
  mkdir "../digits_$part.new"
  cp -r run.sh cmd.sh path.sh conf local "../digits_$part.new"
  mv "../digits_$part.new" "../digits_$part"
done
conf=../../experiments/conf

cd ../digits_a
./run.sh "$@" --speakers george,jackson,nicolas --train-strings 900 --seeds "$seeds" --tag a --stop-stage 3

cd ../digits_b
mkdir -p exp
for seed in ${seeds//,/ }; do
  trained=../digits_a/exp/a_seed$seed
  { cat $conf/cascade_digits_part_b.yaml; echo "first_source: $trained/full"; } > "exp/b_seed$seed.yaml"
  ./run.sh "$@" --speakers lucas --train-strings 20 --dev-strings 100 --seed "$seed" --tag "b_seed$seed" \
    --token-list ../digits_a/dump/tokens --train-config $conf/digits_part_b.yaml \
    --cascade-config "exp/b_seed$seed.yaml" --controls longer,random-top,bottom-up
done
