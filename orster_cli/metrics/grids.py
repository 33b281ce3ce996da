"""The videos that SV4D's metrics read from an image matrix (Xie et al. 2024, sec. 5.1): one row for each
view, one column for each moment. V views, F moments.
"""

from __future__ import annotations

Path = list[tuple[int, int]]  # (view, moment) of each frame


def grid_paths(kind: str, views: int, moments: int) -> list[Path]:
    """The clips of a V x F matrix that `kind` compares:

    - "f": each view over time.
    - "v": each moment over the views.
    - "diag": the diagonals; view and moment advance together, and views wrap around.
    - "4d": all images once, row by row, every other row backwards.

    ValueError: another kind."""
    rows = [[(v, f) for f in range(moments)] for v in range(views)]
    if kind == "f":
        return rows
    if kind == "v":
        return [[(v, f) for v in range(views)] for f in range(moments)]
    if kind == "diag":
        return [[((v + f) % views, f) for f in range(moments)] for v in range(views)]
    if kind == "4d":
        return [[cell for v, row in enumerate(rows) for cell in (row if v % 2 == 0 else row[::-1])]]
    raise ValueError(f"grid_paths: expected f, v, diag or 4d, got {kind!r}")
