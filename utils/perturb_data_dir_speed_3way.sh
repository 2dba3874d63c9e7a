#!/usr/bin/env bash
# Make a data folder from another one, at speeds 0.9, 1.0 and 1.1.
# Usage: utils/perturb_data_dir_speed_3way.sh [options] SOURCE DESTINATION
#  e.g.: utils/perturb_data_dir_speed_3way.sh data/train data/train_sp
# Features are left out; the copies' ids begin with sp0.9- and sp1.1-.
set -euo pipefail

# begin options
always_include_prefix=false   # true: those of speed 1 begin with sp1.0-
# end options

root=$(CDPATH='' cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=path.sh
. "$root/path.sh"
# shellcheck source=utils/parse_options.sh
. "$root/utils/parse_options.sh"
# shellcheck disable=SC2034 # read by parse_options
positional_usage="SOURCE DESTINATION"
parse_options "$@"
((${#arguments[@]} == 2)) || die "expected SOURCE DESTINATION, found ${#arguments[@]} arguments; see --help"
source=${arguments[0]%/}
destination=${arguments[1]%/}
[[ -f $source/utt2spk ]] || die "$source has no utt2spk"
[[ ! $source -ef $destination ]] || die "$source and $destination are the same folder"

mkdir -p "$(dirname "$destination")"
work=$(mktemp -d "$destination.XXXXXX.tmp")
trap 'rm -rf "$work"' EXIT
for factor in 0.9 1.1; do perturb_data_dir_speed.sh "$factor" "$source" "$work/$factor"; done
if $always_include_prefix; then
  copy_data_dir.sh --utt-prefix sp1.0- --spk-prefix sp1.0- --validate-opts "--no-feats" "$source" "$work/1.0"
  rm -f "$work/1.0/feats.scp" "$work/1.0/cmvn.scp" "$work/1.0/utt2num_frames"
else
  ln -s "$(realpath "$source")" "$work/1.0"
fi
combine_data.sh "$destination" "$work/1.0" "$work/0.9" "$work/1.1"
