#!/usr/bin/env bash
# From a text to an animated 3D asset with the model that ships, then the same from an animated object that
# the repository brings, and both measured. Usage: examples/demo.sh [folder]
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
echo "look at $out/frog/asset/preview.mp4 and $out/asset/preview.mp4 (assets turning while they move),"
echo "and at $out/frog-report/report.html and $out/report/report.html (their figures)"
