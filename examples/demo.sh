#!/usr/bin/env bash
# Assets from a static object, a text and an image, each measured, and a page that plays them. It prints each
# command before it runs it. Usage: examples/demo.sh [folder]
set -euo pipefail
exec orster demo "${1:-demo}"
