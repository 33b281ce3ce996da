"""`.4dgs`, a container of moving Gaussians, by the library `fourdgs` (extra `4dgs`). N Gaussians.

Temporal model "keyframe-delta": whole frames, and between them what changes. Every Gaussian keeps its
number. Positions go on with a speed until the next key frame; turns, sizes and colours are steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from orster_cli.core.types import SH_C0, Gaussians
from orster_cli.export.job import ExportJob, Outcome, check_up
from orster_cli.export.moving_splats import UPS, Keys, keys_of, outcome
from orster_cli.export.splats import floats

LIBRARY = "orster"
ALWAYS = 1e4  # seconds: the extent in time of a Gaussian that does not fade
COORDINATES = {"z": "z-up-right-handed", "y": "y-up-right-handed"}
PROFILE = "fine"  # of the library: half a step of 8 bits for colours, 2 % of the median size for positions
INSTANT = 3  # digits of a second that the profile keeps of the instant at which positions hold


def write_4dgs(job: ExportJob, path: Path) -> Outcome:
    """The motion as `.4dgs`."""
    from fourdgs.keyframe_delta_file import decode_streamed

    up = check_up(job, "4dgs", UPS)
    keys = keys_of(job, "4dgs", up)
    path.write_bytes(fourdgs_bytes(keys, up))
    decoded = decode_streamed(path.read_bytes())
    last = keys.duration * (1 - 1e-6)  # a file ends before its last second
    return outcome(job, keys, up, lambda second: read_at(decoded, min(second, last)))


def fourdgs_bytes(keys: Keys, up: str) -> bytes:
    """The file. The library writes no attributes into the header of this model, and all offsets count from
    the header: its place is kept by a longer name of the library."""
    from fourdgs.keyframe_delta_file import write_sequence
    from fourdgs.records import Header
    from fourdgs.serialization import MAGIC, iter_records

    attributes = {"coordinate_system": COORDINATES[up], "color_space": "srgb-rec709-display"}
    plain = Header(duration_sec=0, gaussian_count=0, aabb=[0.0] * 6, library=LIBRARY)
    longer = Header(
        duration_sec=0, gaussian_count=0, aabb=[0.0] * 6, library=LIBRARY, attributes=attributes
    )
    room = len(longer.encode()) - len(plain.encode())
    data: bytes = write_sequence(
        _samples(keys), keys.duration, profile=PROFILE, library=LIBRARY + " " * room
    )
    start = len(MAGIC)
    first = next(iter(iter_records(data, start)))
    header = Header.parse(first.content)
    old = header.encode()
    header.library, header.attributes = LIBRARY, attributes
    new: bytes = header.encode()
    if len(new) != len(old) or data[start : start + len(old)] != old:
        raise RuntimeError("fourdgs wrote another header than it reads")
    return data[:start] + new + data[start + len(old) :]


def read_at(decoded: Any, second: float) -> Gaussians:
    """The Gaussians of a decoded file at a second, in its own world."""
    from fourdgs.keyframe_delta_file import render_at

    state = render_at(decoded, second)

    def tensor(name: str) -> torch.Tensor:
        return torch.from_numpy(np.asarray(state[name], np.float32))

    return Gaussians(
        means=tensor("centers"),
        log_scales=tensor("scales").log(),
        quats=tensor("rotations")[:, [3, 0, 1, 2]],
        opacity_logits=tensor("opacity").logit(1e-4),
        sh=((tensor("rgb") - 0.5) / SH_C0)[:, None],
    )


def _samples(keys: Keys) -> list[Any]:
    """The library's samples: one from each key frame to the next."""
    from fourdgs.keyframe_delta_writer import Sample
    from fourdgs.model import GaussianSet

    count = len(keys.gaussians[0])
    found = []
    for i, (now, then) in enumerate(zip(keys.gaussians, keys.gaussians[1:], strict=False)):
        begins, ends = (float(second) for second in keys.seconds[i : i + 2])
        instant = round(begins, INSTANT)
        speeds = floats(then.means - now.means) / (ends - begins)
        opacity = floats(now.opacity_logits.sigmoid())[:, None]
        colors = floats(now.colors.clamp(0, 1))
        gaussians = GaussianSet(
            positions=floats(now.means) + (speeds * (instant - begins)).astype(np.float32),
            scales=floats(now.log_scales.exp()),
            rotations=floats(torch.nn.functional.normalize(now.quats, dim=-1))[:, [1, 2, 3, 0]],
            colors=np.concatenate([colors, opacity], axis=1),
            motions=speeds,
            mu_t=np.full(count, instant, np.float32),
            sigma_t=np.full(count, ALWAYS, np.float32),
            win_lo=np.zeros(count),
            win_hi=np.full(count, keys.duration),
        )
        found.append(Sample(t0=begins, ids=np.arange(count), gaussians=gaussians))
    return found
