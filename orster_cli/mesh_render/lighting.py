"""The fixed lighting of all rendered frames, in the world frame.

Soft lighting from all sides, so that every side of the object is visible in its own colours: a
hemispheric ambient term (brighter from above) and three directional lights around the object. All
values are linear; albedo 1 facing the key light from above stays just below white.
Diffuse only (Lambert), two-sided, without shadows.
"""

from __future__ import annotations

import numpy as np

AMBIENT_SKY = 0.50
AMBIENT_GROUND = 0.26
# azimuth in degrees (0 in front of the object, counter-clockwise seen from above), elevation,
# intensity
_DIRECTIONAL = ((35.0, 45.0, 0.42), (160.0, 30.0, 0.26), (-75.0, 20.0, 0.22))


def _direction(azimuth: float, elevation: float) -> list[float]:
    az, el = np.radians(azimuth), np.radians(elevation)
    return [np.cos(el) * np.sin(az), -np.cos(el) * np.cos(az), np.sin(el)]


LIGHT_DIRECTIONS = np.array([_direction(az, el) for az, el, _ in _DIRECTIONAL])  # towards the light
LIGHT_INTENSITIES = np.array([intensity for _, _, intensity in _DIRECTIONAL])
