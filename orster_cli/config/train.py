"""Settings of the training stages and of the model that they train. The defaults are the `mini`
size: what a CPU can train; templates hold the larger ones."""

from __future__ import annotations

from dataclasses import dataclass

from orster_cli.config.fields import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Sizes of a new model."""

    widths: tuple[int, ...] = setting(
        (32, 64, 96), "channels of each level of the trunk", minimum=8
    )
    attention: tuple[bool, ...] = setting((True, True, False), "levels with transformers")
    layers: int = setting(1, "layers of each level", minimum=1, maximum=8)
    head_width: int = setting(16, "width of an attention head", minimum=4)
    groups: int = setting(16, "groups of the normalisations", minimum=1)
    context_width: int = setting(64, "width of the tokens of a condition", minimum=8)
    dropout: float = setting(0.0, "dropout of the temporal convolutions", minimum=0, maximum=0.9)
    channels: str = setting(
        "both",
        "channels of the diffusion (Table 2)",
        choices=("both", "spatial", "temporal", "entangled"),
    )
    prediction: str = setting("epsilon", "prediction target", choices=("epsilon", "v_prediction"))
    beta_schedule: str = setting(
        "scaled_linear", "noise schedule", choices=("linear", "scaled_linear", "squaredcos_cap_v2")
    )
    zero_snr: bool = setting(False, "rescale the schedule to zero terminal SNR")
    frames: int = setting(16, "frames of a clip (0: as in the dataset)", minimum=0)
    resolution: int = setting(
        0, "pixels of a frame (0: as in the dataset)", minimum=0, maximum=2048
    )
    latent_channels: int = setting(4, "channels of a latent", minimum=1, maximum=64)
    vae_widths: tuple[int, ...] = setting(
        (32, 64, 96),
        "channels of the frame VAE; each after the first halves the picture",
        minimum=8,
    )
    vae_patch: int = setting(
        1, "pixels a side of the blocks that the frame VAE reads as one", minimum=1, maximum=16
    )
    encoder_width: int = setting(64, "width of the text and image encoder", minimum=8)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Settings that all stages share. `batch` counts over all processes."""

    steps: int = setting(5000, "optimizer steps", minimum=0)
    batch: int = setting(8, "clips per step, over all processes", minimum=1)
    accumulate: int = setting(1, "gradient accumulation: parts of a step's batch", minimum=1)
    lr: float = setting(3e-5, "learning rate", minimum=0)
    schedule: str = setting("cosine", "decay of the learning rate", choices=("cosine", "constant"))
    warmup: int = setting(10, "steps in which the learning rate rises", minimum=0)
    weight_decay: float = setting(0.0, "weight decay of AdamW", minimum=0)
    clip: float = setting(1.0, "gradients are clipped to this norm (0: never)", minimum=0)
    ema: float = setting(
        0.0, "decay of the moving average of the weights (0: none)", minimum=0, maximum=0.99999
    )
    precision: str = setting(
        "fp32", "precision of the forward and backward passes", choices=("fp32", "bf16")
    )
    checkpointing: bool = setting(False, "recompute activations instead of keeping them")
    trainable: str = setting(
        "all", "weights of the trunk that are trained", choices=("all", "temporal", "lora")
    )
    lora_rank: int = setting(16, "rank of the LoRA updates", minimum=1)
    offset_noise: float = setting(
        0.0, "strength of offset noise, which is the same at all pixels", minimum=0
    )
    text: float = setting(1.0, "share of steps conditioned on the text", minimum=0)
    image: float = setting(0.0, "share of steps conditioned on the first view", minimum=0)
    object: float = setting(0.0, "share of steps conditioned on the static object", minimum=0)
    dynamic: float = setting(
        1.0, "share of the dynamic orbits used for training", minimum=0, maximum=1
    )
    drop: float = setting(0.1, "probability that a condition is dropped", minimum=0, maximum=1)
    drop_who: float = setting(
        0.1,
        "probability that a text leaves out the object (captions of factors)",
        added=True,
        minimum=0,
        maximum=1,
    )
    drop_what: float = setting(
        0.1,
        "probability that a text leaves out the action (captions of factors)",
        added=True,
        minimum=0,
        maximum=1,
    )
    log_every: int = setting(10, "steps between lines of the log", minimum=1)
    sample_every: int = setting(0, "steps between contact sheets (0: none)", minimum=0)
    checkpoint_seconds: float = setting(300.0, "seconds between checkpoints", minimum=0)
    trackers: tuple[str, ...] = setting((), "further trackers: tensorboard, wandb, trackio, ...")
    seed: int = setting(0, "seed", minimum=0)

    def gives_texts(self) -> bool:
        """Whether some steps give the text; where no share is set, all do."""
        return self.text > 0 or not (self.image or self.object)


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeConfig(TrainConfig):
    """The frame VAE, on single frames."""

    batch: int = setting(32, "frames per step, over all processes", minimum=1)
    lr: float = setting(1e-3, "learning rate", minimum=0)
    edges: float = setting(1.0, "weight of the differences between neighbouring pixels", minimum=0)
    colours: float = setting(1.0, "weight of red - green and yellow - blue", minimum=0)
    kl: float = setting(1e-5, "weight of the KL divergence", minimum=0)
    encoder: bool = setting(False, "train the encoder of the VAE to go on from too: new latents")
    crop: int = setting(
        0, "pixels a side of the part of a frame that early steps see (0: all of it)", minimum=0
    )
    whole: float = setting(
        0.2, "share of the steps, the last ones, that see whole frames", minimum=0, maximum=1
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig(TrainConfig):
    """The small text and image encoder, contrastively on frames and captions."""

    batch: int = setting(64, "frames per step, over all processes", minimum=2)
    lr: float = setting(1e-3, "learning rate", minimum=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherConfig(TrainConfig):
    """A 3D diffusion on static orbits, or a video diffusion on front views."""

    image: float = setting(0.5, "share of steps conditioned on the first view", minimum=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentConfig(TrainConfig):
    """What the four stages of the student share."""

    still: float = setting(
        0.1, "share of videos of the static object, at motion 0", minimum=0, maximum=1
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig(StudentConfig):
    """Sec. 4.1."""

    enabled: bool = setting(True, "run this stage (Table 3, w/o Pre. 4D)")
    reconstruction: float = setting(
        1.0, "weight of the disentangle VAE's reconstruction", minimum=0
    )
    kl: float = setting(1e-4, "weight of its KL divergence", minimum=0)
    orthogonal: float = setting(0.1, "weight of its cross-covariance", minimum=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillConfig(PretrainConfig):
    """Sec. 4.2, Eq. 11-14."""

    enabled: bool = setting(True, "run this stage (Table 3, w/o Orster)")
    weight: float = setting(1.0, "weight of L_orster, added to the diffusion loss", minimum=0)
    lambda_o: float = setting(0.5, "share of the spatial part (Eq. 14)", minimum=0, maximum=1)
    kernel: bool = setting(True, "the joint kernel (Eq. 11)")
    spatial_attention: bool = setting(True, "attention over pixels (Eq. 12)")
    temporal_attention: bool = setting(True, "attention over frames (Eq. 13)")


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignConfig(StudentConfig):
    """Sec. 4.3, Eq. 15. The paper publishes no weights."""

    enabled: bool = setting(True, "run this stage (Table 3, w/o ST Consis.)")
    rec: float = setting(1.0, "weight of L_rec", minimum=0)
    perc: float = setting(0.1, "weight of L_perc", minimum=0)
    temp: float = setting(0.01, "weight of L_temp", minimum=0)
    align: float = setting(0.01, "weight of L_align", minimum=0)
    diffusion: float = setting(1.0, "weight of the diffusion loss, added to them", minimum=0)
    noisiest: float = setting(
        0.3, "share of the noise schedule that is used, from its clean end", minimum=0, maximum=1
    )
    frames: int = setting(4, "frames decoded per clip", minimum=1)
    features: str = setting(
        "vae", "features of L_perc: the frame VAE's encoder, or VGG16", choices=("vae", "vgg")
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneConfig(StudentConfig):
    """Sec. 4.4, Eq. 16."""

    image: float = setting(1.0, "share of steps conditioned on the first view", minimum=0)
    object: float = setting(1.0, "share of steps conditioned on the static object", minimum=0)
