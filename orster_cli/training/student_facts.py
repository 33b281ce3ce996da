"""What a stage of the student adds to the facts of its model, and how a model changes what it predicts.

B videos, C latent channels, T frames, h w latent pixels.
"""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor, nn

from orster_cli.config.train import ModelConfig, StudentConfig, TrainConfig
from orster_cli.diffusion import weights
from orster_cli.diffusion.bundle import Facts, WholeBundle
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.parametrization import PREDICTION, Parametrization
from orster_cli.geometry.orbit import orbit_of
from orster_cli.training.datafeed import MOTIONLESS, LatentFeed
from orster_cli.training.placeholder_batches import PlaceholderLatents
from orster_cli.training.training_data import Source

MEASURED = 256  # videos from which the scale of the residual is measured
AT_ONCE = 8
SIZES = ("frames", "resolution")  # 0: as in the dataset


def with_conditions(facts: Facts, train: TrainConfig) -> Facts:
    """`facts` of a student trained by `train`: a text or an image goes through the object at rest where the
    model learns both to sample that and to move it."""
    still = train.still if isinstance(train, StudentConfig) else 0.0
    return replace(facts, through_rest=bool(train.object and still))


def with_cameras(facts: Facts, feed: LatentFeed | PlaceholderLatents) -> Facts:
    """`facts` of a model with the orbit of the first clip that it is trained on: sampling goes round an
    object as training did."""
    if isinstance(feed, PlaceholderLatents):
        return facts
    first = feed.cache.dataset.frames(feed.keys[0], feed.view, [0])
    elevation, radius, fov = orbit_of(first.cameras)
    if not radius:
        return facts
    return replace(facts, elevation=elevation, radius=radius, fov=fov)


def with_parametrization(
    bundle: WholeBundle, model: ModelConfig, feed: LatentFeed | PlaceholderLatents, *, new: bool
) -> WholeBundle:
    """`bundle` as a model of residuals, with their scale in `feed`, where the settings ask for it and it
    is none yet.

    The output layers of a model that was trained to predict something else (not `new`) become zero: what
    it first makes of pure noise is the object at rest, and its other layers know what they knew."""
    if model.parametrization != "residual" or bundle.facts.residual_scale is not None:
        return bundle
    scale = 1.0 if isinstance(feed, PlaceholderLatents) else residual_scale(feed, bundle.vae)
    if not new:
        model = bundle.std4d
        for layer in (model.trunk.conv_out, model.fuse and model.fuse.leave):
            for tensor in layer.parameters() if layer else ():
                nn.init.zeros_(tensor)
    schedule = replace(bundle.schedule, prediction_type=PREDICTION["v"], set_alpha_to_one=True)
    facts = replace(bundle.facts, residual_scale=scale)
    return replace(bundle, facts=facts, schedule=schedule)


def with_reference_head(bundle: WholeBundle, model: ModelConfig, seed: int) -> WholeBundle:
    """`bundle` with a new `ReferenceHead`, which changes nothing yet, where the settings ask for one and it
    has none; else as it is, whatever the width of its own. ConfigError: it predicts the noise."""
    config = bundle.std4d.config
    if not model.reference_head or config.reference_head:
        return bundle
    config = replace(config, reference_head=model.reference_head)
    return replace(bundle, std4d=weights.start_from(bundle.std4d, config, seed))


def note_unused(model: ModelConfig, bundle: WholeBundle, source: Source) -> None:
    """Say which settings of `model`, of those that are no defaults, `bundle` does not have: a model that
    training goes on from keeps its form. A 3D or video model never has residuals or a reference head."""
    if source.placeholder or source.part[0]:
        return
    facts, config, schedule = bundle.facts, bundle.std4d.config, bundle.schedule
    trunk = config.trunk
    kind = Parametrization.of(schedule, facts.residual_scale).kind
    own: dict[str, object] = {
        "widths": trunk.block_out_channels,
        "attention": trunk.attention,
        "layers": trunk.layers_per_block,
        "head_width": trunk.attention_head_dim,
        "groups": trunk.norm_num_groups,
        "context_width": trunk.cross_attention_dim,
        "dropout": trunk.temporal_dropout,
        "joint_attention": config.joint_attention,
        "object_tokens": config.object_tokens,
        "beta_schedule": schedule.beta_schedule,
        "zero_snr": schedule.rescale_betas_zero_snr,
        "parametrization": kind,
        "frames": facts.frames,
        "resolution": facts.resolution,
    }
    if not config.merged:  # of two channels
        own |= {"channels": config.channels, "channel_form": config.channel_form}
    if facts.role == "4d":
        own["reference_head"] = config.reference_head
    elif kind == "v" and model.parametrization == "residual":
        del own["parametrization"]
    default = ModelConfig()
    asked = {name: getattr(model, name) for name in own}
    unused = [
        f"{name} {_listed(value)} (it has {_listed(own[name])})"
        for name, value in asked.items()
        if value not in (getattr(default, name), own[name]) and (value or name not in SIZES)
    ]
    if unused:
        source.reporter.note(
            f"[model] {', '.join(unused)}: not used, the model that training goes on from keeps its own"
        )


def _listed(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "/".join(map(_listed, value)) if isinstance(value, tuple) else str(value)


def residual_scale(feed: LatentFeed, vae: FrameVAE) -> float:
    """Standard deviation of z - z_rest over the first moving videos of the training set whose z_rest is
    known, 1.0 where none moves. Equal on every process: each encodes those that are missing."""
    count = min(len(feed.keys), MEASURED)
    feed.cache.encode(feed.keys[:count], vae)
    total: Tensor | float = 0.0
    numbers = 0
    for start in range(0, count, AT_ONCE):
        chosen = list(range(start, min(start + AT_ONCE, count)))
        batch = feed.of(chosen, 0, chosen)
        moves = batch.motion != MOTIONLESS
        if batch.rest_known is not None:
            moves &= batch.rest_known
        residual = (batch.latents - batch.static_latents)[moves].double()
        total = total + residual.square().sum()
        numbers += residual.numel()
    scale = math.sqrt(float(total) / max(numbers, 1))
    return scale if scale > 0 else 1.0
