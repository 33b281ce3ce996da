"""Training on several processes ends as a whole: where one ends, the others do too, and one of them
says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist

from orster_cli.core.errors import MissingResourceError
from orster_cli.core.live import ENDED

PEER = "E-PEER"
_SAID = ENDED  # made by the first process that ends with an error
# of gloo and of NCCL, where the other end of a connection is gone
_GONE = (
    *("Connection closed by peer", "Connection reset by peer", "Connection refused", "Broken pipe"),
    *("NCCL communicator was aborted", "remote process exited", "ncclRemoteError"),
    "Read timeout [",
)
_EXIT = 4  # that of MissingResourceError


def forget(scratch: Path) -> None:
    """Before the processes of a run begin: an earlier run left its mark."""
    (scratch / _SAID).unlink(missing_ok=True)


def all_done(done: bool, device: torch.device) -> bool:
    """Wait for the other processes of this training. Returns whether every one of them is `done`."""
    if not (dist.is_available() and dist.is_initialized()):
        return done
    every = torch.tensor(int(done), device=device)
    dist.all_reduce(every, dist.ReduceOp.MIN)
    return bool(every)


def peer_is_gone(error: BaseException) -> bool:
    """Whether an exchange failed because another process ended."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    gone = any(text in str(error) for text in _GONE)
    return "DistNetworkError" in kinds or ("RuntimeError" in kinds and gone)


@contextmanager
def ending_together(scratch: Path, processes: int) -> Iterator[None]:
    """In here an error of one of several processes is said once: its own, by the process that has it, or
    that a process is gone (killed, or its machine), by the first that sees it. The others leave with
    exit code 4. MissingResourceError: another process ended."""
    try:
        yield
    except Exception as error:
        if processes == 1:
            raise
        first = _first(scratch)
        if not peer_is_gone(error):
            raise
        if not first:
            raise SystemExit(_EXIT) from None
        raise MissingResourceError(
            "another process of this training ended, so this one cannot go on",
            hint="run the same command again: it goes on from the last checkpoint. If it was killed, often "
            "for lack of memory, --dry-run says what a process needs",
            code=PEER,
        ) from error


def _first(scratch: Path) -> bool:
    try:
        (scratch / _SAID).touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:  # the folder is gone with the process that held it
        return True
    return True
