"""Keyframe samplers of glTF: STEP, LINEAR (slerp for rotations), CUBICSPLINE.

K keyframes, W width of the value (3, 4 or the number of morph targets).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One animated property of one node.

    `times` [K] seconds, not decreasing; `values` [K,W], or [K,3,W] for CUBICSPLINE (in-tangent,
    value, out-tangent)."""

    node: int
    path: str  # "translation", "rotation", "scale" or "weights"
    interpolation: str  # "STEP", "LINEAR" or "CUBICSPLINE"
    times: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, kw_only=True)
class AnimationClip:
    """A named animation from its first keyframe, `start`, to its last, `end` (seconds)."""

    name: str
    channels: tuple[Channel, ...]
    start: float
    end: float

    @property
    def duration(self) -> float:
        return self.end - self.start


def slerp(a: np.ndarray, b: np.ndarray, u: float) -> np.ndarray:
    """Unit quaternion between `a` [4] and `b` [4], along the shorter arc."""
    dot = float(a @ b)
    if dot < 0.0:
        b, dot = -b, -dot
    if dot > 0.9995:  # nearly parallel: the normalised straight line
        mixed = a + u * (b - a)
    else:
        angle = np.arccos(min(dot, 1.0))
        mixed = (np.sin((1 - u) * angle) * a + np.sin(u * angle) * b) / np.sin(angle)
    return mixed / max(float(np.linalg.norm(mixed)), 1e-12)


def sample(channel: Channel, time: float) -> np.ndarray:
    """The value [W] at `time` in seconds; constant before the first and after the last keyframe."""
    times, values = channel.times, channel.values
    cubic = channel.interpolation == "CUBICSPLINE"
    after = int(np.searchsorted(times, time, side="right"))
    if after == 0 or after == len(times):
        edge = values[0 if after == 0 else -1]
        value = edge[1] if cubic else edge
        return _unit(value) if channel.path == "rotation" else value
    k = after - 1
    if channel.interpolation == "STEP":
        return _unit(values[k]) if channel.path == "rotation" else values[k]
    step = float(times[after] - times[k])  # > 0: times[k] <= time < times[after]
    u = (time - float(times[k])) / step
    if not cubic:
        if channel.path == "rotation":
            return slerp(_unit(values[k]), _unit(values[after]), u)
        return values[k] + u * (values[after] - values[k])
    # specification appendix C.5: Hermite spline with tangents scaled by the interval
    u2, u3 = u * u, u * u * u
    value = (
        (2 * u3 - 3 * u2 + 1) * values[k, 1]
        + step * (u3 - 2 * u2 + u) * values[k, 2]
        + (-2 * u3 + 3 * u2) * values[after, 1]
        + step * (u3 - u2) * values[after, 0]
    )
    return _unit(value) if channel.path == "rotation" else value


def _unit(quaternion: np.ndarray) -> np.ndarray:
    """The normalised quaternion; the identity for a zero quaternion."""
    norm = float(np.linalg.norm(quaternion))
    if norm < 1e-12:
        return np.array([0.0, 0.0, 0.0, 1.0])
    return quaternion / norm
