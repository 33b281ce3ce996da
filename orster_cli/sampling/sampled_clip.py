"""The files of a sampled clip: frames, cameras, priors, the image condition, the static orbit that was
given or sampled first, and a contact sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.diffusion.bundle import Facts
from orster_cli.io.clip_files import CONDITION, STATIC, keep_object, write_clip, write_priors
from orster_cli.io.images import contact_sheet, write_png
from orster_cli.sampling.sample_clips import SampledClip

SHEET_FRAMES = 8


def write_sampled(
    folder: Path,
    sampled: SampledClip,
    facts: Facts,
    *,
    image: Tensor | None,
    mesh: Path | None = None,
) -> dict[str, Any]:
    """Write `sampled` into `folder`; returns the manifest's content. `image` [3,H,W]: the image that it
    was conditioned on; `mesh`: the file of the object, of which the clip keeps a copy."""
    clip = sampled.clip
    write_clip(folder, clip)
    write_priors(folder, sampled.priors)
    if image is not None:
        write_png(folder / CONDITION, image)
    keep_object(folder, mesh)
    if sampled.static is not None:
        write_clip(folder / STATIC, sampled.static)
    pick = torch.linspace(0, len(clip) - 1, min(SHEET_FRAMES, len(clip))).round().long()
    rows = [[clip.frames[i] for i in pick]]
    labels = [clip.prompt or "no text"]
    if sampled.static is not None:
        rows.append([sampled.static.frames[i] for i in pick])
        labels.append("at rest")
    write_png(folder / "sheet.png", contact_sheet(rows, labels))
    static = {} if sampled.static is None else {"static_orbit": True}
    return {
        "frames": len(clip),
        "resolution": clip.cameras.width,
        "prompt": clip.prompt,
        "seed": sampled.seed,
        "model_role": facts.role,
        "priors": {name: list(tokens.shape) for name, tokens in sampled.priors.items()},
        **static,
    }
