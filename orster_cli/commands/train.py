"""`orster pretrain`, `distill`, `align`, `finetune`: the four stages of training (Sec. 4.1 to 4.4).

On several processes (`torchrun ... -m orster_cli pretrain ...`, `accelerate launch`) the first one
holds the draft of the artifact and tells the others where it is.
"""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orster_cli.commands.train_request import (
    TrainRequest,
    build_stage,
    check_captions,
    open_models,
)
from orster_cli.ui.options import SETTINGS, DeviceOption, OutOption, TemplateRun, command

if TYPE_CHECKING:
    from orster_cli.artifacts.store import Draft
    from orster_cli.commands.stage import Stage
    from orster_cli.config.train import TrainConfig

ROLES = {"vae": "vae", "encoder": "encoder", "3d": "teacher", "video": "teacher", "4d": "pretrain"}
DatasetArgument = Annotated[
    Path, typer.Argument(help="Dataset of orster prepare-data, or its URL.")
]
ModelOption = Annotated[Path, typer.Option("--model", "-m", help="Model to continue from.")]


@dataclass(frozen=True, kw_only=True)
class TrainRun(TemplateRun):
    """Options of the four training commands."""

    steps: Annotated[
        int | None, typer.Option(help="Optimizer steps.", rich_help_panel=SETTINGS)
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of weights, order and noise.", rich_help_panel=SETTINGS),
    ] = None
    held_out: Annotated[
        Path | None,
        typer.Option(
            "--held-out", help="Dataset to measure the loss on, in place of a share of this one."
        ),
    ] = None
    device: DeviceOption = "auto"


@command
def pretrain(
    *,
    dataset: DatasetArgument,
    out: OutOption,
    role: Annotated[
        str, typer.Option(help="4d (the student), 3d or video (a teacher), vae or encoder.")
    ] = "4d",
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", "-m", help="Model to start from: a 3D diffusion; for a vae, a vae."
        ),
    ] = None,
    vae: Annotated[Path | None, typer.Option(help="Model whose frame VAE is used.")] = None,
    encoder: Annotated[Path | None, typer.Option(help="Model whose encoder is used.")] = None,
    run: TrainRun,
) -> None:
    """Train the 4D diffusion, or one of its parts or teachers.

    Section 4.1 of the paper.
    Example: orster pretrain dataset/ --role 4d --model teacher-3d/ -o pretrained/"""
    from orster_cli.core.errors import ConfigError

    if role not in ROLES:
        raise ConfigError(f"--role: expected one of {', '.join(ROLES)}, got {role!r}")
    folders = {"start": model, "vae": vae, "encoder": encoder}
    _run(TrainRequest("pretrain", ROLES[role], dataset, out, folders, role=role), run)


@command
def distill(
    *,
    dataset: DatasetArgument,
    out: OutOption,
    model: ModelOption,
    teacher_3d: Annotated[
        Path | None,
        typer.Option(
            "--teacher-3d", help="3D diffusion; not with distill.enabled=false or target=vae."
        ),
    ] = None,
    teacher_video: Annotated[
        Path | None, typer.Option("--teacher-video", help="Video diffusion; as above.")
    ] = None,
    run: TrainRun,
) -> None:
    """Transfer the teachers' features to the 4D diffusion.

    Spatial features come from the 3D teacher, temporal ones from the video teacher; then the two
    channels are merged (Section 4.2).
    Example: orster distill dataset/ -m pretrained/ --teacher-3d t3d/ --teacher-video tv/ -o distilled/"""
    folders = {"start": model, "teacher_3d": teacher_3d, "teacher_video": teacher_video}
    _run(TrainRequest("distill", "distill", dataset, out, folders), run)


@command
def align(*, dataset: DatasetArgument, out: OutOption, model: ModelOption, run: TrainRun) -> None:
    """Make the 4D diffusion consistent in space and time.

    Losses of reconstruction, perception, smoothness and alignment (Section 4.3).
    Example: orster align dataset/ -m distilled/ -o aligned/"""
    _run(TrainRequest("align", "align", dataset, out, {"start": model}), run)


@command
def finetune(
    *,
    dataset: DatasetArgument,
    out: OutOption,
    model: ModelOption,
    teacher_3d: Annotated[
        Path | None,
        typer.Option("--teacher-3d", help="3D diffusion: the transfer goes on, and fades."),
    ] = None,
    teacher_video: Annotated[
        Path | None, typer.Option("--teacher-video", help="Video diffusion; both or none.")
    ] = None,
    run: TrainRun,
) -> None:
    """Fine-tune the 4D diffusion under texts, images and objects.

    Each video has one of the three conditions (Section 4.4).
    Example: orster finetune dataset/ -m aligned/ -o model/"""
    folders = {"start": model, "teacher_3d": teacher_3d, "teacher_video": teacher_video}
    _run(TrainRequest("finetune", "finetune", dataset, out, folders), run)


def _run(request: TrainRequest, options: TrainRun) -> None:
    from orster_cli.commands.stage import Stage

    section = request.section
    shared = options.for_stage()
    device_name, steps, seed = (shared.pop(name) for name in ("device", "steps", "seed"))
    request = replace(request, held_out=shared.pop("held_out"))
    stage = Stage.open(
        section,
        command=request.command,
        kind="model",
        reads=[request.dataset, request.held_out, *request.folders.values()],
        out=request.out,
        flags={f"{section}.steps": steps, f"{section}.seed": seed},
        **shared,
    )
    train = getattr(stage.resolved.config, section)
    if not getattr(train, "enabled", True):
        train = replace(train, steps=0)
    if not train.needs_teachers():
        kept = {name: at for name, at in request.folders.items() if not name.startswith("teacher")}
        request = replace(request, folders=kept)
    request = open_models(request, train)
    check_captions(request, train)

    from orster_cli.core.devices import choose_device
    from orster_cli.core.errors import ConfigError
    from orster_cli.training.loop import LOG, make_accelerator
    from orster_cli.training.peers import ending_together, forget
    from orster_cli.training.train_stage import run_stage

    device = choose_device(device_name)
    accelerator = make_accelerator(train, cpu=device.type == "cpu")
    if device.index is not None and accelerator.num_processes > 1:
        raise ConfigError(
            f"--device {device_name}: {accelerator.num_processes} processes were launched, and each "
            "has its own GPU",
            hint="use --device cuda, and choose GPUs with CUDA_VISIBLE_DEVICES",
        )
    with ExitStack() as held:
        draft, folders = None, (None, None)
        if accelerator.is_main_process:
            draft = _plan(stage, request, train, accelerator.num_processes)
            if draft is not None:
                held.enter_context(draft)
                forget(draft.scratch)
                folders = (str(draft.dir), str(draft.scratch))
        else:
            stage.out.quiet = True
        folder, scratch = _broadcast(folders, accelerator)
        if folder is None or scratch is None:
            return
        part = (accelerator.process_index, accelerator.num_processes)
        held.enter_context(ending_together(Path(scratch), accelerator.num_processes))
        content = run_stage(
            lambda: build_stage(stage, request, accelerator.device, part),
            train,
            name=request.role or request.command,
            folder=Path(folder),
            scratch=Path(scratch),
            accelerator=accelerator,
            reporter=stage.out,
            stop=stage.stop,
            tracking=request.out.with_name(f"{request.out.name}.trackers"),
        )
        if draft is None:
            return
        artifact = draft.commit(content, run_files=[LOG], warnings=stage.out.warnings[:100])
    loss, kept = content["last"].get("loss"), content["kept"]
    trained = "not trained" if loss is None else f"loss {loss:.4f} at step {content['steps']}"
    if kept["held_out"] is not None:
        trained += f", kept step {kept['step']} (held-out loss {kept['held_out']:.4f})"
    stage.done(
        artifact,
        summary=f"{request.role or request.command}: {content['parameters']:,} parameters, {trained}",
        next_step=_next(request),
        values=content,
    )


def _plan(stage: Stage, request: TrainRequest, train: TrainConfig, processes: int) -> Draft | None:
    """The draft, or None when there is nothing to do."""
    from orster_cli.dataset.places import open_manifest

    def memory() -> tuple[dict[str, Any], str]:
        return _memory(stage, request, train, processes)

    data = open_manifest(request.dataset)
    opened = request.models.values()
    parents = [data.parent(), *(p for model in opened for p in model.parents)]
    extra = {"model": stage.resolved.section("model"), "role": request.role}
    if request.section != "distill" and "teacher_3d" in request.models:
        extra["distill"] = stage.resolved.recorded(
            "distill"
        )  # the form of the transfer that goes on
    if request.held_out is not None:
        other = open_manifest(request.held_out)
        parents.append(other.parent())
        extra["held_out"] = other.id
    return stage.plan(
        parents=parents,
        inputs=[file for model in opened for file in model.inputs],
        seeds={"train": stage.resolved.section(request.section)["seed"]},
        extra=extra,
        preview=memory,
    )


def _memory(
    stage: Stage, request: TrainRequest, train: TrainConfig, processes: int
) -> tuple[dict[str, Any], str]:
    """What the stage would need of a CUDA card, as values and as text."""
    from orster_cli.training.memory import plan_stage

    if not train.steps:
        return {"memory": None}, "nothing is trained: no memory is planned"
    plan = plan_stage(
        lambda device: build_stage(stage, request, device, blank=True),
        train,
        section=request.section,
        processes=processes,
    )
    return {"memory": plan.to_dict()}, plan.text()


def _broadcast(
    folders: tuple[str | None, str | None], accelerator: Any
) -> tuple[str | None, str | None]:
    """The first process's `folders`, on every process."""
    from accelerate.utils import broadcast_object_list

    if accelerator.num_processes == 1:
        return folders
    first, second = broadcast_object_list(list(folders))
    return first, second


def _next(request: TrainRequest) -> str:
    from orster_cli.dataset.places import url_of

    out = shlex.quote(str(request.out))
    data = shlex.quote(str(url_of(request.dataset) or request.dataset))
    return {
        "vae": f"orster pretrain {data} --role encoder -o encoder/",
        "encoder": f"orster pretrain {data} --role 3d --vae vae/ --encoder {out} -o teacher-3d/",
        "3d": f"orster pretrain {data} --role 4d -m {out} -o pretrained/",
        "video": f"orster distill {data} -m pretrained/ --teacher-3d teacher-3d/ "
        f"--teacher-video {out} -o distilled/",
        "4d": f"orster distill {data} -m {out} --teacher-3d ... --teacher-video ... -o distilled/",
        "distill": f"orster align {data} -m {out} -o aligned/",
        "align": f"orster finetune {data} -m {out} -o model/",
        "finetune": f'orster sample-video -m {out} --text "..." -o clip/',
    }[request.role or request.command]
