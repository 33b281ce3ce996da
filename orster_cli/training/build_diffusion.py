"""The stages of the diffusion without teachers: pretraining and alignment."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from orster_cli.config.schema import Config
from orster_cli.config.train import TrainConfig
from orster_cli.core.errors import ConfigError
from orster_cli.diffusion import weights
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.parametrization import Parametrization
from orster_cli.training.contact_sheets import sample_sheet
from orster_cli.training.datafeed import LatentFeed
from orster_cli.training.known_data import known_data
from orster_cli.training.lessons import LessonFeed
from orster_cli.training.lora import add_lora, merge_lora
from orster_cli.training.optimizer import freeze_all_but_head, freeze_spatial
from orster_cli.training.perceptual_features import vae_features, vgg_features, vgg_network
from orster_cli.training.placeholder_batches import PlaceholderLatents
from orster_cli.training.prepared import Models, PreparedStage, freeze
from orster_cli.training.stages import AlignStage, DiffusionStage
from orster_cli.training.start_model import merged_start, start_or_new
from orster_cli.training.step_conditions import StageContext
from orster_cli.training.student_facts import (
    note_unused,
    with_cameras,
    with_conditions,
    with_parametrization,
    with_reference_head,
)
from orster_cli.training.training_data import VIEW, Source, latent_feed, sizes_of

SHEET_CLIPS = 4


def build_diffusion(
    cfg: Config, train: TrainConfig, source: Source, models: Models, role: str
) -> PreparedStage:
    """Pretraining (Sec. 4.1) of a student (role 4d) or of a teacher (3d, video): new, or from
    `models.start`."""
    start = start_or_new(cfg.model, source, models, role, train.seed)
    encoder = start.encoder
    reads = replace(  # a backbone may be given another encoder than its own
        start.std4d.config,
        text_width=encoder.text_width,
        image_width=encoder.image_width or encoder.text_width,
        pooled_width=encoder.pooled_width,
        reference_mask=True,
    )
    frames, resolution = sizes_of(cfg.model, source, role)
    channels = cfg.model.channels
    if role == "4d":
        if cfg.pretrain.exchange and channels == "entangled":
            raise ConfigError(
                "pretrain.exchange: a model with model.channels = entangled does not split its latents",
                hint="set pretrain.exchange to 0, or model.channels to both",
            )
        form = cfg.model.channel_form
        config = replace(reads, channels=channels, channel_form=form, merged=False)
    else:
        config = replace(reads, channels="both", merged=True)
    model = weights.start_from(start.std4d, config, train.seed)
    feed = latent_feed(train, source, start.vae, VIEW[role], frames, resolution, encoder=encoder)
    facts = replace(
        with_cameras(start.facts, feed),
        role=role,
        resolution=resolution,
        frames=frames,
        motion=feed.motion() if role == "4d" else None,
        through_rest=False,
    )
    new = models.start is None  # else only what was recorded before can be added to
    bundle = replace(start, facts=facts, std4d=model)
    if role == "4d":
        bundle.facts = with_conditions(facts, train)
        bundle = with_parametrization(bundle, cfg.model, feed, new=new)
        bundle = with_reference_head(bundle, cfg.model, train.seed)
    if not new:
        note_unused(cfg.model, bundle, source)
    stage = DiffusionStage(bundle.std4d, train, stage_context(bundle, source))
    return prepare_diffusion(stage, feed, bundle, train, learns=new or start.known is not None)


def build_align(cfg: Config, source: Source, models: Models) -> PreparedStage:
    """Spatial-temporal consistency (Sec. 4.3)."""
    train, start = cfg.align, merged_start(models)
    start.facts = with_conditions(start.facts, train)
    feed = student_feed(train, source, start, train.frames)
    start.facts = with_cameras(start.facts, feed)
    note_unused(cfg.model, start, source)
    vgg = vgg_network(source.device) if train.features == "vgg" else None
    features = vae_features(start.vae) if vgg is None else vgg_features(vgg)
    freeze(start.vae, source.device)
    stage = AlignStage(start.std4d, train, stage_context(start, source), start.vae, features)
    prepared = prepare_diffusion(stage, feed, start, train, curves=("rec", "perc", "temp", "align"))
    if vgg is not None:
        prepared.frozen["VGG16"] = vgg
    return prepared


def student_feed(
    train: TrainConfig, source: Source, start: WholeBundle, pictures: int = 0
) -> LatentFeed | PlaceholderLatents:
    """Orbits for a student that goes on from `start`; `pictures` as `latent_feed`."""
    facts = start.facts
    sizes = (facts.frames, facts.resolution, pictures, start.encoder)
    return latent_feed(train, source, start.vae, VIEW["4d"], *sizes)


def stage_context(bundle: WholeBundle, source: Source) -> StageContext:
    """What a stage of `bundle` uses and does not train, its encoder frozen on the device."""
    freeze(bundle.encoder, source.device)
    return StageContext(
        encoder=bundle.encoder,
        parametrization=Parametrization.of(bundle.schedule, bundle.facts.residual_scale),
        role=bundle.facts.role,
        device=source.device,
    )


def prepare_diffusion(
    stage: DiffusionStage,
    feed: LatentFeed | PlaceholderLatents | LessonFeed,
    bundle: WholeBundle,
    train: TrainConfig,
    *,
    merge: bool = False,
    curves: tuple[str, ...] = (),
    learns: bool = False,
) -> PreparedStage:
    """A stage on its device, its parameters frozen or given LoRA as the settings say. The result is
    `bundle` with the trained model, merged where `merge` says so; `learns`: what the data shows is
    added to what the model is recorded to know. ConfigError: nothing would be trained."""
    model = stage.model
    model.trunk.checkpointing = train.checkpointing
    if train.trainable == "lora":
        add_lora(model, train.lora_rank, train.seed, train.lora_alpha)
    elif train.trainable == "temporal":
        freeze_spatial(model)
    elif train.trainable == "head":
        freeze_all_but_head(model)
        if not train.object:
            raise ConfigError(
                "trainable=head: the head compares with the object at rest, and the share object is 0",
                hint="--set SECTION.object=1",
            )
    stage.to(stage.context.device)

    def finish() -> WholeBundle:
        merge_lora(model)
        known = bundle.known
        own = feed.feed if isinstance(feed, LessonFeed) else feed
        if learns and isinstance(own, LatentFeed) and own.cache.dataset.has_frames:
            seen = known_data(
                own.cache.dataset,
                own.keys,
                bundle.encoder,
                view=own.view,
                resolution=bundle.facts.resolution,
                texts=train.gives_texts(),
                device=stage.context.device,
            )
            known = seen if known is None else known.merged(seen)
        return replace(bundle, std4d=model.merge() if merge else model, known=known)

    def sheet() -> Tensor:
        captions = feed.captions()[:SHEET_CLIPS]
        return sample_sheet(replace(bundle, std4d=model), captions, stage.context.device)

    frozen = {"frame VAE": bundle.vae, "encoder": bundle.encoder}
    return PreparedStage(stage, feed, finish, ("diffusion", *curves), sheet, frozen)
