"""The four stages: what they learn, what they leave alone, and that a kill changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.config.train import ModelConfig
from orster_cli.core.errors import ConfigError, InputError, Preempted
from orster_cli.core.live import LATEST, PROGRESS
from orster_cli.core.reporting import Silent
from orster_cli.core.types import OrbitClip
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion import weights
from orster_cli.diffusion.bundle import Bundle, Facts, load_bundle, save_bundle
from orster_cli.diffusion.parametrization import rest_of
from orster_cli.diffusion.solvers import solver_steps
from orster_cli.diffusion.trunk import MERGED
from orster_cli.geometry.orbit import orbit_cameras
from orster_cli.training.build import build_stage
from orster_cli.training.build_parts import build_vae
from orster_cli.training.latents import LatentCache
from orster_cli.training.loop import make_accelerator
from orster_cli.training.part_stages import cropped
from orster_cli.training.prepared import Models
from orster_cli.training.stages import DiffusionStage, spread
from orster_cli.training.train_stage import run_stage
from tests.helpers.diffusion import STEPS, given_to, latents
from tests.helpers.marks import slow
from tests.helpers.stages import After, begun, made, run
from tests.helpers.training import (
    CFG,
    FRAMES,
    SIDE,
    bundle,
    merged,
    replace_config,
    source,
    teachers,
    tiny_vae,
    weights_of,
)

STAGES = ("pretrain", "distill", "align", "finetune")


@pytest.fixture(scope="module")
def data(tiny_dataset: Path) -> Path:
    return tiny_dataset


@pytest.fixture(scope="module")
def family(tiny_family: Path) -> Models:
    return teachers(tiny_family)


# the others take longest; test_train_commands kills a fine-tuning
@pytest.mark.parametrize("stage", [slow("pretrain"), slow("distill"), "align", slow("finetune")])
def test_interrupted_and_resumed_every_stage_ends_in_the_same_bytes(
    stage: str, data: Path, family: Models, tmp_path: Path
) -> None:
    whole, pieces = made(stage, data, family), made(stage, data, family)
    run(whole, stage, tmp_path / "whole")
    for stop in (1, 1):
        with pytest.raises(Preempted):
            run(made(stage, data, family), stage, tmp_path / "pieces", stop)
    run(pieces, stage, tmp_path / "pieces")
    ends = [weights_of(ready.finish().std4d) for ready in (whole, pieces)]  # type: ignore[arg-type]
    start = weights_of(made(stage, data, family).finish().std4d)  # type: ignore[arg-type]
    assert ends[0].keys() == ends[1].keys() == start.keys()
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name
    assert any(not torch.equal(value, start[name]) for name, value in ends[0].items())


def test_the_loss_of_each_stage_is_the_sum_of_its_terms(data: Path, family: Models) -> None:
    for stage in STAGES:
        ready = made(stage, data, family)
        with torch.no_grad():
            loss, terms = ready.task(ready.feed.batch(0, [0, 1]), 0, [0, 1])
        cfg = getattr(CFG, stage)
        total = terms["diffusion"]
        if stage in ("pretrain", "distill"):
            total = total + cfg.reconstruction * terms["reconstruction"] + cfg.kl * terms["kl"]
            total = total + cfg.orthogonal * terms["orthogonal"]
        if stage == "distill":
            both = cfg.lambda_o * terms["distance_spatial"].mean()
            both = both + (1 - cfg.lambda_o) * terms["distance_temporal"].mean()
            torch.testing.assert_close(terms["orster"], both)
            total = total + cfg.weight * both
            assert 0 < float(terms["kappa"].mean()) < 1
            assert float(terms["kappa_histogram"].mean().sum()) == pytest.approx(1, abs=1e-5)
        if stage == "finetune":
            total = total + cfg.transfer * terms["orster"]
        if stage == "align":
            total = cfg.diffusion * total
            for name in ("rec", "perc", "temp", "align"):
                assert float(terms[name]) > 0
                total = total + getattr(cfg, name) * terms[name]
        torch.testing.assert_close(loss, total)


def test_shifted_levels_are_noisier_in_training_alone(data: Path, family: Models) -> None:
    levels: dict[float, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
    for shift in (1.0, 3.0):
        ready = made(
            "pretrain", data, family, replace(CFG, pretrain=replace(CFG.pretrain, shift=shift))
        )
        task, indices = ready.task, list(range(64))
        assert isinstance(task, DiffusionStage)
        batch = ready.feed.batch(0, indices)
        trained = task.noisy_batch(batch, 0, indices, 1.0).timesteps / 1000
        lowest = task.noisy_batch(batch, 0, indices, 0.5).timesteps / 1000
        task.eval()
        levels[shift] = trained, lowest, task.noisy_batch(batch, 0, indices, 1.0).timesteps / 1000
    even, even_low, measured = levels[1.0]
    assert torch.equal(even, measured)
    assert torch.equal(even, levels[3.0][2])  # held-out losses stay comparable
    assert float((even > 0.5).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert float((levels[3.0][0] > 0.5).float().mean()) == pytest.approx(0.75, abs=0.03)
    assert float(levels[3.0][0].max()) < 1
    assert float(levels[3.0][1].max()) < 0.5  # low noise stays low
    assert float(levels[3.0][1].mean()) > float(even_low.mean()) + 0.05


def test_a_share_of_pure_noise(data: Path) -> None:
    section = replace(CFG.teacher, pure_noise=0.25)
    model = replace(CFG.model, zero_snr=True, parametrization="v")
    cfg = replace(CFG, model=model, teacher=section)
    parts = Models(vae=tiny_vae(), encoder=bundle().encoder)
    ready = build_stage("pretrain", "3d", cfg, source(data), parts)
    task, indices = ready.task, list(range(64))
    assert isinstance(task, DiffusionStage)
    batch = ready.feed.batch(0, indices)
    noisy = task.noisy_batch(batch, 0, indices, 1.0)
    pure = noisy.timesteps == 999
    assert float(pure.float().mean()) == pytest.approx(0.25, abs=0.03)
    below = noisy.timesteps[~pure] / 1000  # the others cover the schedule as evenly as before
    assert [int(part) for part in torch.histc(below, 4, 0, 1)] == pytest.approx([12] * 4, abs=2)
    torch.testing.assert_close(noisy.noisy[pure], noisy.draws.noise[pure])  # zero terminal SNR
    torch.testing.assert_close(noisy.target[pure], -noisy.clean[pure])  # of v: nothing is random
    alone = spread(torch.tensor([0.0, 0.5, 0.99]), replace(section, pure_noise=1.0))
    assert alone.tolist() == [1, 1, 1]
    task.eval()
    even = task.noisy_batch(batch, 0, indices, 1.0).timesteps
    assert int((even == 999).sum()) <= 1  # held-out losses stay comparable


def test_gradients_reach_the_student_and_the_kernel_but_no_teacher(
    data: Path, family: Models
) -> None:
    ready = made("distill", data, family)
    task = ready.task
    loss, _ = task(ready.feed.batch(0, [0, 1]), 0, [0, 1])
    loss.backward()
    names = {name for name, p in task.named_parameters() if p.grad is not None}
    assert any("transfer.places.0.attend_s.query" in n for n in names)
    assert any("transfer.places.0.kernel.log_sigma_s" in n for n in names)
    assert any("model.trunk.down_blocks.0.attentions.0" in n for n in names)
    for teacher in task.teachers:
        assert not any(p.requires_grad for p in teacher.model.parameters())
    assert not any("teacher" in name or "encoder" in name for name in task.state_dict())


def test_pretraining_goes_on_from_the_trunk_it_is_given(data: Path) -> None:
    base = merged("3d")
    ready = build_stage("pretrain", "4d", CFG, source(data), Models(start=Bundle(**vars(base))))
    got = ready.task.model.state_dict()  # type: ignore[union-attr]
    for name, value in base.std4d.state_dict().items():
        new = got[name]
        if name == "reference_in.weight":  # gets the channels of the mask, which are zero
            assert not new[:, value.shape[1] :].any()
            new = new[:, : value.shape[1]]
        assert torch.equal(new, value), name
    assert any(name.startswith("disentangle.") for name in got)


@pytest.mark.parametrize("role", ["3d", "video"])
def test_a_teacher_is_trained_from_nothing_and_opens_as_one(
    role: str, data: Path, tmp_path: Path
) -> None:
    parts = Models(vae=tiny_vae(), encoder=bundle().encoder)
    ready = build_stage("pretrain", role, CFG, source(data), parts)
    run(ready, "teacher", tmp_path / "scratch")
    save_bundle(ready.finish(), tmp_path / "model")
    opened = load_bundle(tmp_path / "model").whole("model")
    assert opened.facts.role == role
    assert opened.std4d.config.active_channels() == (MERGED,)
    assert opened.vae.id == tiny_vae().id


def test_a_decoder_that_is_trained_on_leaves_the_latents_as_they_are(
    data: Path, tmp_path: Path
) -> None:
    start = tiny_vae()
    frames = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    start.set_scale(frames)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    with torch.no_grad():
        latents = start.encode(frames)
    models = Models(start=Bundle(Facts(role="vae"), vae=start))
    ready = build_stage("pretrain", "vae", CFG, source(data), models)
    run(ready, "vae", tmp_path / "scratch")
    made = ready.finish().vae
    assert made is not None
    with torch.no_grad():
        torch.testing.assert_close(made.encode(frames), latents)
    changed = {n for n, v in made.state_dict().items() if not torch.equal(v, before[n])}
    assert changed
    assert all(n.startswith(("vae.decoder.", "vae.post_quant_conv.")) for n in changed), changed


def test_a_vae_goes_on_with_its_encoder_where_the_settings_say_so(
    data: Path, tmp_path: Path
) -> None:
    start = tiny_vae()
    before = {name: value.clone() for name, value in start.state_dict().items()}
    cfg = replace(CFG, vae=replace(CFG.vae, encoder=True))
    models = Models(start=Bundle(Facts(role="vae"), vae=start))
    ready = build_vae(cfg, source(data), models)
    run(ready, "vae", tmp_path / "scratch", cfg=cfg)
    made = ready.finish().vae
    assert made is not None
    changed = {n for n, v in made.state_dict().items() if not torch.equal(v, before[n])}
    assert any(n.startswith("vae.encoder.") for n in changed)
    frames = ready.feed.batch(0, range(16)).frames
    with torch.no_grad():
        assert float(made.encode(frames).std()) == pytest.approx(1, abs=0.01)


def test_a_schedule_that_ends_in_noise_is_sampled_from_its_end(data: Path) -> None:
    parts = Models(vae=tiny_vae(), encoder=bundle().encoder)
    for zero_snr in (False, True):
        model = replace(CFG.model, zero_snr=zero_snr, parametrization="v")
        ready = build_stage("pretrain", "3d", replace(CFG, model=model), source(data), parts)
        schedule = ready.finish().schedule
        assert schedule is not None
        for name in ("ddim", "dpm++"):
            first = solver_steps(schedule, name, 4)[0]
            assert (first.timestep == 999) == zero_snr, name
        assert (float(schedule.alphas_cumprod[-1]) == 0) == zero_snr


def test_a_new_model_that_could_not_be_sampled_is_refused_before_its_data_is_read(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Models(vae=tiny_vae(), encoder=bundle().encoder)
    monkeypatch.setattr(LatentCache, "fill", pytest.fail)
    cfg = replace(CFG, model=replace(CFG.model, zero_snr=True))
    with pytest.raises(ConfigError, match=r"model\.zero_snr"):
        build_stage("pretrain", "4d", cfg, source(data), parts)


@pytest.mark.parametrize("stage", ["pretrain", slow("distill"), "align", slow("finetune")])
def test_settings_of_the_model_that_is_gone_on_with_are_named_where_it_has_others(
    stage: str, data: Path, family: Models
) -> None:
    def said(**settings: object) -> str:
        model = replace(ModelConfig(), frames=FRAMES, **settings)  # type: ignore[arg-type]
        start = bundle() if stage in ("pretrain", "distill") else merged("4d")
        notes: list[str] = []
        reporter = Silent()
        reporter.info = notes.append  # type: ignore[method-assign]
        models = replace(family, start=Bundle(**vars(start)))
        cfg = replace(CFG, model=model)
        build_stage(stage, "4d", cfg, replace(source(data), reporter=reporter), models)
        return " ".join(note for note in notes if note.startswith("[model]"))

    assert said() == ""
    assert said(parametrization="epsilon", resolution=SIDE) == ""  # it has these
    note = said(parametrization="v", zero_snr=True, dropout=0.5, joint_attention=2, widths=(8, 16))
    for name, own in (
        ("parametrization v", "epsilon"),
        ("zero_snr true", "false"),
        ("dropout 0.5", "0.0"),
        ("joint_attention 2", "0"),
        ("widths 8/16", "16/32"),
    ):
        assert f"{name} (it has {own})" in note, note
    assert ("channel_form" in said(channel_form="bypassed")) == (stage == "distill")
    if stage in ("distill", "align"):  # the others add one
        assert "reference_head 8 (it has 0)" in said(reference_head=8)
    assert ("parametrization" in said(parametrization="residual")) == (stage == "align")


def with_channels(channels: str) -> Bundle:
    """A model to start from."""
    start = Bundle(**vars(bundle()))
    assert start.std4d is not None
    config = replace(start.std4d.config, channels=channels)
    return replace(start, std4d=weights.start_from(start.std4d, config, 0))


@pytest.mark.parametrize("channels", ["both", slow("spatial"), "temporal", slow("entangled")])
def test_distillation_ends_merged(channels: str, data: Path, family: Models) -> None:
    cfg = replace(CFG, model=replace(CFG.model, channels="entangled"))  # those of a new model alone
    ready = begun("distill", data, replace(family, start=with_channels(channels)), cfg)
    _, terms = ready.task(ready.feed.batch(0, [0, 1]), 0, [0, 1])  # a lesson of each teacher
    assert ("distance_spatial" in terms) == (channels != "temporal")
    assert ("distance_temporal" in terms) == (channels != "spatial")
    kept = ready.finish().std4d
    assert kept is not None
    assert kept.config.merged
    assert kept.fuse is None
    assert kept.disentangle is None
    later = replace(family, start=Bundle(**vars(replace(merged("4d"), std4d=kept))))
    align = build_stage("align", "", cfg, source(data), later)
    loss, terms = align.task(align.feed.batch(0, [0]), 0, [0])
    assert bool(loss.isfinite())
    assert ("align" in terms) == (channels in ("both", "entangled"))
    assert ("temp" in terms) == (channels != "spatial")


def test_each_switch_of_the_tables_changes_the_loss(data: Path, family: Models) -> None:
    outs = []
    for switch in (
        {},
        {"kernel": "none"},
        {"kernel": "token"},
        {"spatial_attention": False},
        {"temporal_attention": False},
    ):
        torch.manual_seed(0)
        cfg = replace(CFG, distill=replace(CFG.distill, **switch))
        ready = made("distill", data, family, cfg)
        with torch.no_grad():
            terms = ready.task(ready.feed.batch(0, [0, 1]), 0, [0, 1])[1]
        outs.append(float(terms["orster"]))
        assert outs.index(outs[-1]) == len(outs) - 1, switch  # none before has this loss


def test_matching_the_frame_vae_needs_no_teacher_and_teaches_spatial_features_alone(
    data: Path, family: Models, tmp_path: Path
) -> None:
    cfg = replace(CFG, distill=replace(CFG.distill, target="vae"))
    alone = Models(start=family.start)
    ready = made("distill", data, alone, cfg)
    loss, terms = ready.task(ready.feed.batch(0, [0, 1]), 0, [0, 1])
    torch.testing.assert_close(terms["orster"], terms["distance_spatial"])
    assert not any("temporal" in name for name in terms)
    loss.backward()
    grads = {name for name, p in ready.task.named_parameters() if p.grad is not None}
    assert any("transfer.places.0.project_s" in name for name in grads)
    assert any("model.trunk.down_blocks.0.attentions.0" in name for name in grads)
    assert not any("vae" in name for name in ready.task.state_dict())
    assert all(p.grad is None for p in alone.start.vae.parameters())  # type: ignore[union-attr]
    run(made("distill", data, alone, cfg), "distill", tmp_path, cfg=cfg)
    with pytest.raises(ConfigError, match=r"distill\.target=vae"):
        begun("distill", data, Models(start=with_channels("temporal")), cfg)


def test_a_teacher_of_another_vae_is_refused(data: Path, family: Models, tmp_path: Path) -> None:
    other = merged("3d")
    torch.nn.init.ones_(other.vae.vae.encoder.conv_in.weight)
    save_bundle(other, tmp_path / "other")
    with pytest.raises(InputError, match="not the student's"):
        made("distill", data, replace(family, teacher_3d=tmp_path / "other"))
    with pytest.raises(ConfigError, match="no video teacher"):
        made("distill", data, replace(family, teacher_video=None))


@pytest.mark.parametrize("trainable", ["lora", "temporal"])
def test_a_part_alone_is_trained_and_names_stay(
    trainable: str, data: Path, family: Models, tmp_path: Path
) -> None:
    cfg = replace(CFG, finetune=replace(CFG.finetune, trainable=trainable, lora_rank=2))
    before = weights_of(made("finetune", data, family).finish().std4d)  # type: ignore[arg-type]
    ready = made("finetune", data, family, cfg)
    run(ready, "finetune", tmp_path, cfg=cfg)
    after = weights_of(ready.finish().std4d)  # type: ignore[arg-type]
    assert after.keys() == before.keys()
    changed = {n for n in after if n.startswith("trunk.") and not torch.equal(after[n], before[n])}
    assert changed
    if trainable == "temporal":
        assert all("temp_" in n or "transformer_in" in n for n in changed)
    else:
        assert all(n.endswith("weight") and after[n].ndim == 2 for n in changed)


def test_checkpointing_changes_nothing_but_memory(data: Path, family: Models) -> None:
    grads = []
    for on in (False, True):
        cfg = replace(CFG, distill=replace(CFG.distill, checkpointing=on))
        ready = made("distill", data, family, cfg)
        loss, _ = ready.task(ready.feed.batch(0, [0]), 0, [0])
        loss.backward()
        grads.append({n: p.grad for n, p in ready.task.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for name, value in grads[0].items():
        torch.testing.assert_close(grads[1][name], value, atol=1e-6, rtol=1e-4)


def test_a_stage_leaves_model_log_and_curves(data: Path, family: Models, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "scratch").mkdir()
    content = run_stage(
        lambda: made("align", data, family),
        CFG.align,
        name="align",
        folder=folder,
        scratch=tmp_path / "scratch",
        accelerator=make_accelerator(CFG.align, cpu=True),
        reporter=Silent(),
        stop=After(0),  # type: ignore[arg-type]
    )
    assert content["steps"] == 3
    assert content["last"]["step"] == 3
    assert "rec" in (folder / "curves.svg").read_text()
    assert load_bundle(folder).facts.role == "4d"
    assert len((folder / "train.jsonl").read_text().splitlines()) == 3


@pytest.mark.slow
def test_looking_at_a_stage_and_trackers_that_fail_change_nothing(
    data: Path, family: Models, tmp_path: Path
) -> None:
    watched = replace(CFG.finetune, sample_every=2, trackers=("no-such", "tensorboard"))
    reporter = Silent()
    for name, cfg in (("plain", CFG.finetune), ("watched", watched)):
        (tmp_path / name / "scratch").mkdir(parents=True)
        run_stage(
            lambda: made("finetune", data, family),
            cfg,
            name="finetune",
            folder=tmp_path / name / "model",
            scratch=tmp_path / name / "scratch",
            accelerator=make_accelerator(cfg, cpu=True),
            reporter=reporter,
            stop=After(0),  # type: ignore[arg-type]
            tracking=tmp_path / "trackers",
        )
    plain, seen = (load_bundle(tmp_path / name / "model").std4d for name in ("plain", "watched"))
    for name, value in weights_of(plain).items():
        assert torch.equal(value, weights_of(seen)[name]), name
    sheets = sorted(p.name for p in (tmp_path / "watched" / "model" / "samples").iterdir())
    assert sheets == ["000002.png"]
    sheet = tmp_path / "watched" / "model" / "samples" / sheets[0]
    scratch = tmp_path / "watched" / "scratch"
    assert (scratch / LATEST).read_bytes() == sheet.read_bytes()
    progress = json.loads((scratch / PROGRESS).read_text())
    assert (progress["kind"], progress["stage"]) == ("model", "finetune")
    assert progress["done"] == progress["total"] == watched.steps
    assert progress["figures"]["loss"] == progress["curve"]["points"][-1][1]
    assert any("no-such" in text for text in reporter.warnings)


def test_a_residual_is_measured_once_and_goes_with_the_model(
    data: Path, family: Models, tmp_path: Path
) -> None:
    cfg = replace(CFG, model=replace(CFG.model, parametrization="residual"))
    ready = made("pretrain", data, family, cfg)
    feed = ready.feed
    batch = feed.of(range(len(feed.keys)), 0, range(len(feed.keys)))  # type: ignore[attr-defined]
    moves = batch.motion != 0
    residual = (batch.latents - batch.static_latents)[moves]
    done = ready.finish()
    assert done.facts.residual_scale == pytest.approx(float(residual.square().mean().sqrt()))
    assert done.facts.through_rest
    save_bundle(done, tmp_path / "model")
    opened = load_bundle(tmp_path / "model")
    assert opened.facts == done.facts
    objects = replace(CFG.finetune, text=0.0, image=0.0, object=1.0, still=0.0, drop=0.5)
    later = build_stage(
        "finetune", "", replace(CFG, finetune=objects), source(data), Models(start=opened)
    )
    task = later.task
    batch = later.feed.batch(0, [0, 1])
    noisy = task.noisy_batch(batch, 0, [0, 1], 1.0)  # type: ignore[operator]
    scale = done.facts.residual_scale
    want = (batch.latents - batch.static_latents) / scale
    torch.testing.assert_close(noisy.clean, want)
    assert bool(noisy.cond.reference_mask.all(dim=0)[0])  # never dropped: it is the origin
    assert not later.finish().facts.through_rest  # without videos of the object at rest


@pytest.mark.parametrize("stage", ["pretrain", slow("distill"), slow("align"), slow("finetune")])
def test_a_model_samples_from_the_elevation_that_it_was_trained_at(
    stage: str, data: Path, family: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that goes on from imported weights keeps theirs in a plan, which has no clips."""
    kept = made(stage, data, family).finish().facts
    assert (kept.elevation, kept.radius, kept.fov) == (0.0, 2.0, 39.6)
    frames = Dataset.frames

    def higher(self: Dataset, key: str, view: str, which: list[int]) -> OrbitClip:
        clip = frames(self, key, view, which)
        cameras = orbit_cameras(
            torch.zeros(len(which)), elevation=25, radius=1.7, fov_deg=50, width=SIDE, height=SIDE
        )
        return replace(clip, cameras=cameras)

    monkeypatch.setattr(Dataset, "frames", higher)
    kept = made(stage, data, family).finish().facts
    assert (kept.elevation, kept.radius, kept.fov) == (25.0, 1.7, 50.0)
    imported = bundle() if stage in ("pretrain", "distill") else merged("4d")
    imported.facts = replace(imported.facts, elevation=15.0, radius=1.7)
    plan = replace(source(data), placeholder=True)
    models = replace(family, start=Bundle(**vars(imported)))
    kept = build_stage(stage, "4d", CFG, plan, models).finish().facts
    assert (kept.elevation, kept.radius, kept.fov) == (15.0, 1.7, 39.6)


@pytest.mark.parametrize("stage", [slow("pretrain"), slow("distill"), "finetune"])
def test_a_model_that_turns_to_residuals_begins_from_the_object_at_rest(
    stage: str, data: Path
) -> None:
    """All it learned stays but its output, which meant something else."""
    start = merged("4d") if stage != "distill" else bundle()
    if start.std4d.fuse is not None:
        torch.nn.init.normal_(start.std4d.fuse.leave.weight)  # as after training
    cfg = replace(CFG, model=replace(CFG.model, parametrization="residual"))
    cfg = replace(cfg, distill=replace(cfg.distill, enabled=False))  # needs no teachers then
    role = "4d" if stage == "pretrain" else ""
    ready = build_stage(stage, role, cfg, source(data), Models(start=Bundle(**vars(start))))
    model = ready.task.model.eval()  # type: ignore[union-attr]
    outputs = ("trunk.conv_out.", "fuse.leave.")
    for name, value in start.std4d.state_dict().items():
        own = model.state_dict()[name]
        if name.startswith(outputs):
            assert not own.any(), name
        elif own.shape == value.shape:  # not that of the reference, which gets a mask
            assert torch.equal(own, value), name
    batch = ready.feed.batch(0, [0, 1])
    noisy = ready.task.noisy_batch(batch, 0, [0, 1], 1.0)  # type: ignore[operator]
    form = ready.task.context.parametrization  # type: ignore[union-attr]
    last = torch.full((2,), form.schedule.num_train_timesteps - 1)
    pure = form.add_noise(noisy.clean, noisy.draws.noise, last)
    with torch.no_grad():
        prediction = model(pure, last, noisy.cond).prediction
    rest, known = rest_of(noisy.cond)
    made_of_noise = form.latents_of(form.predict_clean(pure, prediction, last), rest, known)
    assert known is not None
    assert known.any()
    signal = float(form.schedule.alphas_cumprod[-1])  # 0 on a schedule of zero terminal SNR
    bound = 6 * signal**0.5 * float(ready.finish().facts.residual_scale)  # type: ignore[union-attr,arg-type]
    assert float((made_of_noise - rest)[known].abs().max()) <= bound + 1e-6


def test_a_model_without_a_mask_gets_one_and_predicts_the_same(data: Path) -> None:
    old = merged("4d")
    ready = build_stage("finetune", "", CFG, source(data), Models(start=Bundle(**vars(old))))
    model = ready.task.model.eval()  # type: ignore[union-attr]
    assert model.config.reference_mask
    assert model.config.object_tokens  # what it has is kept
    cond = given_to()
    cond = replace(cond, image=None, pooled=torch.randn(2, 12))
    with torch.no_grad():
        before, after = (m(latents(), STEPS, cond).prediction for m in (old.std4d, model))
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


def test_a_model_of_another_size_cannot_be_started_from(data: Path) -> None:
    small = bundle()
    config = replace_config(
        small.std4d.config, trunk=replace(small.std4d.config.trunk, layers_per_block=2)
    )
    with pytest.raises(ConfigError, match="another size"):
        weights.start_from(small.std4d, config, 0)


@pytest.mark.parametrize("section", ["vae", "encoder"])
def test_parts_refuse_settings_that_only_the_diffusion_reads(section: str, data: Path) -> None:
    cfg = getattr(CFG, section)
    for name, value in (
        ("trainable", "lora"),
        ("checkpointing", True),
        ("lora_rank", 4),
        ("dynamic", 0.5),
        ("drop", 0.0),
        ("drop_who", 0.3),
    ):
        other = replace(CFG, **{section: replace(cfg, **{name: value})})
        with pytest.raises(ConfigError, match=rf"^{section}\.{name}: only"):
            build_stage("pretrain", section, other, source(data), Models())
    build_stage("pretrain", section, CFG, source(data), Models())


def test_early_steps_of_the_vae_see_parts_of_frames(data: Path) -> None:
    cfg = replace(CFG, vae=replace(CFG.vae, steps=10, crop=8, whole=0.2, kl=0.0))
    ready = build_vae(cfg, source(data))
    batch = ready.feed.batch(0, [0, 1])
    parts = {int(cropped(torch.arange(256.0).view(1, 1, 16, 16), 8, k).min()) for k in range(81)}
    assert parts == {16 * top + left for top in range(9) for left in range(9)}
    assert torch.equal(cropped(batch.frames, 0, 5), batch.frames)
    sizes = []
    losses = ready.task.vae.losses
    ready.task.vae.losses = lambda frames, noise: (
        sizes.append((frames.shape[-1], noise.shape[-1])) or losses(frames, noise)
    )
    for step in (0, 7, 8, 9):
        ready.task(batch, step, [0, 1])
    assert sizes == [(8, 4), (8, 4), (16, 8), (16, 8)]
    with pytest.raises(ConfigError, match=r"vae\.crop"):
        build_vae(replace(cfg, vae=replace(cfg.vae, crop=7)), source(data))
