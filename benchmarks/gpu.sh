#!/usr/bin/env bash
# What only a GPU can show: gsplat against the other rasterizers, and construct at the paper's setting
# beside the CPU's, the diffusion's trunk beside diffusers', and what training holds in the device's memory
# beside what --dry-run says. Usage: benchmarks/gpu.sh OUT [GLB]. Needs an environment with orster in it.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?usage: benchmarks/gpu.sh OUT [GLB]}
glb=${2:-../shared/data/glb}
python=${PYTHON:-python}
mkdir -p "$out"
"$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available() and "no CUDA device here")'
"$python" -m orster_cli doctor | tee "$out/doctor.txt"
"$python" -m pytest tests/gpu | tee "$out/parity.txt"
"$python" -m benchmarks.construct_gpu --glb "$glb" --set construct.lpips=0 --out "$out/construct_gpu.md"
"$python" -m benchmarks.trunk --device cuda --sizes small,paper --precision bf16 --out "$out/trunk_gpu.md"
"$python" -m benchmarks.memory_plan --device cuda --template small --out "$out/memory_plan_gpu.md"
