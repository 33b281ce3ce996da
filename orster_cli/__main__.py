"""`python -m orster_cli` and the `orster` command."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    # Idle OpenMP threads must sleep, not spin: on small machines they starve the rasterizer.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from orster_cli.app import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
