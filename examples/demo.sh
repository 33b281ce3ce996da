#!/usr/bin/env bash
# The main job on what the repository brings: an animated object becomes an orbital clip, the clip an
# animated 3D asset, the asset figures. Usage: examples/demo.sh [folder]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-demo}
mkdir -p "$out"

orster prepare-data "$here/creature.glb" -o "$out/dataset" --resolution 128 --eval-views 36
orster construct "$out/dataset#creature-00" -o "$out/asset" --preset fast
orster evaluate "$out/asset" --reference "$out/dataset#creature-00:eval" -o "$out/report"

echo
echo "look at $out/asset/preview.mp4 (the asset turning while it moves) and $out/report/report.html"
