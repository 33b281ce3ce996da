#!/usr/bin/env bash
# An asset from a text, another from examples/creature.glb, both measured, and a page that shows them. It prints
# each command before it runs it. Usage: examples/demo.sh [folder]
set -euo pipefail
exec orster demo "${1:-demo}"
