#!/usr/bin/env bash
# Build the wheel, install it into a virtual environment of its own as docs/install.md says, and
# run the doctor, a tiny cascade of a speech model and the example of docs/library.md with it.
# Too slow for tests/run.sh: it installs 1 GB. An environment that is there already is used again.
# Usage: tests/check_wheel.sh FOLDER
#  e.g.: tests/check_wheel.sh /tmp/wheel
set -euo pipefail

if [[ $# != 1 || $1 == -* ]]; then
  sed -n '/^#!/d; /^#/!q; s/^# \{0,1\}//; p' "${BASH_SOURCE[0]}"
  exit 1
fi
root=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
mkdir -p "$1"
folder=$(CDPATH='' cd "$1" && pwd -P)
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV CASCADE_ASR_ROOT
PATH=$(printf '%s' "$PATH" | tr ':' '\n' | grep -v "^$root" | paste -sd:)

say() { printf '%6s s  %s\n' "$SECONDS" "$*"; }

[[ -x $folder/venv/bin/python ]] || python3 -m venv "$folder/venv"
pip() { "$folder/venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
torch=$(sed -n 's/^torch_version=//p' "$root/utils/setup_env.sh")
if ! "$folder/venv/bin/python" -c "import torch; assert torch.__version__.startswith('$torch')" 2>/dev/null; then
  gpu=(--index-url https://download.pytorch.org/whl/cpu)
  if [[ -n ${CASCADE_ASR_ANY_INDEX-} ]]; then gpu=(); fi # where the own index has the build for CPUs
  pip install "torch==$torch" ${gpu[@]+"${gpu[@]}"}
  say "torch $torch installed"
fi
rm -rf "$folder/source" "$folder/wheels"
mkdir -p "$folder/source"
(cd "$root" && cp -r --parents cascade_asr utils conf egs/TEMPLATE tests/requirements.txt setup.py pyproject.toml \
  MANIFEST.in README.md LICENSE path.sh "$folder/source")
pip wheel --no-deps --wheel-dir "$folder/wheels" "$folder/source"
say "wheel built: $(du -h "$folder"/wheels/cascade_asr-*.whl | cut -f 1)"
pip install --force-reinstall --no-deps "$folder"/wheels/cascade_asr-*.whl
pip install "$folder"/wheels/cascade_asr-*.whl
pip install --no-deps espnet==202511
say "installed: $("$folder/venv/bin/python" -m pip list 2>/dev/null | tail -n +3 | wc -l) packages"

export PATH=$folder/venv/bin:$PATH OMP_NUM_THREADS=1
work=$(mktemp -d "$folder/work.XXXXXX")
cd "$work"
cascade-asr --version
cascade-asr doctor
say "the doctor is content"

PYTHONPATH=$root/tests python - <<'END'
from pathlib import Path
import yaml
from tiny_corpus import TINY_CONFIG, make_dump
make_dump(Path("dump"))
Path("train.yaml").write_text(yaml.safe_dump(TINY_CONFIG))
END
printf 'cuts: [decoder]\n' >cascade.yaml
for what in check full cascade; do
  cascade-asr training "$what" --exp exp/tiny --dump dump --train-set train --dev-set dev \
    --train-config train.yaml --cascade-config cascade.yaml --ngpu 0 >"$what.log" 2>&1 ||
    { cat "$what.log"; exit 1; }
done
[[ -f exp/tiny/stage1/model.pth && -f exp/tiny/selection.json ]]
cascade-asr list
say "a tiny cascade of a speech model"

# shellcheck disable=SC2016 # backticks of Markdown
sed -n '/^```python$/,/^```$/p' "$root/docs/library.md" | sed '/^```/d' >example.py
python example.py
say "the example of docs/library.md"
python -c 'import cascade_asr; print(cascade_asr.__file__)'
cd "$folder" && rm -rf "$work"
say "all is well"
