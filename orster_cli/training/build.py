"""From settings and earlier models to a stage that can be trained, and to the model it leaves.

Each function makes one kind of stage; `Ready` is what the loop needs of any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from orster_cli.config.schema import Config
from orster_cli.config.train import ModelConfig, TrainConfig
from orster_cli.core.errors import ConfigError, InputError
from orster_cli.diffusion import weights
from orster_cli.diffusion.bundle import Bundle, Facts, WholeBundle
from orster_cli.diffusion.encoders import ClipEncoder
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.mini_encoder import MiniEncoder, new_mini
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.std4d import STD4D, STD4DConfig
from orster_cli.diffusion.trunk import TrunkConfig
from orster_cli.training.blank import BlankLatents
from orster_cli.training.datafeed import LatentFeed
from orster_cli.training.loop import Feed
from orster_cli.training.lora import add_lora, merge_lora
from orster_cli.training.optimizer import freeze_spatial
from orster_cli.training.phi import vae_features, vgg_features, vgg_network
from orster_cli.training.stages import (
    AlignStage,
    DiffusionStage,
    DistillStage,
    EncoderStage,
    Setting,
    VaeStage,
)
from orster_cli.training.training_data import (
    VIEW,
    Source,
    frame_feed,
    latent_feed,
    resolution_of,
    sizes_of,
)
from orster_cli.training.watch import reconstructions, samples
from orster_cli.transfer.halves import halve
from orster_cli.transfer.orster import OrsterTransfer, find_taps
from orster_cli.transfer.teachers import Teacher, load_teacher, transformer_widths

WATCHED_FRAMES, WATCHED_CLIPS = 8, 4  # on a contact sheet
SAME_LATENTS = (
    0.02  # of two frame VAEs: published ones differ in precision, or in the decoder alone
)
SCALE_FRAMES = 256  # from which the scale of the latents is measured
_PARTS = {"model": "diffusion", "trunk": "diffusion", "unet": "diffusion"}


@dataclass(frozen=True, kw_only=True)
class Models:
    """Earlier models. `start`: what the stage goes on from; `vae` and `encoder` for a new one; the
    folders of the two teachers."""

    start: Bundle | None = None
    vae: FrameVAE | None = None
    encoder: ClipEncoder | MiniEncoder | None = None
    teacher_3d: Path | None = None
    teacher_video: Path | None = None


@dataclass
class Ready:
    """`finish` gives the model that is kept, after training; `sheet` pictures [3,H,W] of what it can
    do so far; `beside`: what is on the device too and is not trained."""

    task: nn.Module
    feed: Feed
    finish: Callable[[], Bundle | WholeBundle]
    curves: tuple[str, ...] = ("loss",)
    sheet: Callable[[], Tensor] | None = None
    beside: dict[str, nn.Module] = field(default_factory=dict)


def build_vae(cfg: Config, source: Source, models: Models | None = None) -> Ready:
    """A new frame VAE; or the one to go on from, its decoder alone unless the settings say otherwise:
    its latents stay what they are, so that a diffusion that was trained on them can take the new
    decoder."""
    model = cfg.model
    start = models.start.vae if models is not None and models.start is not None else None
    if start is None:
        groups = min(model.groups, *model.vae_widths)
        vae = FrameVAE.create(
            model.vae_widths,
            channels=model.latent_channels,
            groups=groups,
            seed=cfg.vae.seed,
            patch=model.vae_patch,
        ).to(source.device)
    else:
        vae = start.to(source.device)
        if not cfg.vae.encoder:
            vae.freeze_encoder()
    resolution = resolution_of(model, source)
    vae.check_size(resolution, resolution, "model.resolution")
    vae.check_size(cfg.vae.crop, cfg.vae.crop, "vae.crop")
    feed = frame_feed(cfg.vae, source, resolution)

    def finish() -> Bundle:
        if start is None or cfg.vae.encoder:
            places = range(min(SCALE_FRAMES, cfg.vae.batch * 8))
            vae.set_scale(feed.batch(0, places).frames.to(source.device))
        return Bundle(_facts("vae", model, resolution), vae=vae)

    curves = ("loss", "reconstruction", "edges", "colours", "kl")

    def sheet() -> Tensor:
        return reconstructions(vae, feed.batch(0, range(WATCHED_FRAMES)).frames.to(source.device))

    return Ready(VaeStage(vae, cfg.vae, source.device), feed, finish, curves, sheet)


def build_encoder(cfg: Config, source: Source) -> Ready:
    """A new small text and image encoder."""
    encoder = new_mini(cfg.model.encoder_width, cfg.encoder.seed).to(source.device)
    resolution = resolution_of(cfg.model, source)
    feed = frame_feed(cfg.encoder, source, resolution, texts=True)
    facts = _facts("encoder", cfg.model, resolution)
    task = EncoderStage(encoder, source.device)
    return Ready(task, feed, lambda: Bundle(facts, encoder=encoder))


def build_diffusion(
    cfg: Config, train: TrainConfig, source: Source, models: Models, role: str
) -> Ready:
    """Pretraining (Sec. 4.1) of a student (role 4d) or of a teacher (3d, video): new, or from `start`."""
    start = _start(cfg.model, source, models, role, train.seed)
    encoder = start.encoder
    reads = replace(  # a backbone may be given another encoder than its own
        start.std4d.config,
        text_width=encoder.text_width,
        image_width=encoder.image_width or encoder.text_width,
        pooled_width=encoder.pooled_width,
    )
    frames, resolution = sizes_of(cfg.model, source, role)
    channels = cfg.model.channels
    if role == "4d":
        config = replace(reads, channels=channels, merged=False)
    else:
        config = replace(reads, channels="both", merged=True)
    model = weights.start_from(start.std4d, config, train.seed)
    feed = latent_feed(train, source, start.vae, VIEW[role], frames, resolution)
    facts = replace(
        _facts(role, cfg.model, resolution),
        frames=frames,
        motion=feed.motion() if role == "4d" else None,
    )
    kept = replace(start, facts=facts, std4d=model)
    return _ready(DiffusionStage(model, train, _setting(kept, source)), feed, kept, train)


def build_distill(cfg: Config, source: Source, models: Models) -> Ready:
    """Distillation (Sec. 4.2), without teachers where it is disabled; the model that is kept is merged."""
    train = cfg.distill
    start = _started(models)
    teachers = (
        (
            _teacher(models.teacher_3d, "3d", start.vae, source, train),
            _teacher(models.teacher_video, "video", start.vae, source, train),
        )
        if train.enabled
        else None
    )
    config = replace(start.std4d.config, channels=cfg.model.channels, merged=False)
    model = weights.start_from(start.std4d, config, train.seed)
    kept = replace(start, std4d=model, facts=replace(start.facts, role="4d"))
    feed = latent_feed(
        train, source, start.vae, VIEW["4d"], start.facts.frames, start.facts.resolution
    )
    if kept.facts.motion is None:
        kept.facts = replace(kept.facts, motion=feed.motion())
    setting = _setting(kept, source)
    if teachers is None:
        return _ready(DiffusionStage(model, train, setting), feed, kept, train, merge=True)
    taps = find_taps(transformer_widths(model.trunk), teachers[0].widths, teachers[1].widths)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(train.seed)
        transfer = OrsterTransfer(
            taps,
            lambda_o=train.lambda_o,
            kernel=train.kernel,
            spatial=train.spatial_attention,
            temporal=train.temporal_attention,
        )
    stage = DistillStage(model, train, setting, transfer, teachers)
    curves = ("orster", "cosine_spatial", "cosine_temporal", "kappa")
    ready = _ready(stage, feed, kept, train, merge=True, curves=curves)
    for role, teacher in zip(("3D", "video"), teachers, strict=True):
        parts = {n: m for n, m in vars(teacher).items() if isinstance(m, nn.Module)}
        ready.beside |= {f"{role} teacher's {_PARTS.get(n, n)}": m for n, m in parts.items()}
    return ready


def build_align(cfg: Config, source: Source, models: Models) -> Ready:
    """Spatial-temporal consistency (Sec. 4.3)."""
    train, start = cfg.align, _merged(_started(models))
    facts = start.facts
    feed = latent_feed(
        train, source, start.vae, VIEW["4d"], facts.frames, facts.resolution, train.frames
    )
    vgg = vgg_network(source.device) if train.features == "vgg" else None
    features = vae_features(start.vae) if vgg is None else vgg_features(vgg)
    _freeze(start.vae)
    stage = AlignStage(start.std4d, train, _setting(start, source), start.vae, features)
    ready = _ready(stage, feed, start, train, curves=("rec", "perc", "temp", "align"))
    if vgg is not None:
        ready.beside["VGG16"] = vgg
    return ready


def build_finetune(cfg: Config, source: Source, models: Models) -> Ready:
    """Fine-tuning under mixed conditions (Sec. 4.4)."""
    train, start = cfg.finetune, _merged(_started(models))
    facts = start.facts
    feed = latent_feed(train, source, start.vae, VIEW["4d"], facts.frames, facts.resolution)
    stage = DiffusionStage(start.std4d, train, _setting(start, source))
    return _ready(stage, feed, start, train)


def _ready(
    stage: DiffusionStage,
    feed: LatentFeed | BlankLatents,
    kept: WholeBundle,
    train: TrainConfig,
    *,
    merge: bool = False,
    curves: tuple[str, ...] = (),
) -> Ready:
    model = stage.model
    model.trunk.checkpointing = train.checkpointing
    if train.trainable == "lora":
        add_lora(model, train.lora_rank, train.seed)
    elif train.trainable == "temporal":
        freeze_spatial(model)
    stage.to(kept_device(stage))

    def finish() -> WholeBundle:
        merge_lora(model)
        return replace(kept, std4d=model.merge() if merge else model)

    def sheet() -> Tensor:
        captions = feed.captions()[:WATCHED_CLIPS]
        return samples(replace(kept, std4d=model), captions, stage.setting.device)

    beside = {"frame VAE": kept.vae, "encoder": kept.encoder}
    return Ready(stage, feed, finish, ("diffusion", *curves), sheet, beside)


def kept_device(stage: DiffusionStage) -> torch.device:
    """Where a stage works; its frozen parts are moved there too."""
    setting = stage.setting
    if isinstance(setting.encoder, nn.Module):
        _freeze(setting.encoder)
        setting.encoder.to(setting.device)
    return setting.device


def _setting(bundle: WholeBundle, source: Source) -> Setting:
    return Setting(
        encoder=bundle.encoder,
        schedule=bundle.schedule,
        role=bundle.facts.role,
        device=source.device,
    )


def _freeze(module: nn.Module) -> None:
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def _start(model: ModelConfig, source: Source, models: Models, role: str, seed: int) -> WholeBundle:
    """What training starts from: the model that was given, or a new one of the settings' sizes."""
    if models.start is not None:
        start = models.start
        parts = Bundle(
            start.facts,
            std4d=start.std4d,
            vae=models.vae or start.vae,
            encoder=models.encoder or start.encoder,
            schedule=start.schedule,
        )
        return parts.whole("the model to start from")
    if models.vae is None or models.encoder is None:
        raise ConfigError(
            "a new model needs a frame VAE and an encoder",
            hint="give --vae and --encoder (orster pretrain --role vae, --role encoder), or --model",
        )
    encoder = models.encoder
    trunk = TrunkConfig(
        in_channels=models.vae.channels,
        out_channels=models.vae.channels,
        block_out_channels=model.widths,
        attention=model.attention,
        layers_per_block=model.layers,
        cross_attention_dim=model.context_width,
        attention_head_dim=model.head_width,
        norm_num_groups=model.groups,
        temporal_dropout=model.dropout,
    )
    config = STD4DConfig(
        trunk=trunk,
        channels="both",
        merged=True,
        text_width=encoder.text_width,
        image_width=encoder.image_width or encoder.text_width,
        pooled_width=encoder.pooled_width,
    )
    schedule = NoiseSchedule(
        prediction_type=model.prediction,
        beta_schedule=model.beta_schedule,
        rescale_betas_zero_snr=model.zero_snr,
        # Lin et al. 2023: sampling must begin where the signal is zero
        timestep_spacing="trailing" if model.zero_snr else "leading",
    )
    facts = _facts(role, model, resolution_of(model, source))
    std4d = weights.create(config, seed)
    return WholeBundle(facts, std4d, models.vae, encoder, schedule)


def _started(models: Models) -> WholeBundle:
    if models.start is None:
        raise ConfigError("no model to go on from", hint="give --model")
    return models.start.whole("--model")


def _merged(bundle: WholeBundle) -> WholeBundle:
    """A two-channel model is merged first: distillation was left out (Table 3)."""
    config: STD4DConfig = bundle.std4d.config
    merged: STD4D = bundle.std4d if config.merged else bundle.std4d.merge()
    return replace(bundle, std4d=merged, facts=replace(bundle.facts, role="4d"))


def _teacher(
    folder: Path | None, role: str, vae: FrameVAE, source: Source, train: TrainConfig
) -> Teacher:
    if folder is None:
        hint = f"give --teacher-{role}, or --set distill.enabled=false"
        raise ConfigError(f"no {role} teacher", hint=hint)
    teacher, its = load_teacher(folder, role=role, empty=source.device.type == "meta")
    if its is not None and its.id != vae.id and (apart := vae.apart(its)) > SAME_LATENTS:
        raise InputError(
            f"{folder}: its frame VAE is not the student's: they would not see the same latents "
            f"({apart:.0%} apart, at most {SAME_LATENTS:.0%})",
            hint="train teachers and student with one --vae",
        )
    for part in vars(teacher).values():
        if isinstance(part, nn.Module):
            _freeze(part)
            if train.precision == "bf16":
                halve(part)
            part.to(source.device)
    return teacher


def _facts(role: str, model: ModelConfig, resolution: int) -> Facts:
    return Facts(role=role, frames=model.frames, resolution=resolution)
