"""`python -m orster_cli` and the `orster` command."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130  # the exit code of Ctrl-C (docs/exit-codes.md)


def main() -> None:
    """Run the command line and exit with its code.

    Ctrl-C ends the imports and the interpreter's shutdown without a traceback."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:  # a background job's Ctrl-C stays ignored
        signal.signal(signal.SIGINT, _leave)
    # Idle OpenMP threads must sleep, not spin: on small machines they starve the rasterizer.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from orster_cli.core.systems import open_standard_streams

    open_standard_streams()
    from orster_cli.app import run

    try:
        signal.signal(signal.SIGINT, handler)
        code = run(sys.argv[1:])
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _leave)
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


def _leave(number: int, frame: FrameType | None) -> None:
    """End at once: outside of a command no work is lost, and all output is flushed."""
    del number, frame
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
