"""The object at rest that a model regresses from a text, seen by cameras as an object that is given would
be. T frames, H W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.geometry.orbit import orbit_cameras, orbit_of
from orster_cli.sampling.shown import Shown

LEVEL = 0.5  # degrees of elevation that make no difference


def regressed_object(bundle: WholeBundle, cameras: Cameras, text: str) -> Shown:
    """What shows the object that `bundle.rest` makes of a `text`. Where `cameras` look from an elevation
    that it was not trained on, they see the surface that its pictures have in common."""
    made = _Regressed(bundle, text)
    shown = Shown.of_pictures(made.orbit, text, hazy=True)
    elevation, _, _ = orbit_of(cameras)
    level = abs(elevation - bundle.facts.elevation) <= LEVEL
    return shown if level else shown.from_its_surface()


class _Regressed:
    """The pictures of a text's object, those of the azimuths that were last asked for kept."""

    def __init__(self, bundle: WholeBundle, text: str) -> None:
        self.bundle, self.text = bundle, text
        self.kept: OrbitClip | None = None

    def orbit(self, cameras: Cameras) -> OrbitClip:
        """As `cameras` would see them."""
        azimuths = cameras.azimuths
        if self.kept is None or not torch.equal(self.kept.cameras.azimuths, azimuths):
            self.kept = self._made(azimuths)
        return seen_from(self.kept, cameras)

    @torch.no_grad()
    def _made(self, azimuths: Tensor) -> OrbitClip:
        facts, rest = self.bundle.facts, self.bundle.rest
        assert rest is not None
        device, side = next(rest.parameters()).device, facts.resolution
        trained = orbit_cameras(
            azimuths, elevation=facts.elevation, radius=facts.radius, fov_deg=facts.fov,
            width=side, height=side,
        )  # fmt: skip
        text = self.bundle.encoder.text([self.text])
        latents = rest(azimuths.float()[None].to(device), text)[0].transpose(0, 1)
        frames = self.bundle.vae.decode(latents).float().clamp(0, 1).cpu()
        return OrbitClip(frames=frames, cameras=trained, times=torch.zeros(len(frames)))


def seen_from(orbit: OrbitClip, cameras: Cameras) -> OrbitClip:
    """The frames of an `orbit` on white as `cameras` would see them that look the same ways from
    elsewhere, the object taken for flat, at the depth of the world's origin: moved and scaled."""
    own, n = orbit.cameras, len(cameras)
    (x0, y0, depth), (x1, y1, farther) = own.w2c[:, :3, 3].T, cameras.w2c[:, :3, 3].T
    (fx, fy), (gx, gy) = _focal(own), _focal(cameras)
    theta = torch.zeros(n, 2, 3, dtype=torch.float64)
    theta[:, 0, 0] = (fx / gx) * farther / depth
    theta[:, 1, 1] = (fy / gy) * farther / depth
    theta[:, 0, 2], theta[:, 1, 2] = fx * (x0 - x1) / depth, fy * (y0 - y1) / depth
    size = [n, 3, cameras.height, cameras.width]
    grid = F.affine_grid(theta.float(), size, align_corners=False)
    dark = F.grid_sample(1 - orbit.over(), grid, mode="bilinear", align_corners=False)
    return OrbitClip(frames=1 - dark, cameras=cameras, times=orbit.times)


def _focal(cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Focal lengths [T] in half widths and half heights of the picture."""
    return 2 * cameras.K[:, 0, 0] / cameras.width, 2 * cameras.K[:, 1, 1] / cameras.height
