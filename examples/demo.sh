#!/usr/bin/env bash
# Makes an animated 3D asset from a text with the included model, and another from examples/creature.glb, and
# measures both. Usage: examples/demo.sh [folder]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-demo}
mkdir -p "$out"

orster generate --text "a frog jumping" -o "$out/frog" --preset fast
orster evaluate "$out/frog/asset" --reference "$out/frog/clip" -o "$out/frog-report" \
  --metrics "psnr,ssim,motion,clip-o[mini]"

orster prepare-data "$here/creature.glb" -o "$out/dataset" --resolution 128 --eval-views 36
orster construct "$out/dataset#creature-00" -o "$out/asset" --preset fast
orster evaluate "$out/asset" --reference "$out/dataset#creature-00:eval" -o "$out/report"

echo
echo "assets, turning while they move: $out/frog/asset/preview.mp4 and $out/asset/preview.mp4"
echo "reports: $out/frog-report/report.html and $out/report/report.html"
