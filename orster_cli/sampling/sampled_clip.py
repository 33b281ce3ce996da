"""The files of a sampled clip: frames, cameras, priors, the image condition, the static orbit that was
given or sampled first, further orbits, and a contact sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.core.frames import at_resolution
from orster_cli.diffusion.bundle import Facts
from orster_cli.gltf.packing import keep_object
from orster_cli.io.clip_files import CONDITION, OBJECT, write_beside, write_clip
from orster_cli.io.images import contact_sheet, cut_to_object, write_png
from orster_cli.sampling.orbit_matching import matching_sides
from orster_cli.sampling.sample_clips import SampledClip, SampleRequest

SHEET_FRAMES = 8
PREVIEW_SIDE, PREVIEW_LOOPS = 384, 3  # pixels, times: a clip of 16 frames lasts 1.3 s


def write_sampled(
    folder: Path,
    sampled: SampledClip,
    facts: Facts,
    *,
    request: SampleRequest,
    mesh: Path | None = None,
) -> dict[str, Any]:
    """Write `sampled` into `folder`; returns the manifest's content. `request`: what it was conditioned on;
    `mesh`: the file of the object, of which the clip keeps a copy, as of one made of a picture."""
    clip = sampled.clip
    image = request.image if request.picture is None else request.picture
    write_clip(folder, clip, side=PREVIEW_SIDE, loops=PREVIEW_LOOPS)
    write_beside(
        folder, clip, static=sampled.static, further=sampled.further, priors=sampled.priors
    )
    if image is not None:
        write_png(folder / CONDITION, image)
    keep_object(folder, mesh)
    if request.glb is not None:
        (folder / f"{OBJECT}.glb").write_bytes(request.glb)
    write_png(folder / "sheet.png", sampled_sheet(sampled, image))
    static = {} if sampled.static is None else {"static_orbit": True}
    further = {"further_orbits": len(sampled.further)} if sampled.further else {}
    rendered = {} if clip.alpha is None else {"rendered": True}  # what is sampled has no opacities
    return {
        "frames": len(clip),
        "resolution": clip.cameras.width,
        "prompt": clip.prompt,
        "seed": sampled.seed,
        "model_role": facts.role,
        "priors": {name: list(tokens.shape) for name, tokens in sampled.priors.items()},
        **static,
        **further,
        **rendered,
    }


def sampled_sheet(sampled: SampledClip, image: Tensor | None) -> Tensor:
    """[3,H,W]: frames of the clip, cut to the object and on white where that can be told, with azimuth and
    time; below them the same frames of the object at rest, and in front the image it was sampled from."""
    clip = sampled.clip
    pick = torch.linspace(0, len(clip) - 1, min(SHEET_FRAMES, len(clip))).round().long()
    turned = clip.cameras.azimuths
    words = [
        f"{float(turned[i]) % 360:.0f} deg  t {float(clip.times[i]):.2f}" for i in pick.tolist()
    ]
    frames, labels = [clip.over()[pick]], [clip.prompt or "no text"]
    if sampled.static is not None:
        same = matching_sides(sampled.static.cameras, clip.cameras[pick])
        frames.append(at_resolution(sampled.static, clip.cameras.width)[same])
        labels.append("at rest")
    cut = cut_to_object(torch.cat(frames))  # both rows by one square, at one scale
    rows = [cut[at : at + len(pick)] for at in range(0, len(cut), len(pick))]
    tiles = [words] * len(rows)
    if image is not None:
        rows.append([image])
        labels.append("sampled from this image")
        tiles.append([""])
    return contact_sheet(rows, labels, tiles=tiles)
