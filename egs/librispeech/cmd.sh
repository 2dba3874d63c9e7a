# To be sourced after the options: how jobs run, by --cmd. Sites edit this file.
# shellcheck shell=bash disable=SC2034,SC2154 # used by, and set by, utils/asr.sh
case $cmd in
  local)
    train_cmd="run.pl --max-jobs-run $nj"
    decode_cmd="run.pl --max-jobs-run $nj"
    ;;
  stdout)
    train_cmd="run.pl --max-jobs-run $nj --show 1"
    decode_cmd="run.pl --max-jobs-run $nj --show 1"
    ;;
  slurm)
    # Options as conf/slurm.conf describes them, for example --mem 4G --time 2:00:00
    train_cmd="slurm.pl --max-jobs-run $nj"
    decode_cmd="slurm.pl --max-jobs-run $nj"
    training_job_options=""
    ;;
  *) die "--cmd $cmd: expected local, stdout or slurm" ;;
esac
