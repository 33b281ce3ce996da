#!/usr/bin/env bash
# What only a GPU can show, in a few minutes on a bare machine without a network: see docs/gpu.md.
# Usage: benchmarks/gpu.sh OUT [options of python -m benchmarks.gpu]. WHEELS: a folder of wheels to install first.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?usage: benchmarks/gpu.sh OUT [options]}
shift
python=${PYTHON:-python3}
if [ -n "${WHEELS:-}" ]; then
    site=$(mktemp -d)
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$WHEELS"/*.whl
    export PYTHONPATH="$site:$PWD${PYTHONPATH:+:$PYTHONPATH}"
fi
export HF_HUB_OFFLINE=1 OMP_WAIT_POLICY=passive
exec "$python" -m benchmarks.gpu --out "$out" "$@"
