"""A backward pass in Python, for tensors of a device that is not there.

The autograd engine asks the CUDA driver for streams, which a machine without a card has not. This walks
the same graph in the engine's own order, calls the same nodes, and lets go of each as the engine does.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_WALK = -7  # stands for the engine's number of a backward pass, which recomputed layers ask for


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """`owner.name` is `value` in here."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def walk_back(loss: list[Tensor], take: Callable[[Tensor, Tensor], None]) -> None:
    """The backward pass of the only entry of `loss`, which is taken out so that what has been used can
    die; `take` gets each parameter and what it is given."""
    root = loss.pop()
    node, given = root.grad_fn, [torch.ones_like(root)]
    del root
    waits = _edges(node)
    ready: list[tuple[int, int, Any, list[Tensor | None]]] = []
    heapq.heappush(ready, (0, 0, node, given))  # type: ignore[misc]
    gathered: dict[tuple[str, int], list[Tensor | None]] = {}
    del node, given
    tie = 0
    with torch.no_grad(), replaced(torch._C, "_current_graph_task_id", lambda: _WALK):
        while ready:
            _, _, node, given = heapq.heappop(ready)
            results = node(*given)
            results = results if isinstance(results, tuple) else (results,)
            edges = node.next_functions
            del node, given
            for (after, place), grad in zip(edges, results, strict=True):
                if after is None:
                    continue
                key = _key(after)
                if hasattr(after, "variable"):
                    if grad is not None:
                        take(after.variable, _as_wanted(grad, after, 0))
                    continue
                into = gathered.setdefault(key, [None] * len(after._input_metadata))
                if grad is not None:
                    grad = _as_wanted(grad, after, place)
                    before = into[place]
                    into[place] = grad if before is None else before + grad
                waits[key] -= 1
                if not waits[key]:
                    tie += 1
                    entry = (-after._sequence_nr(), tie, after, gathered.pop(key))
                    heapq.heappush(ready, entry)
            del edges, results
            after = grad = before = into = entry = None  # type: ignore[assignment]


def _key(node: Any) -> tuple[str, int]:
    """Names a node of the graph: its number, or the parameter that it gives its gradient to."""
    if hasattr(node, "variable"):
        return "parameter", id(node.variable)
    return "node", node._sequence_nr()


def _edges(root: Any) -> dict[tuple[str, int], int]:
    """How many edges lead to each node. Holds none of them afterwards."""
    waits: dict[tuple[str, int], int] = {}
    seen, left = {_key(root)}, [root]
    while left:
        for after, _ in left.pop().next_functions:
            if after is None:
                continue
            key = _key(after)
            waits[key] = waits.get(key, 0) + 1
            if key not in seen:
                seen.add(key)
                left.append(after)
    return waits


def _as_wanted(grad: Tensor, node: Any, place: int) -> Tensor:
    """In the shape and type of what the node gave, as the engine makes it."""
    wanted = node._input_metadata[place]
    if grad.shape != wanted.shape:
        grad = grad.sum_to_size(wanted.shape)
    return grad if grad.dtype == wanted.dtype else grad.to(wanted.dtype)
