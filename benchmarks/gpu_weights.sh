#!/usr/bin/env bash
# Train the models of the package within MINUTES on a GPU machine that may have nothing but this checkout, torch, and
# what `PARTS` holds: vae/ and encoder/ (models), made with the packs by tools.latent_pack. OUT gets what goes home.
# Usage: benchmarks/gpu_weights.sh OUT MINUTES PARTS PACK...
# MORE="--from MODEL" goes on with a model; tools/timed_training.py lists what else MORE may hold.
# Rehearsed without a GPU: MORE="--device cpu --most 2 --set finetune.batch=2 ..." benchmarks/gpu_weights.sh ...
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?usage: benchmarks/gpu_weights.sh OUT MINUTES PARTS PACK...}
minutes=$2 parts=$3
shift 3
# shellcheck disable=SC2086
"${PYTHON:-python3}" -u -m tools.timed_training --pack "$@" --vae "$parts/vae" --encoder "$parts/encoder" \
  --out "$(mktemp -d)" --minutes "$minutes" --mirror --export "$out" ${MORE:-}
