"""Train the mini family from packs of latents in a given time, on one device, in one process.

python -m tools.timed_training --pack PACK... --vae VAE --encoder ENCODER --out OUT --minutes 8
    [--stages STAGE...] [--from MODEL] [--steps STAGE=N]... [--form auto] [--mirror] [--export FOLDER]
    [--config templates/weights-gpu.toml] [--set SECTION.KEY=VALUE]... [--device cuda]

The stages are those of the paper, `--stages` some of them. A stage has the steps that --steps says, or a
share of the time that is left when it begins: how many steps these are follows from the time of a few,
whose effect is undone. OUT has a model of each stage and times.json.

--from      a model folder, or NAME for the parts NAME.tar.0 ... of --export: the first stage of the student
            goes on from it. Without --stages only the last stage is trained. The optimizer begins anew,
            so the learning rate rises again
--form      how the passes run (`orster_cli.training.fast_model.Form`), such as "half graphs", or "plain";
            auto: the fastest that tools.graph_probe finds here
--export    what is taken home from a borrowed machine, in half precision, without frame VAE and encoder, in
            tar files cut into parts of 15 MiB: every two minutes the averaged weights of the last stage, at
            the end the models of `EXPORTED` and all logs. `cat NAME.tar.* | tar x` opens one
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.artifacts.store import begin, open_artifact
from orster_cli.config.load import resolve
from orster_cli.config.schema import Config
from orster_cli.core.devices import choose_device
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.diffusion.bundle import Bundle, load_bundle
from orster_cli.training.build import build_stage
from orster_cli.training.build_diffusion import student_feed
from orster_cli.training.data_memory import DataMemory
from orster_cli.training.datafeed import LatentFeed
from orster_cli.training.fast_model import Form
from orster_cli.training.latent_store import LatentStore
from orster_cli.training.loop import LOG, make_accelerator
from orster_cli.training.prepared import Models, PreparedStage
from orster_cli.training.start_model import start_or_new
from orster_cli.training.student_facts import with_parametrization
from orster_cli.training.train_stage import run_stage
from orster_cli.training.training_data import Source
from tools.exported import in_parts, opened
from tools.graph_probe import Probe, fastest, rows_of, started_probe
from tools.latent_pack import unpack
from tools.timed_stage import AheadFeed, set_settings, speed_up, step_seconds

SHARES = {  # of the time, in the paper's order
    "teacher-3d": 0.10,
    "teacher-video": 0.06,
    "pretrained": 0.08,
    "distilled": 0.15,
    "aligned": 0.03,
    "finetuned": 0.58,
}
COMMANDS = {
    "teacher-3d": ("pretrain", "3d", "teacher"),
    "teacher-video": ("pretrain", "video", "teacher"),
    "pretrained": ("pretrain", "4d", "pretrain"),
    "distilled": ("distill", "", "distill"),
    "aligned": ("align", "", "align"),
    "finetuned": ("finetune", "", "finetune"),
}
STARTS = {
    "pretrained": "teacher-3d",
    "distilled": "pretrained",
    "aligned": "distilled",
    "finetuned": "aligned",
}
LAST = "finetuned"
TEACHERS = ("teacher-3d", "teacher-video")
TAUGHT = ("distilled",)
ONE_FORM = ("teacher-3d", "teacher-video", "pretrained", LAST)  # like inputs at every step
WORTH_A_FORM = 40.0  # seconds of a stage from which on preparing a faster form pays
EXPORTED = (LAST, "pretrained")  # pretrained still has two channels
PROBE_SECONDS = 60.0  # from the beginning
SNAPSHOT = "snapshot"
ENDING = 8.0  # seconds in which a stage is written
TRAIN, HELD_OUT = "pack", "pack of held-out clips"  # ids of the datasets


class Lines(Silent):
    """A reporter that prints what is said and no progress."""

    def info(self, message: str) -> None:
        """Print `message`."""
        print(message, flush=True)

    def warn(self, message: str) -> None:
        """Print `message`."""
        super().warn(message)
        print(f"warning: {message}", flush=True)


class TimedTraining:
    """The stages `given.stages`, within `given.minutes` from the time `began`."""

    def __init__(self, given: argparse.Namespace, config: Config, began: float) -> None:
        self.given, self.config, self.out = given, config, Path(given.out)
        self.device = choose_device(given.device)
        self.until = began + 60 * given.minutes
        self.stages = chosen_stages(given)
        self.times: dict[str, Any] = {}
        probe = self._probe() if given.form == "auto" else None
        vae = load_bundle(open_artifact(given.vae, kind="model").path).vae
        encoder = load_bundle(open_artifact(given.encoder, kind="model").path).encoder
        assert vae is not None
        assert encoder is not None
        self.vae, self.encoder = vae.to(self.device).eval(), encoder
        self.source = self._data(began)
        if probe is not None:
            rows = rows_of(probe, began + PROBE_SECONDS)
            self.form = fastest(rows, 10 * (self.until - time.monotonic()))
            self.times["forms"] = {"rows": rows}
        else:
            self.form = Form.of(given.form)
        self._lap("forms", began, form=str(self.form))

    def _probe(self) -> Probe:
        given = self.given
        words = [word for one in given.assignments or [] for word in ("--set", one)]
        words += ["--config", str(given.config), "--device", self.device.type]
        return started_probe(self.out / "forms.jsonl", PROBE_SECONDS - 10, words)

    def _data(self, began: float) -> Source:
        stores = {}
        every = unpack(self.given.pack, self.vae)
        self._lap("unpacked", began)
        if self.given.mirror:
            every["train"].add_mirrored()
            self._lap("mirrored", began)
        for name, split in ((TRAIN, "train"), (HELD_OUT, "val")):
            packed = every[split]
            packed.add_first_frames()
            memory = DataMemory(self.device, 0.5)
            stores[name] = LatentStore(
                packed, 0, device=self.device, memory=memory, reporter=Lines()
            )
        data = {name: store.cache.dataset for name, store in stores.items()}
        source = Source(
            dataset=data[TRAIN],
            id=TRAIN,
            device=self.device,
            reporter=Lines(),
            stop=StopFlag(),
            held_out=(data[HELD_OUT], HELD_OUT),
            stores=stores,
        )
        self._lap("loaded", began)
        print(f"{len(data[TRAIN])} training samples, {len(data[HELD_OUT])} held out", flush=True)
        return source

    def run(self) -> None:
        """Train the stages."""
        steps = dict(part.split("=") for part in self.given.steps or [])
        for number, name in enumerate(self.stages):
            began = time.monotonic()
            if name in steps:
                self._stage(name, None, int(steps[name]))
            else:
                after = [other for other in self.stages[number:] if other not in steps]
                share = SHARES[name] / sum(SHARES[other] for other in after)
                self._stage(name, (self.until - began) * share, None)
            self._lap(name, began)
            (self.out / "times.json").write_text(json.dumps(self.times, indent=2), encoding="utf-8")
        if self.given.export is not None:
            self._export(self.given.export)

    def _export(self, out: Path) -> None:
        for name in EXPORTED:
            if name in self.stages:
                in_parts({name: load_bundle(self.out / name)}, [], out, name)
        logs = sorted(self.out.glob(f"*/{LOG}"))
        in_parts({}, [self.out / "times.json", *logs], out, "logs")
        for path in out.glob(f"{SNAPSHOT}.tar.*"):
            path.unlink()

    def _lap(self, name: str, began: float, **more: object) -> None:
        found = self.times.setdefault(name, {})
        found |= {"seconds": round(time.monotonic() - began, 2), **more}
        print(f"{name}: {found}", flush=True)

    def _stage(self, name: str, seconds: float | None, steps: int | None) -> None:
        """Train `name` for so many `steps`, or for about so many `seconds`, with what it takes to begin and
        to write."""
        began = time.monotonic()
        section = COMMANDS[name][2]
        train = replace(getattr(self.config, section), steps=steps or 1000)
        prepared = self._built(name, replace(self.config, **{section: train}))
        long = seconds is None or seconds > WORTH_A_FORM
        form = speed_up(prepared, train, self.form) if name in ONE_FORM and long else Form()
        prepared.feed = AheadFeed(prepared.feed)  # its thread must not run during a capture
        row: dict[str, Any] = {"batch": train.batch, "form": str(form)}
        row["begun"] = round(time.monotonic() - began, 2)
        each = step_seconds(prepared, train, self.device) if seconds is not None else None
        if seconds is not None and each is not None:
            left = seconds - ENDING - (time.monotonic() - began)
            train = replace(train, steps=max(int(left / each), 10))
            row["ms"] = round(1e3 * each, 2)
        if self.given.most:
            train = replace(train, steps=min(train.steps, self.given.most))
        set_settings(prepared, train)
        self.times[name] = {"steps": train.steps, **row}
        print(f"{name}: {self.times[name]}", flush=True)
        if name == LAST and self.given.export is not None:
            every = max(int(self.given.snapshot_seconds / (each or 0.15)), 1)
            train = replace(train, sample_every=every)
            prepared = replace(prepared, sheet=self._snapshots(prepared))
        draft = begin(
            self.out / name,
            kind="model",
            command=COMMANDS[name][0],
            config={section: json.loads(json.dumps(_plain(train))), "role": COMMANDS[name][1]},
            seeds={"train": train.seed},
            force=True,
        )
        assert draft is not None
        with draft:
            content = run_stage(
                lambda: prepared,
                train,
                name=name,
                folder=draft.dir,
                scratch=draft.scratch,
                accelerator=make_accelerator(train, cpu=self.device.type == "cpu"),
                reporter=Lines(),
                stop=self.source.stop,
            )
            draft.commit(content, run_files=[LOG])
        self.times[name] |= {"kept": content["kept"], "last": content["last"]}

    def _built(self, name: str, config: Config) -> PreparedStage:
        command, role, _ = COMMANDS[name]
        start = self._start(name)
        taught = name in TAUGHT
        models = Models(
            start=start,
            vae=None if start else self.vae,
            encoder=None if start else self.encoder,
            teacher_3d=self.out / "teacher-3d" if taught else None,
            teacher_video=self.out / "teacher-video" if taught else None,
        )
        return build_stage(command, role, config, self.source, models)

    def _start(self, name: str) -> Bundle | None:
        """What `name` goes on from: the last trained stage before it, the model that was given, or a new
        one (None: the stage makes it)."""
        if name in TEACHERS:
            return None
        before = STARTS[name]
        while before in STARTS and before not in self.stages:
            before = STARTS[before]
        given_first = before in TEACHERS and self.given.start is not None
        if before in self.stages and not given_first:
            return replace(load_bundle(self.out / before), known=None)
        if self.given.start is not None:
            given = opened(self.given.start)
            return replace(given, vae=self.vae, encoder=self.encoder, known=None)
        if name == "pretrained":
            return None
        train = getattr(self.config, COMMANDS[name][2])
        models = Models(vae=self.vae, encoder=self.encoder)
        new = start_or_new(self.config.model, self.source, models, "4d", train.seed)
        feed = student_feed(train, self.source, new)
        assert isinstance(feed, LatentFeed)
        facts = replace(new.facts, motion=feed.motion())
        ready = replace(new, facts=facts)
        return Bundle(**vars(with_parametrization(ready, self.config.model, feed, new=True)))

    def _snapshots(self, prepared: PreparedStage) -> Callable[[], Tensor]:
        """Writes the model as it is now, in place of a contact sheet, which takes seconds."""

        def snapshot() -> Tensor:
            in_parts({SNAPSHOT: prepared.finish()}, [], self.given.export, SNAPSHOT)
            return torch.ones(3, 8, 8)

        return snapshot


def chosen_stages(given: argparse.Namespace) -> list[str]:
    """In the paper's order. ValueError: one is unknown, or its teachers are not trained."""
    names = given.stages or ([LAST] if given.start is not None else list(SHARES))
    told = [part.partition("=")[0] for part in given.steps or []]
    unknown = [name for name in (*names, *told) if name not in SHARES]
    if unknown:
        raise ValueError(f"no stage {unknown[0]!r}: {', '.join(SHARES)}")
    missing = [name for name in TEACHERS if name not in names]
    if missing and set(TAUGHT) & set(names):
        raise ValueError(f"distilled needs {missing[0]}: add it to --stages")
    return [name for name in SHARES if name in names]


def _plain(train: Any) -> dict[str, Any]:
    return {name: getattr(train, name) for name in train.__dataclass_fields__}


def main() -> None:
    began = time.monotonic()
    parser = argparse.ArgumentParser()
    parser.add_argument("--pack", type=Path, nargs="+", required=True)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--stages", nargs="+")
    parser.add_argument("--from", dest="start", type=Path)
    parser.add_argument("--steps", nargs="+", metavar="STAGE=N")
    parser.add_argument("--form", default="auto")
    parser.add_argument("--config", type=Path, default=Path("templates/weights-gpu.toml"))
    parser.add_argument("--set", dest="assignments", action="append")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--mirror", action="store_true")
    parser.add_argument("--export", type=Path)
    parser.add_argument("--snapshot-seconds", type=float, default=120.0)
    parser.add_argument("--most", type=int, default=0, help="steps of a stage, to rehearse")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    resolved = resolve(file=given.config, environ={}, assignments=given.assignments)
    TimedTraining(given, resolved.config, began).run()


if __name__ == "__main__":
    main()
