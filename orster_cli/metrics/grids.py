"""The videos that SV4D's metrics read from an image matrix, one row a view and one column a moment
(Xie et al. 2024, sec. 5.1). V views, F moments.
"""

from __future__ import annotations

Path = list[tuple[int, int]]  # (view, moment) of each frame


def grid_paths(kind: str, views: int, moments: int) -> list[Path]:
    """The clips of a V x F matrix that `kind` compares:

    "f": each view over time; "v": each moment over the views; "diag": from each view on, both advance
    together (views go round); "4d": all images once, row by row, every other row backwards."""
    rows = [[(v, f) for f in range(moments)] for v in range(views)]
    if kind == "f":
        return rows
    if kind == "v":
        return [[(v, f) for v in range(views)] for f in range(moments)]
    if kind == "diag":
        return [[((v + f) % views, f) for f in range(moments)] for v in range(views)]
    if kind == "4d":
        return [
            [place for v, row in enumerate(rows) for place in (row if v % 2 == 0 else row[::-1])]
        ]
    raise ValueError(f"grid_paths: expected f, v, diag or 4d, got {kind!r}")
