# To be sourced after the options: how jobs run, by --cmd. Sites edit this file.
# shellcheck shell=bash disable=SC2034,SC2154 # used by, and set by, utils/asr.sh
case $cmd in
  local | stdout)
    train_cmd="run.pl --max-jobs-run $nj"
    decode_cmd="run.pl --max-jobs-run $nj"
    ;;
  *) die "--cmd $cmd: expected local or stdout" ;;
esac
