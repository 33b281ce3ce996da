"""Pictures that a model can follow: a blank one is refused, noise and what is far from all that the
model saw is said. H W pixels.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Reporter
from orster_cli.diffusion.encoded import Encoder
from orster_cli.diffusion.known_inputs import KnownImages, embed_frames
from orster_cli.io.images import on_white, read_image

BLANK = 2 / 255  # standard deviation of each colour below which a picture shows nothing
NOISE = 0.3  # correlation of neighbouring pixels; 0.8 or more in photographs and renders


def check_image_file(path: Path, reporter: Reporter, *, anyway: bool = False) -> None:
    """InputError: no such image, one that cannot be read, or a blank one."""
    if not path.is_file():
        found = "expected an image, found a folder" if path.is_dir() else "no such image"
        raise InputError(f"{path}: {found}", hint="give a .png, .jpg, .webp or .tif file")
    check_picture(read_image(path), path.name, reporter, anyway=anyway)


def check_picture(picture: Tensor, where: str, reporter: Reporter, *, anyway: bool = False) -> None:
    """InputError: `picture` [3 or 4,H,W] in [0,1] is of one colour and opacity (not with `anyway`). Warns
    where its neighbouring pixels have nothing to do with each other."""
    rgb = on_white(picture)
    seen = torch.cat([rgb, picture[3:]])  # white on nothing is a picture, too
    spread = float(seen.flatten(1).std(dim=1, correction=0).max())
    if spread < BLANK:
        if not anyway:
            raise InputError(
                f"{where}: shows nothing: all its pixels have one colour",
                hint="give a picture of an object; to sample nevertheless: --anyway",
                code="E-BLANK",
            )
        return
    found = neighbour_correlation(rgb)
    if found < NOISE:
        reporter.warn(
            f"{where}: looks like noise: neighbouring pixels have a correlation of {found:.2f}, "
            f"expected at least {NOISE}; what is sampled has nothing to do with it"
        )


def neighbour_correlation(rgb: Tensor) -> float:
    """The correlation of horizontally and vertically neighbouring values of [3,H,W], -1 to 1; 1 where
    there are no neighbours."""
    centred = (rgb - rgb.mean(dim=(1, 2), keepdim=True)).double()
    pairs = ((centred[:, :, 1:], centred[:, :, :-1]), (centred[:, 1:], centred[:, :-1]))
    found = [
        float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())
        for a, b in pairs
        if a.numel() and a.any() and b.any()
    ]
    return sum(found) / len(found) if found else 1.0


@torch.no_grad()
def warn_far(
    picture: Tensor,
    where: str,
    known: KnownImages,
    encoder: Encoder,
    reporter: Reporter,
    *,
    follows: bool = False,
) -> None:
    """Warns where `picture` [3,H,W], as the model reads it, is far from all images it was trained on.
    `follows`: the model gets the object's own pictures beside each frame, so that it stays itself."""
    device = next(encoder.parameters()).device  # type: ignore[attr-defined]
    vector = embed_frames(encoder, picture[None], device)[0]
    if len(vector) != known.vectors.shape[1]:
        return  # of another encoder
    distance = known.distance(vector)
    if distance > known.threshold:
        expected = "a weaker or a torn motion" if follows else "another object"
        reporter.warn(
            f"{where}: far from everything the model was trained on (distance {distance:.2g}, at most "
            f"{known.threshold:.2g} for what it knows): expect {expected}"
        )
