"""Memory that a stage of training really uses, compared with the plan that --dry-run prints.

    python -m benchmarks.memory_plan [--template mini] [--out page.md]
    python -m benchmarks.memory_plan --device cuda --template small --out page.md

Models are new and batches have no content. On a CUDA device two optimizer steps are run: the plan's sum
is compared with `torch.cuda.max_memory_allocated`, and the sum with its margin with
`max_memory_reserved`. On a CPU one forward and backward pass is run and live storages are counted:
those saved for the backward pass, and the peak. Passes are in bfloat16 with activation checkpointing.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.timing import table, write_results
from orster_cli.config.load import resolve
from orster_cli.config.schema import Config
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.diffusion import layers
from orster_cli.diffusion.bundle import load_bundle, save_bundle
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.mini_encoder import new_mini
from orster_cli.training.build import build_stage
from orster_cli.training.build_diffusion import build_diffusion
from orster_cli.training.loop import Run, make_accelerator, train
from orster_cli.training.memory import measure_stage, plan_stage
from orster_cli.training.prepared import Models, PreparedStage
from orster_cli.training.step_memory import measure_step
from orster_cli.training.taught_stage import TaughtStage
from orster_cli.training.training_data import Source

STAGES = ("pretrain", "distill", "align", "finetune")
MIB = 2**20
META = torch.device("meta")


def source(device: torch.device) -> Source:
    return Source(
        dataset=None,  # type: ignore[arg-type]  # sizes are all given
        id="none",
        device=device,
        reporter=Silent(),
        stop=StopFlag(),
        placeholder=True,
    )


def settings(template: str, clips: int) -> Config:
    """The template's settings with `clips` at once in two parts, at its own resolution."""
    cfg = resolve(template=template).config
    model = replace(cfg.model, resolution=cfg.prepare.resolution)
    changes = {
        "batch": 2 * clips, "accumulate": 2, "precision": "bf16", "checkpointing": True, "steps": 2,
    }  # fmt: skip
    own = {stage: replace(getattr(cfg, stage), **changes) for stage in STAGES}
    return replace(cfg, model=model, align=replace(own.pop("align"), features="vae"), **own)


def family(cfg: Config, models: Path) -> None:
    """A new 3D model, a new video model, a student in two channels and a merged student."""
    model, cpu = cfg.model, torch.device("cpu")
    groups = min(model.groups, *model.vae_widths)
    vae = FrameVAE.create(model.vae_widths, channels=model.latent_channels, groups=groups, seed=0)
    parts = Models(vae=vae, encoder=new_mini(model.encoder_width, 0))
    for role in ("3d", "video"):
        made = build_diffusion(cfg, cfg.teacher, source(cpu), parts, role).finish()
        save_bundle(made, models / role)
    start = Models(start=load_bundle(models / "3d"))
    student = build_diffusion(cfg, cfg.pretrain, source(cpu), start, "4d").finish()
    save_bundle(student, models / "two")
    assert student.std4d is not None
    save_bundle(replace(student, std4d=student.std4d.merge()), models / "merged")


def ready(stage: str, cfg: Config, models: Path, device: torch.device) -> PreparedStage:
    folder = models / ("two" if stage in ("pretrain", "distill") else "merged")
    models = Models(
        start=load_bundle(folder, empty=device == META),
        teacher_3d=models / "3d",
        teacher_video=models / "video",
    )
    return build_stage(stage, "4d", cfg, source(device), models)


def on_cuda(stage: str, cfg: Config, models: Path, device: torch.device) -> list[object]:
    """A row: MiB of the plan, and of two real steps."""
    own = getattr(cfg, stage)
    plan = plan_stage(lambda where: ready(stage, cfg, models, where), own, section=stage)
    torch.cuda.init()  # statistics are there from then on
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    made = ready(stage, cfg, models, device)
    with tempfile.TemporaryDirectory() as scratch:
        accelerator = make_accelerator(own, cpu=False)
        train(
            made.task, made.feed, Run(own, Path(scratch), accelerator, Silent(), StopFlag(), stage)
        )  # type: ignore[arg-type]
    peak = torch.cuda.max_memory_allocated(device) - before
    reserved = torch.cuda.max_memory_reserved(device)
    return [stage, *(x / MIB for x in (plan.total, peak)), plan.total / peak,
            *(x / MIB for x in (plan.needed, reserved))]  # fmt: skip


def on_cpu(stage: str, cfg: Config, models: Path) -> list[object]:
    """A row: MiB of the plan for this device and of one real pass."""
    cpu, own = torch.device("cpu"), getattr(cfg, stage)
    layers.FEW_KEYS = 0  # fused attention for any number of keys, as the plan has it
    clips = own.batch // own.accumulate
    with torch.device(META):
        empty = ready(stage, cfg, models, META)
    plan = measure_stage(empty, own, clips=clips, like="cpu")
    made = ready(stage, cfg, models, cpu)
    made.task.train()
    if isinstance(made.task, TaughtStage):
        made.task.transfer.eval()  # as the plan has it
    batch = made.feed.batch(0, list(range(clips)))
    held = [x for m in made.frozen.values() for x in (*m.parameters(), *m.buffers())]
    real = measure_step(
        made.task, lambda: made.task(batch, 0, list(range(clips)))[0], bf16=True, held=held
    )
    pairs = [(plan.kept, real.kept), (plan.peak, real.peak)]
    return [stage, *(v for a, b in pairs for v in (a / MIB, b / MIB, a / b))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--template", default="mini")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clips", type=int, default=2, help="at once")
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    cfg, device = settings(given.template, given.clips), torch.device(given.device)
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        family(cfg, models)
        if device.type == "cuda":
            head = ["stage", "plan, MiB", "max_memory_allocated", "ratio", "plan with margin",
                    "max_memory_reserved"]  # fmt: skip
            rows = [on_cuda(stage, cfg, models, torch.device("cuda", 0)) for stage in STAGES]
        else:
            head = ["stage", "kept, plan, MiB", "kept, counted", "ratio", "fullest, plan, MiB",
                    "fullest, counted", "ratio"]  # fmt: skip
            rows = [on_cpu(stage, cfg, models) for stage in STAGES]
    page = table(head, rows)
    print(page)
    if given.out:
        where = "a GPU" if device.type == "cuda" else "a CPU"
        about = f"Template `{given.template}`, {given.clips} clips at once, bfloat16, layers recomputed."
        write_results(given.out, f"the memory plan and {where}", [about, page])


if __name__ == "__main__":
    main()
