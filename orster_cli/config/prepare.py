"""Settings of `orster prepare-data`."""

from __future__ import annotations

from dataclasses import dataclass

from orster_cli.config.fields import setting
from orster_cli.core.errors import ConfigError
from orster_cli.core.limits import CLIP_MAX_BYTES, DATASET_MAX_FRAMES


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareConfig:
    frames: int = setting(24, "frames per orbit", minimum=2, maximum=512)
    resolution: int = setting(256, "pixels, square", minimum=16, maximum=2048)
    elevation: float = setting(0.0, "degrees above the horizon", minimum=-89, maximum=89)
    azimuth_jitter: bool = setting(False, "start each orbit at a random azimuth")
    azimuths: tuple[int, ...] = setting(
        (0,),
        "azimuths, in degrees, at which orbits of one motion begin: the first is the dynamic view, the "
        "others are orbit-090 and so on",
        minimum=0,
        maximum=359,
        added=True,
    )
    seed: int = setting(0, "seed of the azimuth jitter", minimum=0)
    eval_views: int = setting(
        0, "orbital evaluation views at each time; 0: none", minimum=0, maximum=360
    )
    grid: int = setting(
        0,
        "azimuths of a grid of (azimuth, time) frames, for example as many as frames; 0: none",
        minimum=0,
        maximum=512,
        added=True,
    )
    eval_times: tuple[float, ...] = setting(
        (0.0, 0.5), "times in [0, 1] of the evaluation views", minimum=0, maximum=1
    )
    supersample: int = setting(4, "samples per side of a pixel", minimum=1, maximum=8)
    renderer: str = setting(
        "builtin", "builtin, or blender (extra `blender`)", choices=("builtin", "blender")
    )
    device: str = setting("cpu", "cpu or cuda, for the built-in renderer")
    curate: bool = setting(True, "drop clips that are static, broken or cut off by the frame")
    still_ssim: float = setting(
        0.95,
        "a clip is static if SSIM over the object exceeds this between t=0, T/4, T/2",
        maximum=1.0,
    )
    broken_ssim: float = setting(
        0.4,
        "a clip is broken if SSIM over the frame is below this between t=0, T/4, T/2",
        maximum=1.0,
    )
    blocklist: bool = setting(True, "exclude the objects of the Consistent4D test set")
    shard_samples: int = setting(64, "samples per tar shard", minimum=1, maximum=100_000)


def further_orbits(cfg: PrepareConfig) -> list[int]:
    """How many degrees the orbits beside the dynamic one are ahead of it. ConfigError: no orbit at all, or
    one twice."""
    if not cfg.azimuths or len(set(cfg.azimuths)) < len(cfg.azimuths):
        given = ",".join(map(str, cfg.azimuths))
        raise ConfigError(f"prepare.azimuths: expected different azimuths, got {given or 'none'}")
    first, *others = cfg.azimuths
    return [(azimuth - first) % 360 for azimuth in others]


def check_grid(cfg: PrepareConfig) -> None:
    """ConfigError: the grid has more frames or bytes than a dataset can be read with, or an orbit that is a
    path through it would begin beside it."""
    frames = cfg.grid * cfg.frames
    size = frames * cfg.resolution**2 * 4 * 4
    if frames > DATASET_MAX_FRAMES or size > CLIP_MAX_BYTES:
        raise ConfigError(
            f"prepare.grid {cfg.grid} x prepare.frames {cfg.frames}: {frames:,} frames of "
            f"{cfg.resolution} px, {size:,} bytes in memory; expected at most {DATASET_MAX_FRAMES:,} "
            f"frames and {CLIP_MAX_BYTES:,} bytes",
            hint="a smaller prepare.grid, prepare.frames or prepare.resolution",
        )
    if cfg.grid and cfg.grid % cfg.frames == 0:
        begun = further_orbits(cfg) if cfg.azimuth_jitter else cfg.azimuths
        beside = [azimuth for azimuth in begun if azimuth * cfg.grid % 360]
        if beside:
            raise ConfigError(
                f"prepare.azimuths: with prepare.grid {cfg.grid} expected multiples of "
                f"{360 / cfg.grid:g} degrees{' apart' if cfg.azimuth_jitter else ''}, got {beside[0]}",
                hint="a grid that is no multiple of prepare.frames leaves the orbits as they are",
            )
