"""Linear blend skinning of a moving point set: smooth skinning decomposition with rigid bones (SSDR).

Le and Deng, Smooth Skinning Decomposition with Rigid Bones, SIGGRAPH Asia 2012.
W points, K moments, B bones.
x_w(k) = sum_b weights[w,b] (R_b(k) rest_w + t_b(k)), at most `INFLUENCES` weights a point, which sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from orster_cli.geometry.rigid_parts import nearest_rotations

INFLUENCES = 4
ROUNDS = 6
MOST = 4000  # points that bones are sought with; of more, an even draw
BLOCK = 2000  # points whose moves by every bone at every moment are in memory at once
SAME = 1e-12  # squared error of a point that a bone moves exactly, over the mean square of places
_SUM = 10.0  # weight of "the weights sum to 1" in the least squares, in units of the object


@dataclass(frozen=True, eq=False)
class Skinning:
    """`weights` [W,B], `rotations` [K,B,3,3], `translations` [K,B,3]."""

    weights: np.ndarray
    rotations: np.ndarray
    translations: np.ndarray

    def positions(self, rest: np.ndarray) -> np.ndarray:
        """[K,W,3] of points `rest` [W,3]."""
        return np.stack(
            [
                np.einsum("wb,wbc->wc", self.weights, _moved(rest, turn, shift))
                for turn, shift in zip(self.rotations, self.translations, strict=True)
            ]
        )


def fit_skinning(rest: np.ndarray, moved: np.ndarray, bones: int) -> Skinning:
    """The skinning of at most `bones` bones that best moves `rest` [W,3] to `moved` [K,W,3]. Of very many
    points some say where the bones go, and all get weights of their own."""
    every, every_moved = rest, moved
    if len(rest) > MOST:
        some = np.sort(np.random.default_rng(0).choice(len(rest), MOST, replace=False))
        rest, moved = rest[some], moved[:, some]
    labels = _clusters(rest, moved, bones)
    weights = np.eye(labels.max() + 1)[labels]
    rotations, translations = _rigid(rest, moved, weights)
    for _ in range(ROUNDS):
        weights = _weights(rest, moved, rotations, translations)
        rotations, translations = _transforms(rest, moved, weights, rotations, translations)
    weights = _weights(every, every_moved, rotations, translations)
    return Skinning(weights, rotations, translations)


def _moved(rest: np.ndarray, rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """[W,B,3] every point moved by every bone."""
    return np.einsum("bij,wj->wbi", rotations, rest) + translations


def _clusters(rest: np.ndarray, moved: np.ndarray, bones: int) -> np.ndarray:
    """[W] the bone of each point: bones are added where a point is moved worst, then points choose."""
    labels = np.zeros(len(rest), np.int64)
    for _ in range(min(bones, len(rest)) - 1):
        error = _errors(rest, moved, labels)
        own = error[np.arange(len(rest)), labels]
        seed = int(own.argmax())
        if own[seed] < SAME * (moved**2).sum() / len(rest):
            break
        near = np.argsort(((rest - rest[seed]) ** 2).sum(axis=1))[
            : max(len(rest) // (4 * bones), 4)
        ]
        labels[near] = labels.max() + 1
        for _ in range(2):
            labels = _errors(rest, moved, labels).argmin(axis=1)
            labels = np.unique(labels, return_inverse=True)[1].reshape(-1)
    return labels


def _errors(rest: np.ndarray, moved: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[W,B] squared error of each point under each bone, summed over the moments: |R x + t - y|^2, whose
    mixed terms are products of matrices."""
    rotations, translations = _rigid(rest, moved, np.eye(labels.max() + 1)[labels])
    count, bones = len(rest), rotations.shape[1]
    squares = (rest**2).sum(axis=1)[:, None] * len(moved)
    squares = squares + (moved**2).sum(axis=(0, 2))[:, None] + (translations**2).sum(axis=(0, 2))
    pairs = (moved[..., :, None] * rest[:, None, :]).transpose(1, 0, 2, 3).reshape(count, -1)
    back = np.einsum("kbi,kbij->bj", translations, rotations)  # sum over moments of t R
    mixed = rest @ back.T - pairs @ rotations.transpose(0, 2, 3, 1).reshape(-1, bones)
    mixed -= moved.transpose(1, 0, 2).reshape(count, -1) @ translations.transpose(0, 2, 1).reshape(
        -1, bones
    )
    return np.maximum(squares + 2 * mixed, 0.0)


def _rigid(
    rest: np.ndarray, moved: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rotations [K,B,3,3] and translations [K,B,3] of the points of each bone, weighted [W,B]."""
    share = weights / np.maximum(weights.sum(axis=0), 1e-12)
    centre = share.T @ rest  # [B,3]
    centre_now = np.einsum("wb,kwc->kbc", share, moved)
    second = np.einsum("wb,kwi,wj->kbij", share, moved, rest, optimize=True)
    second -= centre_now[..., :, None] * centre[:, None, :]
    rotations = nearest_rotations(second)
    return rotations, centre_now - np.einsum("kbij,bj->kbi", rotations, centre)


def _weights(
    rest: np.ndarray, moved: np.ndarray, rotations: np.ndarray, translations: np.ndarray
) -> np.ndarray:
    """[W,B] non-negative least squares a point, among the bones that move it best alone."""
    parts = [slice(first, first + BLOCK) for first in range(0, len(rest), BLOCK)]
    found = [_weights_of(rest[p], moved[:, p], rotations, translations) for p in parts]
    return np.concatenate(found)


def _weights_of(
    rest: np.ndarray, moved: np.ndarray, rotations: np.ndarray, translations: np.ndarray
) -> np.ndarray:
    """`_weights` of some points."""
    moments, bones = rotations.shape[:2]
    by_bone = np.stack([_moved(rest, rotations[k], translations[k]) for k in range(moments)])
    alone = ((by_bone - moved[:, :, None]) ** 2).sum(axis=(0, 3))  # [W,B]
    candidates = np.argsort(alone, axis=1)[:, : min(2 * INFLUENCES, bones)]
    weights = np.zeros((len(rest), bones))
    for w in range(len(rest)):
        chosen = candidates[w]
        for _ in range(2):  # all candidates, then the largest of them alone
            system = by_bone[:, w, chosen].transpose(0, 2, 1).reshape(3 * moments, -1)
            system = np.concatenate([system, np.full((1, len(chosen)), _SUM)])
            found = nnls(system, np.append(moved[:, w].reshape(-1), _SUM))[0]
            if (found > 0).sum() <= INFLUENCES:
                break
            chosen = chosen[np.argsort(-found)[:INFLUENCES]]
        total = found.sum()
        weights[w, chosen] = found / total if total > 1e-9 else np.eye(len(chosen))[0]
    return weights


# Le and Deng, Eq. 8 to 10: one bone after another, the others fixed.
def _transforms(
    rest: np.ndarray,
    moved: np.ndarray,
    weights: np.ndarray,
    rotations: np.ndarray,
    translations: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    rotations, translations = rotations.copy(), translations.copy()
    for k in range(len(moved)):
        parts = weights[:, :, None] * _moved(rest, rotations[k], translations[k])
        total = parts.sum(axis=1)
        for b in range(weights.shape[1]):
            share = weights[:, b]
            mass = float((share**2).sum())
            if mass < 1e-9:
                continue
            left = moved[k] - total + parts[:, b]  # what this bone has to explain
            centre = (share**2) @ rest / mass
            centre_now = share @ left / mass
            second = (share[:, None] * (left - share[:, None] * centre_now)).T @ (rest - centre)
            turn = nearest_rotations(second[None])[0]
            rotations[k, b], translations[k, b] = turn, centre_now - turn @ centre
            new = share[:, None] * (rest @ turn.T + translations[k, b])
            total += new - parts[:, b]
            parts[:, b] = new
    return rotations, translations
