"""`orster pretrain`, `distill`, `align`, `finetune`: the four stages of training (Sec. 4.1 to 4.4).

On several processes (`torchrun ... -m orster_cli pretrain ...`, `accelerate launch`) the first one
alone holds the artifact that is being made; the others are told where to work.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orster_cli.ui.options import (
    ConfigOption,
    DeviceOption,
    DryRunOption,
    ForceOption,
    JsonOption,
    OutOption,
    QuietOption,
    SetOption,
    TemplateOption,
)

if TYPE_CHECKING:
    import torch

    from orster_cli.artifacts.store import Draft
    from orster_cli.commands.stage import Stage
    from orster_cli.config.train import TrainConfig
    from orster_cli.inputs.models import OpenedModel
    from orster_cli.training.build import Models, Ready

ROLES = {"vae": "vae", "encoder": "encoder", "3d": "teacher", "video": "teacher", "4d": "pretrain"}
DatasetArgument = Annotated[Path, typer.Argument(help="Dataset of orster prepare-data.")]
ModelOption = Annotated[Path, typer.Option("--model", "-m", help="Model to go on from.")]
StepsOption = Annotated[int | None, typer.Option(help="Optimizer steps.")]
SeedOption = Annotated[int | None, typer.Option(help="Seed of weights, order and noise.")]


def pretrain(
    dataset: DatasetArgument,
    out: OutOption,
    role: Annotated[
        str, typer.Option(help="4d (the student), 3d or video (a teacher), vae or encoder.")
    ] = "4d",
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", help="To start from: a 3D diffusion; for a vae, one."),
    ] = None,
    vae: Annotated[Path | None, typer.Option(help="Model whose frame VAE is used.")] = None,
    encoder: Annotated[Path | None, typer.Option(help="Model whose encoder is used.")] = None,
    steps: StepsOption = None,
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    config: ConfigOption = None,
    template: TemplateOption = None,
    assignments: SetOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train the 4D diffusion on orbital clips (Sec. 4.1), or a part or teacher of it.

    Example: orster pretrain dataset/ --role 4d --model teacher-3d/ -o pretrained/"""
    from orster_cli.core.errors import ConfigError

    if role not in ROLES:
        raise ConfigError(f"--role: one of {', '.join(ROLES)}, got {role!r}")
    given = {"start": model, "vae": vae, "encoder": encoder}
    _run(
        _Asked("pretrain", ROLES[role], dataset, out, given, device, role=role),
        steps=steps,
        seed=seed,
        config=config,
        template=template,
        assignments=assignments,
        force=force,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )


def distill(
    dataset: DatasetArgument,
    out: OutOption,
    model: ModelOption,
    teacher_3d: Annotated[
        Path | None,
        typer.Option("--teacher-3d", help="3D diffusion; not with distill.enabled=false."),
    ] = None,
    teacher_video: Annotated[
        Path | None, typer.Option("--teacher-video", help="Video diffusion; as above.")
    ] = None,
    steps: StepsOption = None,
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    config: ConfigOption = None,
    template: TemplateOption = None,
    assignments: SetOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Transfer the teachers' spatial and temporal features, then merge the channels (Sec. 4.2).

    Example: orster distill dataset/ -m pretrained/ --teacher-3d t3d/ --teacher-video tv/ -o distilled/"""
    given = {"start": model, "teacher_3d": teacher_3d, "teacher_video": teacher_video}
    _run(
        _Asked("distill", "distill", dataset, out, given, device),
        steps=steps,
        seed=seed,
        config=config,
        template=template,
        assignments=assignments,
        force=force,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )


def align(
    dataset: DatasetArgument,
    out: OutOption,
    model: ModelOption,
    steps: StepsOption = None,
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    config: ConfigOption = None,
    template: TemplateOption = None,
    assignments: SetOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make space and time agree: reconstruction, perception, smoothness, alignment (Sec. 4.3).

    Example: orster align dataset/ -m distilled/ -o aligned/"""
    _run(
        _Asked("align", "align", dataset, out, {"start": model}, device),
        steps=steps,
        seed=seed,
        config=config,
        template=template,
        assignments=assignments,
        force=force,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )


def finetune(
    dataset: DatasetArgument,
    out: OutOption,
    model: ModelOption,
    steps: StepsOption = None,
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    config: ConfigOption = None,
    template: TemplateOption = None,
    assignments: SetOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fine-tune under texts, images and static objects in turn (Sec. 4.4).

    Example: orster finetune dataset/ -m aligned/ -o model/"""
    _run(
        _Asked("finetune", "finetune", dataset, out, {"start": model}, device),
        steps=steps,
        seed=seed,
        config=config,
        template=template,
        assignments=assignments,
        force=force,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )


@dataclass(frozen=True)
class _Asked:
    """Which stage, with which folders. `given`: models by their part in it."""

    command: str
    section: str
    dataset: Path
    out: Path
    given: dict[str, Path | None]
    device: str
    role: str = ""
    models: dict[str, OpenedModel] = field(default_factory=dict)


def _run(asked: _Asked, *, steps: int | None, seed: int | None, **flags: Any) -> None:
    from orster_cli.commands.stage import Stage

    stage = Stage.open(
        asked.section,
        command=asked.command,
        kind="model",
        reads=[asked.dataset, *asked.given.values()],
        out=asked.out,
        flags={f"{asked.section}.steps": steps, f"{asked.section}.seed": seed},
        **flags,
    )
    train = getattr(stage.resolved.config, asked.section)
    if not getattr(train, "enabled", True):
        train = replace(train, steps=0)
        parts = {name: at for name, at in asked.given.items() if not name.startswith("teacher")}
        asked = replace(asked, given=parts)
    _check_captions(asked, train)

    from orster_cli.core.devices import choose_device
    from orster_cli.inputs.models import open_model
    from orster_cli.training.loop import make_accelerator
    from orster_cli.training.train_stage import run_stage

    device = choose_device(asked.device)
    accelerator = make_accelerator(train, cpu=device.type == "cpu")
    models = {name: open_model(path) for name, path in asked.given.items() if path is not None}
    asked = replace(asked, models=models)
    with ExitStack() as held:
        draft, place = None, (None, None)
        if accelerator.is_main_process:
            draft = _plan(stage, asked, train, accelerator.num_processes)
            if draft is not None:
                held.enter_context(draft)
                place = (str(draft.dir), str(draft.scratch))
        else:
            stage.out.quiet = True
        folder, scratch = _told(place, accelerator)
        if folder is None or scratch is None:
            return
        part = (accelerator.process_index, accelerator.num_processes)
        content = run_stage(
            lambda: _build(stage, asked, accelerator.device, part),
            train,
            name=asked.role or asked.command,
            folder=Path(folder),
            scratch=Path(scratch),
            accelerator=accelerator,
            reporter=stage.out,
            stop=stage.stop,
            tracking=asked.out.with_name(f"{asked.out.name}.trackers"),
        )
        if draft is None:
            return
        artifact = draft.commit(content, warnings=stage.out.warnings[:100])
    loss = content["last"].get("loss")
    said = "as it was" if loss is None else f"loss {loss:.4f} at step {content['steps']}"
    stage.done(
        artifact,
        summary=f"{asked.role or asked.command}: {content['parameters']:,} parameters, {said}",
        next_step=_next(asked),
        values=content,
    )


def _check_captions(asked: _Asked, train: TrainConfig) -> None:
    """InputError, before anything heavy: the stage learns texts and the dataset has none."""
    from orster_cli.artifacts.store import open_artifact
    from orster_cli.core.reporting import Silent
    from orster_cli.dataset.captions import captioned
    from orster_cli.dataset.reader import Dataset

    data = open_artifact(asked.dataset, kind="dataset")
    pairs = asked.role == "encoder"
    if train.steps and (pairs or (asked.role != "vae" and train.gives_texts())):
        captioned(Dataset.read(data.path), Silent(), pairs=pairs, section=asked.section)


def _plan(stage: Stage, asked: _Asked, train: TrainConfig, processes: int) -> Draft | None:
    """The draft, or None when there is nothing to do."""
    from orster_cli.artifacts.store import open_artifact

    def memory() -> tuple[dict[str, Any], str]:
        return _memory(stage, asked, train, processes)

    data = open_artifact(asked.dataset, kind="dataset")
    opened = asked.models.values()
    return stage.plan(
        parents=[data.parent(), *(p for model in opened for p in model.parents)],
        inputs=[file for model in opened for file in model.inputs],
        seeds={"train": stage.resolved.section(asked.section)["seed"]},
        extra={"model": stage.resolved.section("model"), "role": asked.role},
        foresee=memory,
    )


def _memory(
    stage: Stage, asked: _Asked, train: TrainConfig, processes: int
) -> tuple[dict[str, Any], str]:
    """What the stage would need of a CUDA card, as values and as text."""
    from orster_cli.training.memory import plan_stage

    if not train.steps:
        return {"memory": None}, "nothing is trained: no memory is planned"
    plan = plan_stage(
        lambda device: _build(stage, asked, device, blank=True),
        train,
        section=asked.section,
        processes=processes,
    )
    return {"memory": plan.to_dict()}, plan.text()


def _told(place: tuple[str | None, str | None], accelerator: Any) -> tuple[str | None, str | None]:
    """What the first process knows."""
    from accelerate.utils import broadcast_object_list

    if accelerator.num_processes == 1:
        return place
    first, second = broadcast_object_list(list(place))
    return first, second


def _build(
    stage: Stage,
    asked: _Asked,
    device: torch.device,
    part: tuple[int, int] = (0, 1),
    *,
    blank: bool = False,
) -> Ready:
    """The stage, on each process; `blank`: of sizes alone, for a plan."""
    from orster_cli.artifacts.store import open_artifact
    from orster_cli.dataset.reader import Dataset
    from orster_cli.training import build
    from orster_cli.training.training_data import Source

    cfg = stage.resolved.config
    data = open_artifact(asked.dataset, kind="dataset")
    source = Source(
        dataset=Dataset.read(data.path),
        id=data.id,
        device=device,
        reporter=stage.out,
        stop=stage.stop,
        part=part,
        blank=blank,
    )
    models = _load(asked, empty=blank)
    if asked.role == "vae":
        return build.build_vae(cfg, source, models)
    if asked.role == "encoder":
        return build.build_encoder(cfg, source)
    if asked.command == "pretrain":
        train = getattr(cfg, asked.section)
        return build.build_diffusion(cfg, train, source, models, asked.role)
    stages = {
        "distill": build.build_distill,
        "align": build.build_align,
        "finetune": build.build_finetune,
    }
    return stages[asked.command](cfg, source, models)


def _load(asked: _Asked, *, empty: bool) -> Models:
    from orster_cli.core.errors import InputError
    from orster_cli.training.build import Models

    start, vae, encoder = (asked.models.get(name) for name in ("start", "vae", "encoder"))
    parts: dict[str, Any] = {}
    for name, opened in (("vae", vae), ("encoder", encoder)):
        if opened is not None:
            parts[name] = getattr(opened.load(empty=empty), name)
            if parts[name] is None:
                raise InputError(f"{opened.path}: has no {name}")
    return Models(
        start=None if start is None else start.load(empty=empty),
        teacher_3d=asked.given.get("teacher_3d"),
        teacher_video=asked.given.get("teacher_video"),
        **parts,
    )


def _next(asked: _Asked) -> str:
    out, data = asked.out, asked.dataset
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
    }[asked.role or asked.command]
