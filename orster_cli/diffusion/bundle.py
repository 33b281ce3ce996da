"""A whole model in one folder, laid out as a diffusers pipeline: ``unet/`` and ``std4d/`` (the
diffusion), ``vae/``, ``encoder/``, ``scheduler/``, ``pipeline.json``, ``known.json``, ``rest/``,
``course/``, ``lift/``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from orster_cli.core.errors import InputError
from orster_cli.core.strict_json import read_object
from orster_cli.diffusion import weights
from orster_cli.diffusion.course_regressor import CourseRegressor, load_course, save_course
from orster_cli.diffusion.encoders import ClipEncoder, load_encoder, save_encoder
from orster_cli.diffusion.frame_vae import FrameVAE, load_vae, save_vae
from orster_cli.diffusion.known_inputs import KnownInputs, load_known, save_known
from orster_cli.diffusion.lift_net import LiftNet, load_lift, save_lift
from orster_cli.diffusion.mini_encoder import MiniEncoder
from orster_cli.diffusion.parametrization import Parametrization
from orster_cli.diffusion.rest_regressor import RestRegressor, load_rest, save_rest
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.std4d import STD4D
from orster_cli.geometry.orbit import FOV_DEG, RADIUS

PIPELINE = "pipeline.json"
SCHEDULER = "scheduler/scheduler_config.json"
ROLES = ("vae", "encoder", "3d", "video", "4d")
OPTIONAL = ("known", "rest", "course", "lift")  # parts that a whole model may lack


@dataclass(frozen=True, kw_only=True)
class Facts:
    """`role`: what the model generates (3d: static orbits, video: a moving object from a fixed camera,
    4d: orbits of a moving object), or the part that it is (vae, encoder). `motion`: the median motion
    strength of its training clips, the default of sampling. `through_rest`: from a text or an image it
    samples the object at rest first. `residual_scale`: it diffuses (z - z_rest) / residual_scale
    (`Parametrization`); None: the latents themselves."""

    role: str
    frames: int = 24
    resolution: int = 256
    elevation: float = 0.0
    radius: float = RADIUS
    fov: float = FOV_DEG
    motion: float | None = None
    through_rest: bool = False
    residual_scale: float | None = None


@dataclass
class Bundle:
    """A model. A missing part is None; `known`: what its training showed it, where that is recorded;
    `rest`: makes the object at rest in one pass, from texts of `encoder`; `course`: moves it by the actions
    that `rest` knows the starts of; `lift`: makes an object of one picture."""

    facts: Facts
    std4d: STD4D | None = None
    vae: FrameVAE | None = None
    encoder: ClipEncoder | MiniEncoder | None = None
    schedule: NoiseSchedule | None = None
    known: KnownInputs | None = None
    rest: RestRegressor | None = None
    course: CourseRegressor | None = None
    lift: LiftNet | None = None

    def whole(self, where: str) -> WholeBundle:
        """The same with every part. InputError: one is missing, or the encoder does not match the
        backbone's image branch."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        missing = [name for name, part in parts.items() if part is None and name not in OPTIONAL]
        if missing:
            raise InputError(
                f"{where}: a {self.facts.role} model without {', '.join(missing)}",
                hint="give a model of orster pretrain --role 4d, or of a stage after it",
            )
        whole = WholeBundle(**parts)
        if self.rest is not None and self.course is not None:
            known, sizes = self.rest.config, self.course.config
            subjects = len(known.subjects)
            wanted = len(known.starts), subjects, subjects + sum(map(len, known.done))
            if wanted != (sizes.starts, sizes.subjects, sizes.known):
                raise InputError(
                    f"{where}: course/ knows {sizes.starts} starts, {sizes.subjects} subjects and "
                    f"{sizes.known} shapes, rest/ {wanted[0]}, {wanted[1]} and {wanted[2]}",
                    hint="both come from one training: train course/ again for this rest/",
                )
        config = whole.std4d.config
        expected, got = config.trunk.cross_attention_dim, whole.encoder.image_embedding_width
        if config.image_fps is not None and got != expected:
            raise InputError(
                f"{where}: its image branch reads vectors of {expected} numbers, its encoder "
                + (f"gives {got} of an image" if got else "reads texts only"),
                hint="train it with the encoder of I2VGen-XL, which orster import i2vgen-xl writes: "
                "orster pretrain --encoder",
            )
        return whole


@dataclass
class WholeBundle:
    """A complete model. Its `reference_head` reads predictions as schedule and facts say."""

    facts: Facts
    std4d: STD4D
    vae: FrameVAE
    encoder: ClipEncoder | MiniEncoder
    schedule: NoiseSchedule
    known: KnownInputs | None = None
    rest: RestRegressor | None = None
    course: CourseRegressor | None = None
    lift: LiftNet | None = None

    def __post_init__(self) -> None:
        if self.std4d.reference_head is not None:
            form = Parametrization.of(self.schedule, self.facts.residual_scale)
            self.std4d.reference_head.follow(form)


def save_bundle(
    bundle: Bundle | WholeBundle, folder: Path, dtype: torch.dtype | None = None
) -> None:
    """Write every part of `bundle` into `folder`, weights in `dtype` (`io.whole_numbers`; None: unchanged).
    Of a CLIP encoder whole numbers are not written: it gets float16."""
    folder.mkdir(parents=True, exist_ok=True)
    if bundle.std4d is not None:
        weights.save(bundle.std4d, folder, dtype)
    if bundle.vae is not None:
        save_vae(bundle.vae, folder / "vae", dtype)
    if bundle.encoder is not None:
        (folder / "encoder").mkdir(exist_ok=True)
        save_encoder(bundle.encoder, folder / "encoder", dtype)
    if bundle.schedule is not None:
        write_schedule(folder, bundle.schedule)
    if bundle.known is not None:
        save_known(bundle.known, folder)
    if bundle.rest is not None:
        save_rest(bundle.rest, folder / "rest", dtype)
    if bundle.course is not None:
        save_course(bundle.course, folder / "course", dtype)
    if bundle.lift is not None:
        save_lift(bundle.lift, folder / "lift", dtype)
    write_facts(folder, bundle.facts)


def write_schedule(folder: Path, schedule: NoiseSchedule) -> None:
    """Write the scheduler's config in diffusers' format."""
    (folder / SCHEDULER).parent.mkdir(parents=True, exist_ok=True)
    _write(folder / SCHEDULER, schedule.to_diffusers())


def write_facts(folder: Path, facts: Facts) -> None:
    """Write `pipeline.json`, which marks the folder as a model of orster."""
    _write(folder / PIPELINE, {"format": "orster-model", "version": 1, **asdict(facts)})


def load_bundle(folder: Path, *, empty: bool = False) -> Bundle:
    """The model in `folder`, in float32 on the CPU, in evaluation mode; `empty`: on the meta device,
    without weights. InputError, ConfigError."""
    path = folder / PIPELINE
    if not path.is_file():
        raise InputError(
            f"{folder}: no model: {PIPELINE} is not there",
            hint="give the folder of a model that orster pretrain, distill, align or finetune made",
        )
    value = read_object(path)
    if value.pop("format", None) != "orster-model" or value.pop("version", None) != 1:
        raise InputError(f"{path}: expected orster-model version 1")
    unknown = set(value) - {f.name for f in fields(Facts)}
    if unknown or value.get("role") not in ROLES:
        raise InputError(f"{path}: unknown key or role: {sorted(unknown) or value.get('role')}")
    parts = ("unet", "vae", "encoder", "rest", "course", "lift")
    has = {name: (folder / name).is_dir() for name in parts}
    schedule = folder / SCHEDULER
    return Bundle(
        facts=Facts(**value),
        std4d=weights.load(folder, empty=empty) if has["unet"] else None,
        vae=load_vae(folder / "vae", empty=empty) if has["vae"] else None,
        encoder=load_encoder(folder / "encoder", empty=empty) if has["encoder"] else None,
        schedule=NoiseSchedule.from_diffusers(read_object(schedule))
        if schedule.is_file()
        else None,
        known=load_known(folder),
        rest=load_rest(folder / "rest", empty=empty) if has["rest"] else None,
        course=load_course(folder / "course", empty=empty) if has["course"] else None,
        lift=load_lift(folder / "lift", empty=empty) if has["lift"] else None,
    )


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
