#!/usr/bin/env bash
# Copy a data folder, without its audio; ids may get prefixes and suffixes.
# Usage: utils/copy_data_dir.sh [options] SOURCE DESTINATION
#  e.g.: utils/copy_data_dir.sh --spk-prefix noisy- --utt-prefix noisy- data/train data/train_noisy
# Recordings of a folder with segments keep their ids; without segments a recording is an
# utterance and takes its new id. With new ids, utt2uniq says which utterance each one was.
set -euo pipefail

# begin options
utt_prefix=        # before the ids of utterances; should begin as --spk-prefix does
utt_suffix=        # behind them
spk_prefix=        # before the ids of speakers
spk_suffix=        # behind them
validate_opts=     # for validate_data_dir.sh, beside --no-feats and --no-text where the
                   # source has none, such as "--no-wav"
# end options

root=$(CDPATH='' cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=path.sh
. "$root/path.sh"
# shellcheck source=utils/parse_options.sh
. "$root/utils/parse_options.sh"
# shellcheck disable=SC2034 # read by parse_options
positional_usage="SOURCE DESTINATION"
words=()
while (($#)); do # --validate-opts --no-wav, as Kaldi's scripts write it
  if [[ $1 =~ ^--validate[-_]opts$ && $# -gt 1 ]]; then
    words+=("--validate-opts=$2")
    shift
  else
    words+=("$1")
  fi
  shift
done
parse_options ${words[@]+"${words[@]}"}
((${#arguments[@]} == 2)) || die "expected SOURCE DESTINATION, found ${#arguments[@]} arguments; see --help"
source=${arguments[0]%/}
destination=${arguments[1]%/}
for name in utt_prefix utt_suffix spk_prefix spk_suffix; do
  [[ ${!name} != *[[:space:]]* ]] || die "--${name/_/-} '${!name}': a blank would end the id"
done
[[ -f $source/utt2spk ]] || die "$source has no utt2spk"
mkdir -p "$destination"
[[ ! $source -ef $destination ]] || die "$source and $destination are the same folder"

by_utterance=(text utt2lang utt2dur utt2num_frames utt2warp feats.scp vad.scp segments)
by_speaker=(spk2gender)
by_recording=(wav.scp reco2dur reco2file_and_channel)
whole=(stm glm ctm frame_shift)

# renamed FILE PREFIX SUFFIX: add them to the first word of each line, and keep the rest
renamed() {
  if [[ ! -f $source/$1 ]]; then
    rm -f "$destination/$1" # left by an earlier copy
    return
  fi
  prefix=$2 suffix=$3 perl -pe 's/^\s*(\S+)/$ENV{prefix}$1$ENV{suffix}/' "$source/$1" |
    sort -k 1,1 >"$destination/$1.tmp"
  mv "$destination/$1.tmp" "$destination/$1"
}

# Statistics for CMVN are those of speakers or, as some prepare them, of utterances.
if [[ -f $source/cmvn.scp ]] && awk 'FNR == NR { utterances[$1]; speakers[$2]; next }
    { exit !($1 in utterances) || $1 in speakers }' "$source/utt2spk" "$source/cmvn.scp"; then
  by_utterance+=(cmvn.scp)
else
  by_speaker+=(cmvn.scp)
fi

rm -rf "$destination"/split*
# utt2spk also has the speakers' names, as the second word.
utt_prefix=$utt_prefix utt_suffix=$utt_suffix spk_prefix=$spk_prefix spk_suffix=$spk_suffix \
  perl -ne '@words = split; @words == 2 or die "$ARGV:$.: expected \"utterance speaker\", found: $_";
print "$ENV{utt_prefix}$words[0]$ENV{utt_suffix} $ENV{spk_prefix}$words[1]$ENV{spk_suffix}\n"' \
  "$source/utt2spk" | sort -k 1,1 >"$destination/utt2spk"
utt2spk_to_spk2utt.pl "$destination/utt2spk" | sort -k 1,1 >"$destination/spk2utt"
for name in "${by_utterance[@]}"; do renamed "$name" "$utt_prefix" "$utt_suffix"; done
for name in "${by_speaker[@]}"; do renamed "$name" "$spk_prefix" "$spk_suffix"; done
for name in "${by_recording[@]}"; do
  if [[ -f $source/segments ]]; then renamed "$name" "" ""; else renamed "$name" "$utt_prefix" "$utt_suffix"; fi
done
for name in "${whole[@]}"; do
  rm -f "$destination/$name"
  if [[ -f $source/$name ]]; then cp "$source/$name" "$destination/$name"; fi
done
if [[ -f $source/utt2uniq ]]; then
  renamed utt2uniq "$utt_prefix" "$utt_suffix"
elif [[ -n $utt_prefix$utt_suffix ]]; then
  utt_prefix=$utt_prefix utt_suffix=$utt_suffix \
    perl -ne '($id) = split; print "$ENV{utt_prefix}$id$ENV{utt_suffix} $id\n"' \
    "$source/utt2spk" | sort -k 1,1 >"$destination/utt2uniq"
else
  rm -f "$destination/utt2uniq"
fi

read -ra checks <<<"$validate_opts"
for name in feats.scp:feats text:text wav.scp:wav; do
  if [[ ! -f $source/${name%:*} ]]; then checks+=("--no-${name#*:}"); fi
done
validate_data_dir.sh ${checks[@]+"${checks[@]}"} "$destination"
log "copied $source to $destination"
