"""What a training command is given: its dataset and models, opened, checked, and built into a stage."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from orster_cli.commands.stage import Stage
    from orster_cli.config.train import TrainConfig
    from orster_cli.inputs.models import OpenedModel
    from orster_cli.training.prepared import Models, PreparedStage

PARTS = ("vae", "encoder")  # roles of models that hold no diffusion
_OPTIONS = {"start": "--model", "vae": "--vae", "encoder": "--encoder"}
_UNREAD = {"vae": ("vae", "encoder"), "encoder": ("start", "vae", "encoder")}  # by role


@dataclass(frozen=True)
class TrainRequest:
    """Which stage, on which folders. `folders`: models by what they are used for; `held_out`: the dataset
    that the loss is measured on, if another one."""

    command: str
    section: str
    dataset: Path
    out: Path
    folders: dict[str, Path | None]
    role: str = ""
    held_out: Path | None = None
    models: dict[str, OpenedModel] = field(default_factory=dict)


def open_models(request: TrainRequest, train: TrainConfig) -> TrainRequest:
    """`request` with its models opened, by their manifests alone: what can be refused without torch
    is refused here. ConfigError: a model is missing, or the role reads none; InputError: one is not what
    it is used for."""
    from orster_cli.core.errors import ConfigError, InputError
    from orster_cli.dataset.places import open_manifest
    from orster_cli.inputs.models import open_model

    for path in filter(None, (request.dataset, request.held_out)):
        open_manifest(path)
    given = {use: path for use, path in request.folders.items() if path is not None}
    _refuse_unread(request.role, given)
    models = {use: open_model(path) for use, path in given.items()}
    diffusion = request.role not in PARTS
    if diffusion and "start" not in models and not {"vae", "encoder"} <= set(models):
        raise ConfigError(
            "a new model needs a frame VAE and an encoder",
            hint="give --vae and --encoder (orster pretrain --role vae, --role encoder), or --model",
        )
    start = models.get("start")
    if diffusion and start is not None and start.role in PARTS:
        raise InputError(
            f"--model: {start.path}: {_article(start.role)} model without a diffusion",
            hint="give a model of orster pretrain --role 3d or 4d, or of a later stage",
        )
    if request.role == "vae" and start is not None and start.role == "encoder":
        raise InputError(f"--model: {start.path}: {_article(start.role)} model has no vae")
    for use, missing in (("vae", "encoder"), ("encoder", "vae")):
        if use in models and models[use].role == missing:
            raise InputError(f"--{use}: {models[use].path}: {_article(missing)} model has no {use}")
    needed = request.section == "distill" and train.needs_teachers()
    needed = needed or any(use.startswith("teacher") for use in models)  # of finetune: both or none
    for role in ("3d", "video"):
        teacher = models.get(f"teacher_{role}")
        if needed and teacher is None:
            off = {"distill": "distill.enabled=false"}.get(
                request.section, f"{request.section}.transfer=0"
            )
            raise ConfigError(f"no {role} teacher", hint=f"give --teacher-{role}, or --set {off}")
        if teacher is not None and teacher.role not in (None, role, "4d"):
            got = _article(teacher.role)
            raise InputError(
                f"--teacher-{role}: {teacher.path}: expected a {role} model, got {got} one"
            )
    return replace(request, models=models)


def _refuse_unread(role: str, given: dict[str, Path]) -> None:
    """ConfigError: a model is given that the stage of this role does not read."""
    from orster_cli.core.errors import ConfigError

    unread = [_OPTIONS[use] for use in _UNREAD.get(role, ()) if use in given]
    if unread:
        more = "; --model continues one" if role == "vae" else ""
        raise ConfigError(
            f"{', '.join(unread)}: {_article(role)} is trained on the dataset alone{more}",
            hint="leave it out, or give the --role of what is to be trained",
        )


def check_captions(request: TrainRequest, train: TrainConfig) -> None:
    """InputError: no dataset, or one without captions for a stage that learns texts."""
    from orster_cli.core.reporting import Silent
    from orster_cli.dataset.captioned import captioned
    from orster_cli.dataset.places import open_dataset

    _, data = open_dataset(request.dataset)
    pairs = request.role == "encoder"  # contrastive: frames with captions
    if train.steps and (pairs or (request.role != "vae" and train.gives_texts())):
        captioned(data, Silent(), pairs=pairs, section=request.section)


def _article(role: str | None) -> str:
    return f"an {role}" if role == "encoder" else f"a {role}"


def build_stage(
    stage: Stage,
    request: TrainRequest,
    device: torch.device,
    part: tuple[int, int] = (0, 1),
    *,
    blank: bool = False,
) -> PreparedStage:
    """The stage, on each process; `blank`: its sizes alone, for a plan."""
    from orster_cli.dataset.places import open_dataset
    from orster_cli.training import build
    from orster_cli.training.training_data import Source

    cfg = stage.resolved.config
    artifact, data = open_dataset(request.dataset)
    held = None
    if request.held_out is not None:
        other, theirs = open_dataset(request.held_out)
        held = theirs, other.id
    source = Source(
        dataset=data,
        id=artifact.id,
        device=device,
        reporter=stage.out,
        stop=stage.stop,
        part=part,
        held_out=held,
        placeholder=blank,
    )
    models = _load(request, empty=blank)
    return build.build_stage(request.command, request.role, cfg, source, models)


def _load(request: TrainRequest, *, empty: bool) -> Models:
    from orster_cli.core.errors import InputError
    from orster_cli.training.prepared import Models

    start, vae, encoder = (request.models.get(name) for name in ("start", "vae", "encoder"))
    parts: dict[str, Any] = {}
    for name, opened in (("vae", vae), ("encoder", encoder)):
        if opened is not None:
            parts[name] = getattr(opened.load(empty=empty), name)
            if parts[name] is None:
                raise InputError(f"{opened.path}: has no {name}")
    return Models(
        start=None if start is None else start.load(empty=empty),
        teacher_3d=_folder(request, "teacher_3d"),
        teacher_video=_folder(request, "teacher_video"),
        **parts,
    )


def _folder(request: TrainRequest, use: str) -> Path | None:
    opened = request.models.get(use)
    return None if opened is None else opened.path
