"""The memory plan: what it says of a stage beside what the stage holds when it really runs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from orster_cli.config.schema import Config
from orster_cli.core.errors import ConfigError
from orster_cli.core.limits import GiB
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.diffusion.bundle import Bundle, load_bundle, save_bundle
from orster_cli.diffusion.trunk_config import TrunkConfig
from orster_cli.training.build import build_stage
from orster_cli.training.ema import Ema
from orster_cli.training.memory import CARDS, CONTEXT, GAPS, measure_stage, plan_stage
from orster_cli.training.meta_device import device_paths
from orster_cli.training.optimizer import make_optimizer
from orster_cli.training.prepared import Models, PreparedStage
from orster_cli.training.step_memory import Ledger, StepMemory, measure_step
from orster_cli.training.taught_stage import TaughtStage
from orster_cli.training.training_data import Source
from tests.helpers.diffusion import CONFIG
from tests.helpers.marks import few, slow
from tests.helpers.training import CFG, bundle, replace_config

CPU = torch.device("cpu")
STAGES = ("pretrain", "distill", "align", "finetune")
CLIPS, FRAMES, SIDE = 2, 8, 32
# the widths of templates/mini.toml, so that activations outweigh what is rounded to blocks
WIDE = replace_config(
    CONFIG,
    trunk=TrunkConfig(
        block_out_channels=(48, 96),
        attention=(True, True),
        layers_per_block=1,
        cross_attention_dim=64,
        attention_head_dim=16,
        norm_num_groups=16,
        temporal_dropout=0.0,
    ),
)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a student in two channels, a merged one and two teachers."""
    place = tmp_path_factory.mktemp("family")
    folders = {name: place / name for name in ("two", "merged", "3d", "video")}
    for name, folder in folders.items():
        config = replace(WIDE, merged=name != "two")
        role = name if name in ("3d", "video") else "4d"
        made = bundle(role, config)
        made.facts = replace(made.facts, frames=FRAMES, resolution=SIDE)
        save_bundle(made, folder)
    return folders


def settings(stage: str, **changes: object) -> Config:
    model = replace(CFG.model, frames=FRAMES, resolution=SIDE)
    own = replace(getattr(CFG, stage), batch=CLIPS, **changes)
    return replace(CFG, model=model, **{stage: own})


def made(
    stage: str, cfg: Config, family: dict[str, Path], device: torch.device, *, empty: bool
) -> PreparedStage:
    """With batches that have no content; `empty`: weights neither."""
    start = load_bundle(
        family["two" if stage in ("pretrain", "distill") else "merged"], empty=empty
    )
    teachers = {f"teacher_{k}": family[k] for k in ("3d", "video") if stage == "distill"}
    models = Models(start=start, **teachers)
    place = Source(
        dataset=None,  # type: ignore[arg-type]
        id="none",
        device=device,
        reporter=Silent(),
        stop=StopFlag(),
        placeholder=True,
    )
    return build_stage(stage, "4d", cfg, place, models)


@pytest.fixture
def generic(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU the paths that a CUDA device takes, not those written for the CPU."""
    for module in ("cpu_linear", "layers"):
        monkeypatch.setattr(f"orster_cli.diffusion.{module}.is_plain", lambda _: False)
    monkeypatch.setattr("orster_cli.diffusion.layers.FEW_KEYS", 0)
    monkeypatch.setattr("orster_cli.diffusion.layers.SLOW_ON_CPUS", ())


def planned(stage: str, cfg: Config, family: dict[str, Path]) -> StepMemory:
    with torch.device("meta"):
        ready = made(stage, cfg, family, torch.device("meta"), empty=True)
    return measure_stage(ready, getattr(cfg, stage), clips=CLIPS, like="cpu")


def started(
    stage: str, cfg: Config, family: dict[str, Path]
) -> tuple[PreparedStage, Callable[[], Tensor]]:
    """A stage of real tensors, and its loss."""
    ready = made(stage, cfg, family, CPU, empty=False)
    ready.task.train()
    if isinstance(ready.task, TaughtStage):
        ready.task.transfer.eval()  # as the plan has it
    batch = ready.feed.batch(0, range(CLIPS))  # type: ignore[arg-type]
    return ready, lambda: ready.task(batch, 0, range(CLIPS))[0]


def held(stage: str, cfg: Config, family: dict[str, Path]) -> StepMemory:
    """What `planned` says, of real tensors and and by the same engine."""
    ready, loss = started(stage, cfg, family)
    return measure_step(
        ready.task,
        loss,
        bf16=getattr(cfg, stage).precision == "bf16",
        held=[x for m in ready.frozen.values() for x in (*m.parameters(), *m.buffers())],
    )


@pytest.mark.usefixtures("generic")
@pytest.mark.parametrize(
    ("stage", "trainable"),
    few(
        [*((stage, "all") for stage in STAGES), ("distill", "lora"), ("finetune", "lora"),
         ("pretrain", "temporal"), ("finetune", "temporal")],
        fast={("align", "all"), ("finetune", "lora")},
    ),
)  # fmt: skip
def test_what_is_kept_is_what_autograd_saves(
    stage: str, trainable: str, family: dict[str, Path]
) -> None:
    cfg = settings(stage, trainable=trainable)
    ready, run = started(stage, cfg, family)
    whole = (ready.task, *ready.frozen.values())
    own = {x.untyped_storage()._cdata for m in whole for x in (*m.parameters(), *m.buffers())}
    saved: dict[int, Tensor] = {}  # kept alive: a number is used again once its storage has died

    def pack(value: Tensor) -> Tensor:
        # without its graph: an output that its own graph holds would never be freed
        return saved.setdefault(value.untyped_storage()._cdata, value.detach())

    with saved_tensors_hooks(pack, lambda x: x):
        loss = run()
    assert loss.requires_grad
    really = sum(x.untyped_storage().nbytes() for key, x in saved.items() if key not in own)
    assert planned(stage, cfg, family).kept == pytest.approx(really, rel=0.03)


@pytest.mark.usefixtures("generic")
@pytest.mark.parametrize(
    ("checkpointing", "precision", "stage"),
    few(  # fast: one; distillation takes longest
        [*itertools.product((False, True), ("fp32", "bf16"), STAGES)],
        fast={
            (True, "fp32", "finetune"),
        },
    ),
)
def test_the_fullest_moment_is_that_of_real_tensors(
    checkpointing: bool, precision: str, stage: str, family: dict[str, Path]
) -> None:
    cfg = settings(stage, precision=precision, checkpointing=checkpointing)
    plan, real = planned(stage, cfg, family), held(stage, cfg, family)
    assert plan.gradients == real.gradients
    for name in ("kept", "peak", "together"):
        assert getattr(plan, name) == pytest.approx(getattr(real, name), rel=0.03), name


@pytest.mark.usefixtures("generic")
@pytest.mark.slow
@pytest.mark.parametrize("stage", ["distill", "align"])
def test_recomputation_helps_where_features_are_tapped(stage: str, family: dict[str, Path]) -> None:
    """A tap that a recomputed layer writes again would keep that layer's graph until the end."""
    plain = held(stage, settings(stage), family)
    again = held(stage, settings(stage, checkpointing=True), family)
    assert again.kept < 0.75 * plain.kept
    assert again.peak < 0.8 * plain.peak


@pytest.mark.parametrize(
    ("trainable", "optimizer"),
    [("all", "adamw"), ("all", "muon"), slow("temporal", "adamw"), ("lora", "adamw")],
)
def test_weights_moments_and_averages_are_counted_exactly(
    trainable: str, optimizer: str, family: dict[str, Path]
) -> None:
    cfg = settings("finetune", trainable=trainable, ema=0.99, optimizer=optimizer)
    plan = plan_stage(
        lambda device: made("finetune", cfg, family, device, empty=True),
        cfg.finetune,
        section="finetune",
    )
    lines = {item.name: item for item in plan.items}
    ready = made("finetune", cfg, family, CPU, empty=False)
    task = ready.task
    made_for_it = make_optimizer(task, cfg.finetune)
    for parameter in task.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    made_for_it.step()
    state = [v for values in made_for_it.state.values() for v in values.values()]
    name = "moments of Muon and AdamW" if optimizer == "muon" else "AdamW's moments"
    assert lines[name].bytes == sum(v.nbytes for v in state)
    trained = [p for p in task.parameters() if p.requires_grad]
    frozen = [p for p in task.parameters() if not p.requires_grad]
    assert lines["trained weights"].count == sum(p.numel() for p in trained)
    assert lines["trained weights"].bytes == lines["gradients"].bytes
    assert lines["gradients"].bytes == sum(p.grad.nbytes for p in trained if p.grad is not None)
    assert lines["averaged weights"].bytes == sum(v.nbytes for v in Ema(task, 0.99).values.values())
    rest = lines.get("frozen weights of the same model")
    assert (rest.bytes if rest else 0) == sum(p.nbytes for p in frozen)
    assert bool(frozen) == (trainable != "all")
    encoder = [*ready.frozen["encoder"].parameters(), *ready.frozen["encoder"].buffers()]
    assert lines["encoder, frozen"].bytes == sum(x.nbytes for x in encoder)


@pytest.mark.parametrize(
    ("stage", "precision"),
    few(  # the commands' --dry-run plans each stage in fp32: tests/e2e/test_train_commands.py
        [*((stage, "bf16") for stage in STAGES), ("pretrain", "fp32")],
        fast={("finetune", "bf16")},
    ),
)
def test_each_stage_runs_along_the_paths_of_a_cuda_device(
    stage: str, precision: str, family: dict[str, Path]
) -> None:
    """A tensor that stayed on the CPU beside one on the device would be found here."""
    cfg = settings(stage, precision=precision, checkpointing=True)
    plan = plan_stage(
        lambda device: made(stage, cfg, family, device, empty=True),
        getattr(cfg, stage),
        section=stage,
    )
    assert plan.kept > 0
    assert plan.card == CARDS[0]
    assert plan.needed == int(plan.total * (1 + GAPS)) + CONTEXT
    assert sum(item.bytes for item in plan.items) == plan.total


@pytest.mark.parametrize(("context", "card"), [slow(0, 24), (30 * GiB, 48), slow(100 * GiB, None)])
def test_the_smallest_card_that_holds_it_is_named(
    context: int, card: int | None, family: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny model needs more where the context does; what no card holds is said with what to change."""
    monkeypatch.setattr("orster_cli.training.memory.CONTEXT", context)
    cfg = settings("align")
    plan = plan_stage(
        lambda device: made("align", cfg, family, device, empty=True), cfg.align, section="align"
    )
    assert plan.card == card
    assert plan.changes[0].startswith("--set align.accumulate=2")
    fits = "fits no card of 24, 48, 80 GB" if card is None else f"fits a card of {card} GB"
    assert fits in plan.text()
    assert ("to need less: --set align.accumulate=2" in plan.text()) == (card != 24)


def test_fused_attention_keeps_no_table_of_weights(family: dict[str, Path]) -> None:
    """The plan of a CUDA device grows with the pixels, not with their square."""
    cfg = settings("finetune", precision="bf16")
    kept = []
    for side in (32, 64):
        with torch.device("meta"):
            ready = made("finetune", cfg, family, torch.device("meta"), empty=True)
        ready.feed = replace(ready.feed, side=side, resolution=2 * side)  # type: ignore[type-var]
        kept.append(measure_stage(ready, cfg.finetune, clips=1).kept)
    assert 3.5 < kept[1] / kept[0] < 4.1


SAVINGS = (
    ("precision", "bf16"),
    ("checkpointing", True),
    ("trainable", "temporal"),
    ("trainable", "lora"),
    ("ema", 0.0),
)


@pytest.mark.parametrize(
    "groups",
    [
        slow((SAVINGS[:2], SAVINGS[2:]), id="by halves"),
        slow(tuple((saving,) for saving in SAVINGS), id="one by one"),
    ],
)
def test_less_is_needed_with_each_setting_that_is_said_to_need_less(
    groups: tuple[tuple[tuple[str, object], ...], ...], family: dict[str, Path]
) -> None:
    def plan_of(**changes: object):  # type: ignore[no-untyped-def]
        cfg = settings("finetune", **changes)
        return plan_stage(
            lambda device: made("finetune", cfg, family, device, empty=True),
            cfg.finetune,
            section="finetune",
        )

    changes: dict[str, object] = {"ema": 0.99}
    before = plan_of(**changes)
    assert [c.split()[1].split("=")[0] for c in before.changes] == [
        f"finetune.{name}"
        for name in ("accumulate", "precision", "checkpointing", "trainable", "ema")
    ]
    for group in groups:
        changes.update(group)
        after = plan_of(**changes)
        assert after.total < before.total, group
        before = after
    assert len(before.changes) == 1  # accumulate, which on so small a model only adds


def test_processes_share_a_batch_and_exchange_gradients(family: dict[str, Path]) -> None:
    cfg = settings("finetune")

    def plan_for(processes: int):  # type: ignore[no-untyped-def]
        return plan_stage(
            lambda device: made("finetune", cfg, family, device, empty=True),
            cfg.finetune,
            section="finetune",
            processes=processes,
        )

    plan = plan_for(2)
    two = {item.name: item.bytes for item in plan.items}
    assert two["exchange of gradients"] == two["gradients"]
    assert plan.clips == 1
    with pytest.raises(ConfigError, match="cannot be divided over 3 processes"):
        plan_for(3)


def test_a_ledger_counts_a_storage_once_and_until_it_dies() -> None:
    base = torch.zeros(100)
    with Ledger([base]) as ledger:
        view = base[10:]
        assert ledger.live == 0
        more = torch.ones(1000)  # 4,000 bytes: eight blocks
        part = more[3:].view(-1)
        assert ledger.live == 4096
        del more
        assert ledger.live == 4096
        del part, view
        assert ledger.live == 0
        assert ledger.peak == 4096


def test_a_ledger_refuses_what_a_cuda_device_would() -> None:
    on_meta, on_cpu = torch.zeros(2, 2, device="meta"), torch.zeros(2, 2)
    with Ledger([], "meta") as ledger:
        assert (on_meta + torch.tensor(1.0)).shape == (2, 2)
        assert on_cpu.to("meta").device.type == "meta"
        with pytest.raises(AssertionError, match="cpu and meta"):
            on_meta @ on_cpu
    assert ledger.peak == 512


CALLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": lambda x, w: F.linear(x, w),
    "matmul": lambda x, w: x @ w,
    "bmm": lambda x, w: torch.bmm(x[None], w[None]),
    "conv2d": lambda x, w: F.conv2d(x[None, None], w[None, None]),
    "attention": lambda x, w: F.scaled_dot_product_attention(*[x.view(1, 1, 4, 4)] * 3),
    "group_norm": lambda x, w: F.group_norm(x, 2),
    "layer_norm": lambda x, w: F.layer_norm(x, (4,)),
    "mse_loss": lambda x, w: F.mse_loss(x, w),
    "cosine": lambda x, w: F.cosine_similarity(x, w),
    "square": lambda x, w: x.square(),
    "power": lambda x, w: x**2,
    "exp": lambda x, w: x.exp(),
    "sum": lambda x, w: x.sum(dim=1),
    "mean": lambda x, w: x.mean(dim=1),
    "softmax": lambda x, w: x.softmax(dim=1),
    "nearest": lambda x, w: F.interpolate(x[None, None], scale_factor=2.0),
    "gelu": lambda x, w: F.gelu(x),
    "silu": lambda x, w: F.silu(x),
    "sqrt": lambda x, w: x.sqrt(),
    "cat": lambda x, w: torch.cat([x, w]),
    "product": lambda x, w: x * w,
    "pool": lambda x, w: F.adaptive_avg_pool3d(x[None, None], (1, 2, 2)),
}


@pytest.mark.parametrize("low", [True, False])
@pytest.mark.parametrize("name", CALLS)
def test_casts_on_the_meta_device_are_those_of_cudas_autocast(
    name: str, low: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's own autocast runs on fake CUDA tensors, forwards, where there is no such device."""
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)

    def result(device: str) -> Tensor:
        x = torch.rand(4, 4, device=device, dtype=torch.bfloat16 if low else None)
        return CALLS[name](x, torch.rand(4, 4, device=device))

    with FakeTensorMode(), torch.autocast("cuda", torch.bfloat16):
        want = result("cuda") if name != "attention" else None
    with device_paths("cuda", bf16=True):
        got = result("meta")
    assert got.dtype == (torch.bfloat16 if want is None else want.dtype)


@pytest.mark.parametrize("low", [True, False])
@pytest.mark.parametrize("name", CALLS)
def test_casts_like_a_cpu_are_those_of_its_autocast(name: str, low: bool) -> None:
    """The plan is held beside real CPU tensors above, so its casts must be theirs."""

    def result(device: str) -> torch.dtype:
        x = torch.rand(4, 4, device=device, dtype=torch.bfloat16 if low else None)
        return CALLS[name](x, torch.rand(4, 4, device=device)).dtype

    with torch.autocast("cpu", torch.bfloat16):
        want = result("cpu")
    with device_paths("cpu", bf16=True):
        assert result("meta") == want


def test_an_empty_model_has_the_shapes_of_the_whole_one(family: dict[str, Path]) -> None:
    empty, whole = load_bundle(family["two"], empty=True), load_bundle(family["two"])
    for name in ("std4d", "vae", "encoder"):
        ours, theirs = getattr(empty, name), getattr(whole, name)
        shapes = {n: v.shape for n, v in ours.state_dict().items()}
        assert shapes == {n: v.shape for n, v in theirs.state_dict().items()}
        assert {v.device.type for v in ours.state_dict().values()} == {"meta"}
    assert isinstance(empty, Bundle)
