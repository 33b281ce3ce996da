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
    channel_form: str = setting(
        "whole",
        "a channel runs the whole trunk and trains its half, or runs its half alone (bypassed)",
        choices=("whole", "bypassed"),
    )
    joint_attention: int = setting(
        1,
        "blocks of attention among all frames and pixels at the coarsest level",
        minimum=0,
        maximum=2,
    )
    parametrization: str = setting(
        "epsilon",
        "what is predicted: the noise, v, or v of the difference to the object at rest",
        choices=("epsilon", "v", "residual"),
    )
    object_tokens: bool = setting(
        False, "static objects are tokens of the cross-attention too, not only beside each frame"
    )
    reference_head: int = setting(
        0,
        "width of the head that compares what is predicted with the object at rest (0: none)",
        minimum=0,
        maximum=512,
        added=True,
    )
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
    vae_pca: bool = setting(
        False, "the frame VAE adds to principal components of blocks, fitted before training"
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
    optimizer: str = setting(
        "adamw",
        "adamw, or muon for the matrices of the 4D-UNet, with the learning rate of AdamW",
        choices=("adamw", "muon"),
        added=True,
    )
    weight_decay: float = setting(0.0, "weight decay of the optimizer", minimum=0)
    clip: float = setting(1.0, "gradients are clipped to this norm (0: never)", minimum=0)
    ema: float = setting(
        0.999, "decay of the moving average of the weights (0: none)", minimum=0, maximum=0.99999
    )
    precision: str = setting(
        "fp32", "precision of the forward and backward passes", choices=("fp32", "bf16")
    )
    checkpointing: bool = setting(False, "recompute activations instead of keeping them")
    trainable: str = setting(
        "all",
        "weights that are trained: head is the one of model.reference_head alone",
        choices=("all", "temporal", "lora", "head"),
    )
    lora_rank: int = setting(16, "rank of the LoRA updates", minimum=1)
    lora_alpha: float = setting(16.0, "LoRA updates are scaled by it over their rank", minimum=0)
    offset_noise: float = setting(
        0.0, "strength of offset noise, which is the same at all pixels", minimum=0
    )
    shift: float = setting(
        1.0, "noise levels u are drawn as shift u / (1 + (shift - 1) u)", added=True, minimum=0.01
    )
    pure_noise: float = setting(
        0.0, "share of videos at the highest noise level", added=True, minimum=0, maximum=1
    )
    text: float = setting(1.0, "share of videos with the text alone", minimum=0)
    image: float = setting(
        0.0, "share of videos with the first view beside each frame, and the text", minimum=0
    )
    object: float = setting(
        0.0, "share of videos with the object at rest beside each frame, and the text", minimum=0
    )
    reference_noise: float = setting(
        0.0,
        "largest standard deviation of the noise on latents beside the frames",
        minimum=0,
        maximum=10,
    )
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
    held_out: float = setting(
        0.05, "share of the objects that is never trained on, for the log", minimum=0, maximum=0.9
    )
    held_out_every: int = setting(
        0,
        "steps between losses of held-out clips (0: about 50, and at most 5 % of the time)",
        minimum=0,
    )
    keep: str = setting(
        "best",
        "step whose weights are kept: of the lowest held-out loss, or the last",
        choices=("best", "last"),
    )
    data_memory: float = setting(
        0.1,
        "share of the free memory, of the GPU and of the host, that latents and texts may take",
        minimum=0,
        maximum=1,
    )
    sample_every: int = setting(0, "steps between contact sheets (0: none)", minimum=0)
    checkpoint_seconds: float = setting(300.0, "seconds between checkpoints", minimum=0)
    trackers: tuple[str, ...] = setting((), "further trackers: tensorboard, wandb, trackio, ...")
    seed: int = setting(0, "seed", minimum=0)

    def needs_teachers(self) -> bool:
        """Whether the stage uses the two teachers."""
        return False

    def gives_texts(self) -> bool:
        """Whether texts must be there: some videos have the text alone; where no share is set, all do."""
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
    mirror: float = setting(
        0.0, "share of the steps that see mirrored frames", minimum=0, maximum=1
    )
    hues: float = setting(
        0.0, "share of the steps with red, green and blue permuted", minimum=0, maximum=1
    )
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

    image: float = setting(
        0.5, "share of videos with the first view beside each frame, and the text", minimum=0
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentConfig(TrainConfig):
    """What the four stages of the student share. The object at rest is beside most videos from the first
    step."""

    text: float = setting(0.15, "share of videos with the text alone", minimum=0)
    image: float = setting(
        0.15, "share of videos with the first view beside each frame, and the text", minimum=0
    )
    object: float = setting(
        0.7, "share of videos with the object at rest beside each frame, and the text", minimum=0
    )
    reference_noise: float = setting(
        0.1,
        "largest standard deviation of the noise on latents beside the frames",
        minimum=0,
        maximum=10,
    )
    still: float = setting(
        0.1, "share of videos of the static object, at motion 0", minimum=0, maximum=1
    )
    still_camera: float = setting(
        0.1, "share of videos from a camera that stands still; needs a grid", minimum=0, maximum=1
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitConfig(StudentConfig):
    """What the stages share in which the latents are split."""

    reconstruction: float = setting(
        1.0, "weight of the disentangle VAE's reconstruction", minimum=0
    )
    kl: float = setting(1e-4, "weight of its KL divergence", minimum=0)
    orthogonal: float = setting(0.1, "weight of its cross-covariance", minimum=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig(SplitConfig):
    """Sec. 4.1."""

    enabled: bool = setting(True, "run this stage (Table 3, w/o Pre. 4D)")
    exchange: float = setting(
        0.0,
        "share of videos whose Z^S is the object's in another motion, and whose Z^T is that of another "
        "object in the same motion; of objects of one rig, from the same cameras",
        added=True,
        minimum=0,
        maximum=1,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillConfig(SplitConfig):
    """Sec. 4.2, Eq. 11-14."""

    enabled: bool = setting(True, "run this stage (Table 3, w/o Orster)")
    target: str = setting(
        "teachers",
        "match the teachers, or (a control) the frame VAE's encoder on the clean frames",
        choices=("teachers", "vae"),
    )
    weight: float = setting(1.0, "weight of L_orster, added to the diffusion loss", minimum=0)
    lambda_o: float = setting(0.5, "share of the spatial part (Eq. 14)", minimum=0, maximum=1)
    kernel: str = setting(
        "pair",
        "the joint kernel (Eq. 11): of pairs of tokens, one value per token, or none (Table 3)",
        choices=("pair", "token", "none"),
    )
    spatial_attention: bool = setting(True, "attention over pixels (Eq. 12)")
    temporal_attention: bool = setting(True, "attention over frames (Eq. 13)")
    lessons: str = setting(
        "teachers",
        "videos on which features are compared: static orbits for the 3D teacher and front views for the "
        "video teacher, or the stage's own",
        choices=("teachers", "own"),
    )
    lesson_share: float = setting(
        0.5, "videos of each lesson, as a share of the batch", minimum=0.01, maximum=1
    )
    fade: float = setting(
        0.4,
        "share of the steps, the last ones, in which the channels become one",
        minimum=0,
        maximum=1,
    )

    def needs_teachers(self) -> bool:
        return self.enabled and self.target == "teachers"


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

    transfer: float = setting(
        0.5,
        "weight of L_orster at the first step, where teachers are given; it falls to 0",
        minimum=0,
    )
    transfer_until: float = setting(
        0.5, "share of the steps after which the weight of L_orster is 0", minimum=0, maximum=1
    )

    def needs_teachers(self) -> bool:
        return self.transfer > 0 and self.transfer_until > 0
