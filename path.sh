# To be sourced, from anywhere (a recipe's path.sh sources this one). Environment
# only: which python and which tools are meant, and the sort order of Kaldi tables.
# shellcheck shell=bash

CASCADE_ASR_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
export CASCADE_ASR_ROOT
case ":$PATH:" in
  *":$CASCADE_ASR_ROOT/.venv/bin:$CASCADE_ASR_ROOT/utils:"*) ;;
  *) export PATH="$CASCADE_ASR_ROOT/.venv/bin:$CASCADE_ASR_ROOT/utils:$PATH" ;;
esac
case ":${PYTHONPATH-}:" in
  *":$CASCADE_ASR_ROOT:"*) ;;
  *) export PYTHONPATH="$CASCADE_ASR_ROOT${PYTHONPATH:+:$PYTHONPATH}" ;;
esac
# Python takes UTF-8 for its files under this locale.
export LC_ALL=C
