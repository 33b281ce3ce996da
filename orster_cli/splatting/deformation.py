"""The deformation field: canonical Gaussians to Gaussians at a time (Eq. 7 and 9).

N Gaussians, M control nodes, F features, O outputs of the head. The head is one zero-initialised linear
layer whose outputs are added to the canonical parameters, so that the field starts as the identity. With
control nodes, a second head moves these, the Gaussians follow them, and the first adds what they leave.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.types import Gaussians
from orster_cli.splatting.hexplane import HexPlane, HexPlaneConfig
from orster_cli.splatting.mlp import apply_layers
from orster_cli.splatting.nodes import DELTAS, ControlNodes
from orster_cli.splatting.root import RootMotion
from orster_cli.splatting.st_hexplane import STHexPlane

MOST_SCALES = 16
# the largest numbers of a field that is read from a file
_MOST = {
    "width": 4096, "hidden": 64, "prior_width": 4096, "channels": 1024, "resolution": 4096,
    "time_resolution": 4096, "scale": 64, "scales": MOST_SCALES, "nodes": 65536, "leave": 1000,
    "resize": 1000, "root": 65536,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DeformationConfig:
    """`width`, `hidden`: width and number of hidden layers of the MLP; `opacity`, `color`: whether the
    field deforms them too; `prior_width`: output width of the attention over each prior; `nodes`: number of
    control nodes, or 0; `leave`: how far a Gaussian may move from where its nodes take it, along each axis,
    in world units (0: any distance); `resize`: how far a log scale may be from the canonical one (0: any
    distance); `root`: number of keys of the root motion, or 0."""

    hexplane: HexPlaneConfig = field(default_factory=HexPlaneConfig)
    width: int = 64
    hidden: int = 1
    opacity: bool = False
    color: bool = False
    prior_width: int = 32
    nodes: int = 0
    leave: float = 0.0
    resize: float = 0.0
    root: int = 0

    @property
    def outputs(self) -> int:
        """O: 3 of the mean, 4 of the quaternion, 3 of the log scale, then opacity and colour."""
        return 10 + int(self.opacity) + 3 * int(self.color)

    def to_dict(self) -> dict[str, Any]:
        """The config as JSON values."""
        out = asdict(self)
        out["hexplane"]["scales"] = list(self.hexplane.scales)
        if not self.nodes:
            del out["nodes"], out["leave"]  # unknown to readers older than control nodes
        if not self.resize:
            del out["resize"]
        if not self.root:
            del out["root"]
        return out

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DeformationConfig:
        """The inverse of `to_dict`. Raises InputError for values that `to_dict` does not write."""
        try:
            planes = dict(values["hexplane"])
            planes["scales"] = tuple(planes["scales"])
            rest = {key: value for key, value in values.items() if key != "hexplane"}
            for scale in planes["scales"][:MOST_SCALES]:
                _check_value("scale", scale)
            sizes = planes | rest | {"scales": len(planes["scales"])}
            for key, value in sizes.items():
                _check_value(key, value)
            return cls(hexplane=HexPlaneConfig(**planes), **rest)
        except (ConfigError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"deformation config: {type(error).__name__}: {error}",
                hint="the asset was written by another version; construct it again",
            ) from error


def _check_value(key: str, value: object) -> None:
    """ValueError: a field of an asset that no fit writes, which would take time and memory to build."""
    most = _MOST.get(key)
    if most is None:
        fits, expected = isinstance(value, bool), "true or false"
    elif key in ("leave", "resize"):
        fits, expected = type(value) in (int, float) and 0 <= value <= most, f"0 to {most}"  # type: ignore[operator]
    else:
        fits, expected = type(value) is int and 0 <= value <= most, f"0 to {most}"
    if not fits:
        raise ValueError(f"{key}: expected {expected}, got {str(value)[:40]}")


class DeformationField(nn.Module):
    """Gaussians at time t: HexPlane features, a small MLP, a residual head.

    `aabb` [2,3]: bounding box of the canonical means. `spatial_prior`, `temporal_prior`: tokens [M,P]
    of O^s and O^t, or None; `nodes`, `root`: with as many nodes and keys as the config says, or None for 0.
    `residual`: whether the Gaussians leave their nodes; without nodes it has no effect.
    """

    def __init__(
        self,
        config: DeformationConfig,
        aabb: Tensor,
        *,
        spatial_prior: Tensor | None = None,
        temporal_prior: Tensor | None = None,
        nodes: ControlNodes | None = None,
        root: RootMotion | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if config.nodes != (0 if nodes is None else len(nodes.positions)):
            raise ValueError(f"DeformationField: expected {config.nodes} control nodes")
        if config.root != (0 if root is None else len(root.quats)):
            raise ValueError(f"DeformationField: expected {config.root} keys of the root motion")
        self.config = config
        self.nodes = nodes
        self.root = root
        self.residual = True
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.features = STHexPlane(
                HexPlane(config.hexplane, aabb, seed=seed),
                spatial=spatial_prior,
                temporal=temporal_prior,
                width=config.prior_width,
            )
            widths = [self.features.features] + [config.width] * config.hidden
            self.trunk = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
            self.head = nn.Linear(widths[-1], config.outputs)
            if nodes is not None:
                self.node_trunk = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
                self.node_head = nn.Linear(widths[-1], DELTAS)
        for head in [self.head] if nodes is None else [self.head, self.node_head]:
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    # Eq. 7, and Eq. 9 where priors are given: dp, R, s <- HexPlane(D(x, y, z, t)). R and s are added
    # too, to the quaternions and the log scales.
    # Eq. 10: G^4D = Decoder(G + dp, R, s); the decoder is the rasterizer.
    def forward(self, gaussians: Gaussians, t: float) -> Gaussians:
        """The Gaussians at time `t` in [0,1]; quaternions are not normalised (their norm is near 1)."""
        moved, most = self._everything(gaussians, t), self.config.resize
        if most > 0:
            change = most * ((moved.log_scales - gaussians.log_scales) / most).tanh()
            moved = replace(moved, log_scales=gaussians.log_scales + change)
        return moved if self.root is None else self.root(moved, t)

    def _everything(self, gaussians: Gaussians, t: float) -> Gaussians:
        if self.nodes is None:
            return self._moved(gaussians, self.features(gaussians.means, t))
        count = len(self.nodes.positions)
        points = self.nodes.positions
        if self.residual:  # one call for both: the planes are read once
            points = torch.cat([points, gaussians.means])
        features = self.features(points, t).split([count, len(points) - count])
        deltas = apply_layers(features[0], [*self.node_trunk, self.node_head])
        means, quats, log_scales = self.nodes(
            deltas, gaussians.means, gaussians.quats, gaussians.log_scales
        )
        followed = replace(gaussians, means=means, quats=quats, log_scales=log_scales)
        return self._moved(followed, features[1]) if self.residual else followed

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """What is learned: the "planes", and the "network" that reads them."""
        found: dict[str, list[nn.Parameter]] = {"planes": [], "network": []}
        for name, parameter in self.named_parameters():
            found["planes" if ".planes." in name else "network"].append(parameter)
        return found

    @property
    def time_cells(self) -> int:
        """Of its planes."""
        return self.config.hexplane.time_resolution

    def node_deltas(self, t: float) -> Tensor:
        """[M,10] motion of the control nodes at time `t` in [0,1], within the root's: translations,
        what is added to the quaternion (1, 0, 0, 0), log scales."""
        assert self.nodes is not None
        features = self.features(self.nodes.positions, t)
        return apply_layers(features, [*self.node_trunk, self.node_head])

    def _moved(self, gaussians: Gaussians, features: Tensor) -> Gaussians:
        """`gaussians` with what the head makes of `features` [N,F] added."""
        delta = apply_layers(features, [*self.trunk, self.head])
        parts = delta.split([3, 4, 3, delta.shape[1] - 10], dim=-1)
        shift, most = parts[0], self.config.leave
        if self.nodes is not None and most > 0:
            shift = most * (shift / most).tanh()
        opacity_logits, sh = gaussians.opacity_logits, gaussians.sh
        if self.config.opacity:
            opacity_logits = opacity_logits + parts[3][:, 0]
        if self.config.color:
            dc = sh[:, :1] + parts[3][:, None, -3:]
            sh = dc if sh.shape[1] == 1 else torch.cat([dc, sh[:, 1:]], dim=1)
        return replace(
            gaussians,
            means=gaussians.means + shift,
            quats=gaussians.quats + parts[1],
            log_scales=gaussians.log_scales + parts[2],
            opacity_logits=opacity_logits,
            sh=sh,
        )
