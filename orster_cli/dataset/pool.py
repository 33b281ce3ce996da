"""Runs a function over many items in worker processes, in order, with a bounded number in flight.

Processes are spawned, not forked (torch and numba threads do not survive a fork), and exit when their
parent is killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from orster_cli.core.errors import MissingResourceError

Item = TypeVar("Item")
_AHEAD = (
    32  # items in flight per worker, so that a slow item does not block the others (docs/scale.md)
)


def for_each(
    function: Callable[[Item], None], items: Iterable[tuple[Item, bool]], workers: int
) -> Iterator[Item]:
    """Call `function` on each item whose flag is True; yield every item, in order, when finished.

    With 1 worker the calls run in this process. A worker's exception is raised at its item;
    MissingResourceError: a worker was killed, most often for lack of memory."""
    if workers <= 1:
        for item, wanted in items:
            if wanted:
                function(item)
            yield item
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    queue: deque[tuple[Item, Future[None] | None]] = deque()
    try:
        for item, wanted in items:
            queue.append((item, pool.submit(function, item) if wanted else None))
            while len(queue) > _AHEAD * workers:
                yield _finished(*queue.popleft())
        while queue:
            yield _finished(*queue.popleft())
    except BrokenProcessPool:
        raise MissingResourceError(
            "a worker process was killed, most often for want of memory",
            hint="run again with fewer --workers; finished clips are kept",
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _finished(item: Item, future: Future[None] | None) -> Item:
    if future is not None:
        future.result()
    return item


def _start_worker() -> None:
    """Use one thread, ignore Ctrl-C (the parent handles it), and exit with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
    import torch

    torch.set_num_threads(1)
