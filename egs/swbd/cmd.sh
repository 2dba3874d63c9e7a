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
    # Options as conf/slurm.conf describes them; the audio is read from the corpus, so that
    # many jobs at once make the file server wait.
    train_cmd="slurm.pl --max-jobs-run $nj --mem 4G"
    decode_cmd="slurm.pl --max-jobs-run $nj --mem 4G"
    training_job_options="--mem 32G"
    ;;
  *) die "--cmd $cmd: expected local, stdout or slurm" ;;
esac
