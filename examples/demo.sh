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

orster export "$out/asset" --to glb --mesh "$here/creature.glb" -o "$out" --force

echo
echo "reports: $out/frog-report/report.html and $out/report/report.html"
echo "the creature's own mesh, animated:" "$out"/*.glb
echo "turn the assets in a browser: open $out/frog/asset/viewer.html and $out/asset/viewer.html"
