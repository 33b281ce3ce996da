"""Backgrounds that shade smoothly: the gradients and vignettes of studios and of image generators.

Each colour is a polynomial of the place, of degree 4, fitted to what is connected to the border, first to
the border alone and then to all that it explains. H W pixels, C = 15 coefficients a colour.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

DEGREE = 4
ROUNDS = 8  # in which what belongs to the backdrop grows
REWEIGHTED = 4  # fits of each round, each with less weight for what the last one explains badly
SIDE = 96  # pixels of the longer side, at which a backdrop is fitted
RING = 2  # of these pixels, from the border, that are looked at first
EXPLAINED = 0.03  # colour distance


def fit_backdrop(frame: Tensor) -> Tensor:
    """[3,H,W] what stands behind the object in `frame` [3,H,W], if it shades smoothly: whether the border
    really has these colours is left to the caller."""
    height, width = frame.shape[1:]
    longer = max(height, width)
    size = [max(round(n * SIDE / longer), 2 * RING + 2) for n in (height, width)]
    small = F.interpolate(frame[None], size=size, mode="bilinear", antialias=True)[0]
    terms = _terms(*size)
    colors = small.permute(1, 2, 0).double().numpy()
    belongs = np.zeros(size, bool)
    belongs[:RING] = belongs[-RING:] = True
    belongs[:, :RING] = belongs[:, -RING:] = True
    found = np.zeros((terms.shape[-1], 3))
    for _ in range(ROUNDS):
        found = _fitted(terms[belongs], colors[belongs])
        explained = np.abs(terms @ found - colors).max(axis=-1) < EXPLAINED
        grown = outside_pixels(explained, explained.size + 1)
        if not grown.any() or np.array_equal(grown, belongs):
            break
        belongs = grown
    behind = np.clip(_terms(height, width) @ found, 0, 1)
    return torch.from_numpy(behind).permute(2, 0, 1).to(frame.dtype)


@lru_cache(maxsize=2)
def _terms(height: int, width: int) -> np.ndarray:
    """[H,W,C] the monomials at each pixel's middle, places from -1 to 1."""
    y = (np.arange(height) + 0.5) / height * 2 - 1
    x = (np.arange(width) + 0.5) / width * 2 - 1
    y, x = np.meshgrid(y, x, indexing="ij")
    powers = [(a, b) for a in range(DEGREE + 1) for b in range(DEGREE + 1 - a)]
    return np.stack([x**a * y**b for a, b in powers], axis=-1)


def _fitted(terms: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """[C,3] of `terms` [P,C] and `colors` [P,3], by distances and not by their squares."""
    weight = np.ones(len(terms))
    found = np.zeros((terms.shape[1], 3))
    for _ in range(REWEIGHTED):
        root = np.sqrt(weight)[:, None]
        found = np.linalg.lstsq(terms * root, colors * root, rcond=None)[0]
        off = np.abs(terms @ found - colors).max(axis=1)
        weight = 1 / np.maximum(off, EXPLAINED / 10)
    return found


def outside_pixels(clear: np.ndarray, hole: int) -> np.ndarray:
    """[H,W] bool: pixels of `clear` [H,W] that are connected to the border (by their 4 neighbours),
    and enclosed groups of at least `hole` of them."""
    from scipy import ndimage

    groups, count = ndimage.label(clear)
    outside = np.bincount(groups.ravel(), minlength=count + 1) >= hole
    for side in (groups[0], groups[-1], groups[:, 0], groups[:, -1]):
        outside[side] = True
    outside[0] = False  # the label of all pixels that are not clear
    return outside[groups]
