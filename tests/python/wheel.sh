#!/usr/bin/env bash
# Installs a wheel into an environment that has nothing else, and holds it to its own program
# (check.py).
#
#   wheel.sh WHEEL [VIDEOS FEATURES]
set -eu
wheel=$(realpath "${1:?the wheel}")
project=$(realpath "$(dirname "$0")/../..")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv --without-pip "$folder/environment"
python=$folder/environment/bin/python
python3 -m pip --python "$python" install --quiet --disable-pip-version-check "$wheel[frame]" onnxruntime
mkdir "$folder/work"
cd "$folder/work"
unset PYTHONPATH REELSCALE_PROGRAM
"$python" -I "$project/tests/python/check.py" "$project" "${2:-2000}" "${3:-512}"
echo "$(basename "$wheel"): $(du -k "$wheel" | cut -f 1) KiB"
