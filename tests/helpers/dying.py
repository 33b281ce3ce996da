"""Processes that die at chosen points, for the tests of what they leave behind."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable

# what Python announces before it changes the file system
_CHANGES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "ctypes.dlsym")


def _child(work: Callable[[], object]) -> int:
    """Run `work` in a forked process that exits with 0, or 1 after an exception; its id."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def run(work: Callable[[], object]) -> bool:
    """Run `work` in a forked process; whether it went through, without an error or a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(_child(work), 0)[1]) == 0


def killed_at(work: Callable[[], object], change: int) -> bool:
    """SIGKILL before the `change`-th change of the file system; False when there were fewer."""

    def dying() -> None:
        left = change

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in _CHANGES and not (event == "open" and arguments[1] in ("r", "rb")):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        work()

    return os.WIFSIGNALED(os.waitpid(_child(dying), 0)[1])


def countdown(step: int) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """A decorator: this process dies by SIGKILL before the `step`-th call of any function it wraps."""
    left = step

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*args: object, **kwargs: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return wrapper

    return counted


def killed_after(work: Callable[[], object], seconds: float) -> bool:
    """SIGKILL after that time; False when `work` had ended by then."""
    pid = _child(work)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def random_moments(work: Callable[[], object], count: int, seed: int) -> list[float]:
    """Times in seconds, spread over what `work` takes here."""
    started = time.monotonic()
    assert run(work)
    spent = time.monotonic() - started
    rng = random.Random(seed)
    return [rng.uniform(0, spent) for _ in range(count)]


def with_files_limited(work: Callable[[], object], size: int) -> int:
    """Run `work` where no file can grow beyond `size` bytes; the exit code it returns, or 255 when
    it raises."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        os._exit(work())  # type: ignore[arg-type]

    code = os.waitstatus_to_exitcode(os.waitpid(_child(limited), 0)[1])
    return 255 if code == 1 else code
