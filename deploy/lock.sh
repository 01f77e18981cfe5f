#!/usr/bin/env bash
# Compile all lock files with hashes; they name no host: `lock.sh PYTHON`.
set -eu
python=$1
"$python" -m pip install -q 'uv>=0.8'
compile() {
  "$python" -m uv pip compile --quiet --generate-hashes --no-emit-index-url --universal \
    --python-version 3.11 --no-header "$@"
}
compile pyproject.toml --extra build -o requirements.lock
compile pyproject.toml --extra build --extra distributed -o requirements-distributed.lock
compile pyproject.toml --extra build --extra dev -o requirements-dev.lock
compile tests/interop/requirements.in -o requirements-interop.lock
compile tests/fuzz/requirements.in -o requirements-fuzz.lock
