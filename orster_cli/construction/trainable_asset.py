"""The trainable asset: canonical Gaussians, their motion, and the optimizers of both.

N Gaussians.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from orster_cli.config.construct import ConstructConfig
from orster_cli.construction.adam import Adam
from orster_cli.construction.densify import DensifyRule, DensityController
from orster_cli.construction.follow_course import Guide, tracked_nodes, warm_start
from orster_cli.construction.hull import SurfacePoints
from orster_cli.construction.node_graph import build_nodes
from orster_cli.construction.rigidity import growth_loss, isometry_loss, nearest_neighbours
from orster_cli.core.errors import NumericalError
from orster_cli.core.types import SH_C0, Course, FitScale, Gaussians
from orster_cli.splatting.deformation import DeformationConfig, DeformationField
from orster_cli.splatting.gaussians4d import Gaussians4D, Motion, Timeline
from orster_cli.splatting.hexplane import HexPlaneConfig
from orster_cli.splatting.nodes import ControlNodes, nodes_of
from orster_cli.splatting.rasterize import Render
from orster_cli.splatting.root import RootMotion, root_of
from orster_cli.splatting.tracks import tracks_of

LEARNING_RATES = {
    "means": 8e-4, "scales": 8e-3, "quats": 4e-3, "opacities": 4e-2, "sh0": 2.5e-2,
    "planes": 3e-2, "network": 1e-3,
}  # fmt: skip
# of the motion, where Gaussians follow control nodes
WITH_NODES = {"planes": 2e-2, "network": 2e-3}
CANONICAL_SCALE = 0.4  # of these rates for the canonical Gaussians after the static stage
ALONG_SCALE = 0.75  # of them where nothing else is learned
FINAL_SCALE = 0.05  # of a learning rate at the end of its decay
MOMENTS = 8  # of the motion, over which distances are compared
BOX_MARGIN = 0.05  # world units around the canonical means
PRIOR_WIDTH = 32
TIME_CELLS = 16  # where the settings leave them open and no clip decides


class TrainableAsset:
    """Parameters `means` [N,3], `scales` [N,3] log, `quats` [N,4], `opacities` [N] logit, `sh0` [N,1,3],
    and the motion's, which has none where it is the `course` (`along`); one Adam with a group for each
    name."""

    def __init__(
        self,
        points: SurfacePoints,
        cfg: ConstructConfig,
        *,
        spatial_prior: Tensor | None = None,
        temporal_prior: Tensor | None = None,
        fitted: FitScale | None = None,
        course: Course | None = None,
        along: bool = False,
    ) -> None:
        n = len(points.positions)
        initial = {
            "means": points.positions.clone(),
            "scales": points.positions.new_full((n, 3), math.log(0.75 * points.spacing)),
            "quats": points.positions.new_tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1),
            "opacities": points.positions.new_full((n,), 1.5),
            "sh0": ((points.colors - 0.5) / SH_C0)[:, None].clone(),
        }
        self.cfg = cfg
        self.fitted = fitted
        self.along = along and course is not None
        self.course = course if self.along or (cfg.course and cfg.nodes) else None
        self._guide: Guide | None = None  # set by `_build_motion`, where there is a course
        self.params: dict[str, nn.Parameter] = {k: nn.Parameter(v) for k, v in initial.items()}
        self.optimizer = self._new_optimizer()
        self.motion: Motion | None = None
        self.density = DensityController(n, points.positions.device)
        self.rate_scale = 1.0
        self.neighbours: Tensor | None = None  # [N,K], in the canonical pose; set by `start_motion`
        self._priors = (spatial_prior, temporal_prior)

    @property
    def has_priors(self) -> bool:
        """Whether the deformation field attends to a spatial or a temporal prior."""
        return any(prior is not None for prior in self._priors)

    @property
    def has_root(self) -> bool:
        """Whether the object moves as a whole."""
        return self.motion is not None and self.motion.field.root is not None

    # -- Gaussians

    def canonical(self, *, detach: bool = False) -> Gaussians:
        """The canonical Gaussians; `detach`: without gradients."""
        read = (lambda p: p.detach()) if detach else (lambda p: p)
        return Gaussians(
            means=read(self.params["means"]),
            log_scales=read(self.params["scales"]),
            quats=torch.nn.functional.normalize(read(self.params["quats"]), dim=-1),
            opacity_logits=read(self.params["opacities"]),
            sh=read(self.params["sh0"]),
            fitted=self.fitted,
        )

    def at(self, phase: float | None, *, detach_canonical: bool = False) -> Gaussians:
        """The Gaussians at `phase` of the motion; None: the canonical ones."""
        canonical = self.canonical(detach=detach_canonical)
        if phase is None or self.motion is None:
            return canonical
        return self.motion(canonical, phase)

    def result(self) -> Gaussians4D:
        """The fitted asset, detached and on the CPU; training must not continue afterwards."""
        canonical = self.canonical(detach=True)
        assert self.motion is not None
        return Gaussians4D(
            canonical=replace(
                canonical,
                means=canonical.means.cpu(),
                log_scales=canonical.log_scales.cpu(),
                quats=canonical.quats.cpu(),
                opacity_logits=canonical.opacity_logits.cpu(),
                sh=canonical.sh.cpu(),
            ),
            motion=self.motion.cpu().requires_grad_(False).train(False),
        )

    # -- the motion

    def start_motion(self, timeline: Timeline, root: RootMotion | None = None) -> None:
        """Create the motion, with the `root` motion of the whole object. There must be none."""
        assert self.motion is None
        means = self.params["means"].detach()
        if self.along and self.course is not None:
            self.motion = Motion(timeline, tracked_nodes(self.course, timeline, means))
            return
        self.neighbours = nearest_neighbours(means)
        box = torch.stack([means.amin(0) - BOX_MARGIN, means.amax(0) + BOX_MARGIN])
        guide, paths = self._new_guide(timeline), means
        if guide is not None:
            paths = guide.paths(means, MOMENTS)
            self.neighbours = nearest_neighbours(paths)
        nodes = build_nodes(means, paths, self.cfg.nodes) if self.cfg.nodes else None
        self._build_motion(timeline, box, nodes, root)
        if guide is not None:
            assert self.motion is not None
            warm_start(self.motion.field, guide, seed=self.cfg.seed)

    def _new_guide(self, timeline: Timeline) -> Guide | None:
        if self.course is not None:
            self._guide = Guide(self.course, timeline, self.params["means"].device)
        return self._guide

    def set_residual(self, on: bool) -> None:
        """Whether Gaussians may leave their control nodes: in the coarse stage they do not, if there are
        nodes."""
        field = self.motion and self.motion.field
        if isinstance(field, DeformationField):
            field.residual = on or field.nodes is None

    @torch.no_grad()
    def renew_neighbours(self) -> None:
        """Find neighbours and control nodes again, by distance over the motion: parts that touch at rest
        and move apart are then no longer neighbours."""
        assert self.motion is not None
        if self.along:
            return
        phases = [i / MOMENTS for i in range(MOMENTS)]
        paths = torch.stack([self.at(phase).means for phase in phases], dim=1).flatten(1)
        paths = paths / MOMENTS**0.5
        self.neighbours = nearest_neighbours(paths)
        if self.motion.field.nodes is not None and self._guide is None:
            nodes = build_nodes(self.params["means"].detach(), paths, self.cfg.nodes)
            self.motion.field.nodes = nodes

    def _build_motion(
        self,
        timeline: Timeline,
        box: Tensor,
        nodes: ControlNodes | None,
        root: RootMotion | None,
    ) -> None:
        cfg = self.cfg
        field = DeformationField(
            DeformationConfig(
                hexplane=HexPlaneConfig(
                    channels=cfg.plane_channels,
                    resolution=cfg.plane_resolution,
                    time_resolution=cfg.time_resolution or TIME_CELLS,
                    scales=cfg.plane_scales,
                    periodic=timeline.looping,
                ),
                width=cfg.width,
                hidden=cfg.hidden,
                color=cfg.moving_color,
                prior_width=PRIOR_WIDTH,
                nodes=0 if nodes is None else len(nodes.positions),
                leave=0.0 if nodes is None else cfg.leave,
                resize=0.0 if nodes is None else cfg.resize,
                root=0 if root is None else len(root.quats),
            ),
            box,
            spatial_prior=self._priors[0],
            temporal_prior=self._priors[1],
            nodes=nodes,
            root=root,
            seed=cfg.seed,
        ).to(box.device)
        for name, parameters in field.groups().items():
            self.optimizer.add_group(name, parameters)
        self.motion = Motion(timeline, field)

    def regularisation_loss(self, cfg: ConstructConfig, deformed: Gaussians, seed: int) -> Tensor:
        """Of a motion that is learned: smoothness of the planes, isometry and growth of the `deformed`
        Gaussians of this step, and rigidity of the control nodes at a moment drawn from `seed`."""
        total = deformed.means.new_zeros(())
        field = self.motion and self.motion.field
        if not isinstance(field, DeformationField) or self.neighbours is None:
            return total
        if cfg.planes or cfg.planes_time:
            smoothness = field.features.planes.smoothness()
            total = total + cfg.planes * smoothness.space + cfg.planes_time * smoothness.time
        if (cfg.rigidity or self._guide) and field.nodes is not None:
            phase = seed / 2**63 % 1.0  # any moment: between frames it holds too
            deltas = field.node_deltas(phase)
            if cfg.rigidity:
                total = total + cfg.rigidity * field.nodes.rigidity(deltas)
            if self._guide is not None:
                total = total + cfg.course * self._guide.loss(field.nodes, deltas, phase)
        if cfg.isometry and field.residual:
            means = self.params["means"].detach()
            isometry = isometry_loss(means, deformed.means, self.neighbours, seed=seed)
            total = total + cfg.isometry * isometry
        if cfg.growth:
            sizes = self.params["scales"].detach()
            total = total + cfg.growth * growth_loss(sizes, deformed.log_scales)
        return total

    # -- optimization

    def _new_optimizer(self) -> Adam:
        """Of the canonical Gaussians; the motion's groups are added when it starts."""
        return Adam({name: [value] for name, value in self.params.items()})

    def observe(self, render: Render) -> None:
        """Accumulate the screen-space gradients of a static view for `refine`."""
        height, width = render.rgb.shape[1:3]
        self.density.observe(render.means2d_grad[0], render.radii[0], width, height)

    def refine(self, cfg: ConstructConfig, step: int) -> None:
        """Clone, split and prune by the gradients accumulated since the last call."""
        rule = DensifyRule(
            grow_gradient=cfg.grow_gradient,
            grow_scale=0.01,
            prune_opacity=0.02,
            prune_scale=0.25,
            maximum=cfg.max_gaussians,
        )
        optimizers = {}  # gsplat's operations require one for each parameter
        for name, value in self.params.items():
            optimizers[name] = Adam({name: [value]})
            if value in self.optimizer.state:
                optimizers[name].state[value] = self.optimizer.state[value]
        self.density.refine(self.params, optimizers, rule, seed=cfg.seed, step=step)
        self.optimizer = self._new_optimizer()
        for name, value in self.params.items():
            self.optimizer.state[value] = optimizers[name].state[value]

    def update(self, progress: float, *, moving: bool) -> None:
        """One Adam step with learning rates decayed by `progress` in [0,1]; `moving`: after the static
        stage."""
        decay = self.rate_scale * FINAL_SCALE**progress
        rates = LEARNING_RATES | (WITH_NODES if self.cfg.nodes else {})
        for group in self.optimizer.param_groups:
            of_canonical = ALONG_SCALE if self.along else CANONICAL_SCALE
            scale = of_canonical if moving and group["name"] in self.params else 1.0
            group["lr"] = rates[group["name"]] * scale * decay
        self.optimizer.step()
        self.optimizer.zero_grad()

    def check_finite(self) -> None:
        """Raises NumericalError that names the first tensor with NaN, infinity or an exploded scale."""
        named = dict(self.params)
        if self.motion is not None:
            named |= {f"motion.{k}": v for k, v in self.motion.named_parameters()}
        for name, value in named.items():
            if not bool(torch.isfinite(value).all()):
                raise NumericalError(f"{name} has values that are not finite")
        if float(self.params["scales"].detach().max()) > math.log(10.0):
            raise NumericalError("scales: a Gaussian has grown to ten times the object's size")

    # -- state

    def state(self) -> dict[str, Tensor]:
        """Copies of all tensors: parameters, Adam moments, density statistics."""
        out = {f"params/{k}": v.detach().clone() for k, v in self.params.items()}
        out |= {f"density/{k}": v.clone() for k, v in self.density.state.items()}
        out["rate_scale"] = torch.tensor(self.rate_scale, dtype=torch.float64)
        if self.motion is not None:
            out |= {f"motion/{k}": v.detach().clone() for k, v in self.motion.state_dict().items()}
        if self.neighbours is not None:
            out["neighbours"] = self.neighbours.clone()
        for group in self.optimizer.param_groups:
            for i, parameter in enumerate(group["params"]):
                for key, value in self.optimizer.state.get(parameter, {}).items():
                    out[f"adam/{group['name']}/{i}/{key}"] = value.detach().clone()
        return out

    def load_state(self, state: dict[str, Tensor], timeline: Timeline) -> None:
        """The inverse of `state`; tensors move to the device of the parameters."""
        device = self.params["means"].device
        self.rate_scale = float(state["rate_scale"])
        self.density.state = _with_prefix("density/", state, device)
        self.motion = None
        canonical = _with_prefix("params/", state, device)
        self.params = {name: nn.Parameter(value) for name, value in canonical.items()}
        self.optimizer = self._new_optimizer()
        self.neighbours = state["neighbours"].to(device) if "neighbours" in state else None
        motion = _with_prefix("motion/", state, device)
        if self.along and "field.deltas" in motion:
            assert self.course is not None
            periodic = len(motion["field.deltas"]) < len(self.course.places)
            self.motion = Motion(timeline, tracks_of(motion, "field.", periodic=periodic))
        elif motion and not self.along:  # one that an older version learned begins anew
            box = motion["field.features.planes.aabb"]
            nodes = nodes_of(motion, "field.nodes.")
            root = root_of(motion, "field.root.", periodic=timeline.looping)
            self._new_guide(timeline)
            self._build_motion(timeline, box, nodes, root)
            assert self.motion is not None
            self.motion.load_state_dict(motion)
        for group in self.optimizer.param_groups:
            for i, parameter in enumerate(group["params"]):
                moments = _with_prefix(f"adam/{group['name']}/{i}/", state, device)
                if moments:
                    self.optimizer.state[parameter] = moments


def _with_prefix(prefix: str, state: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Copies on `device` of the tensors whose names begin with `prefix`, without the prefix."""
    return {
        name.removeprefix(prefix): value.clone().to(device)
        for name, value in state.items()
        if name.startswith(prefix)
    }
