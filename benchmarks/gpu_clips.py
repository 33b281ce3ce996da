"""The steps of `benchmarks.gpu` that make and measure clips and assets, as those of `gpu_steps`."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.gpu_steps import CREATURE, PARITY, Figures, Place, differs


def call(*arguments: str | Path) -> str:
    """One command line of orster in this process; what it says. RuntimeError: its exit code is not 0."""
    from tests.helpers.cli import quiet

    try:
        quiet(*arguments)
    except AssertionError as error:
        raise RuntimeError(str(error)[-1500:]) from None
    return " ".join(map(str, arguments))


def sampling(place: Place) -> Figures:
    """`sample-video` with the shipped model, against the CPU's clip of the same seed."""
    from orster_cli.api.clips import open_clip

    clips = {}
    out: Figures = {}
    for device in dict.fromkeys(("cpu", place.device.type)):
        folder = place.folder / f"sampled-{device}"
        begun = time.perf_counter()
        call(
            "sample-video", "--text", "a frog jumping", "-o", folder, "--device", device, "--force"
        )
        out[f"{device} s"] = round(time.perf_counter() - begun, 2)
        clips[device] = open_clip(folder).frames
    begun = time.perf_counter()
    again = place.folder / "sampled-again"
    call(
        "sample-video",
        "--text",
        "a frog jumping",
        "-o",
        again,
        "--device",
        place.device.type,
        "--force",
    )
    out["warm s"] = round(time.perf_counter() - begun, 2)
    first, second = clips["cpu"], clips[place.device.type]
    error = float((first - second).square().mean())
    out["PSNR to the CPU's clip"] = round(-10 * math.log10(max(error, 1e-10)), 2)
    if not out["PSNR to the CPU's clip"] > 30:
        raise AssertionError(f"the clips differ: {out}")
    return out


def evaluation(place: Place) -> Figures:
    """`evaluate` of the sampled clip against that of the CPU, with networks on the device."""
    folder = place.folder / "report"
    subject, reference = place.folder / "sampled-again", place.folder / "sampled-cpu"
    metrics = ("--metrics", "psnr,ssim,clip-f[mini]", "--reference", reference, "--force")
    values = {}
    for device in dict.fromkeys(("cpu", place.device.type)):
        out = folder / device
        cache = ("--cache", folder / f"cache-{device}")
        call("evaluate", subject, *metrics, *cache, "-o", out, "--device", device)
        values[device] = json.loads((out / "report.json").read_text())["summary"]
    found = {name: value["mean"] for name, value in values[place.device.type].items()}
    for name, value in found.items():
        differs(name, value, values["cpu"][name]["mean"], PARITY)
    return found


# -- construct


@contextmanager
def _backend(name: str) -> Iterator[None]:
    """Fits render with the backend `name`."""
    from orster_cli.construction import fit

    before = fit.rasterize
    fit.rasterize = partial(before, backend=name)  # type: ignore[assignment]
    try:
        yield
    finally:
        fit.rasterize = before


def orbits(side: int) -> tuple[Any, Any]:
    """The creature's moving and static orbit of 24 frames of `side` pixels."""
    from benchmarks.construct_cpu import orbit
    from orster_cli.config.prepare import PrepareConfig
    from orster_cli.dataset.views import normalize_object
    from orster_cli.gltf.load import load_gltf

    cfg = PrepareConfig(frames=24, resolution=side)
    placed = normalize_object(load_gltf(CREATURE), 0, cfg)
    return orbit(placed, cfg, 0.0), orbit(placed, cfg, 0.0, still=True)


def constructing(place: Place, backend: str, side: int, steps: int, gaussians: int) -> Figures:
    """A short fit: PSNR at its frames, and milliseconds an iteration (its first tenth does not count)."""
    from orster_cli.config.construct import ConstructConfig
    from orster_cli.construction.fit import Fit
    from orster_cli.construction.fit_asset import measure_quality
    from orster_cli.construction.hull import surface_points
    from orster_cli.construction.recurrence import Recurrence
    from orster_cli.construction.trainable_asset import TrainableAsset
    from orster_cli.construction.training_views import build_views

    if place.quick:
        side, steps, gaussians = 64, 30, 1000
    moving, still = orbits(side)
    cfg = ConstructConfig(
        resolution=side, gaussians=gaussians, max_gaussians=2 * gaussians,
        static_steps=steps * 2 // 5, coarse_steps=steps // 5, fine_steps=steps * 2 // 5,
    )  # fmt: skip
    views = build_views([moving], still, Recurrence(), mirror_weight=0.0, device=place.device)
    points = surface_points(still, gaussians, misses=0, seed=0)
    fit = Fit(cfg, views, TrainableAsset(points.to(place.device), cfg))
    times = []
    with _backend(backend):
        while fit.step < fit.total:
            begun = time.perf_counter()
            fit._train_step()
            place.wait()
            times.append(1e3 * (time.perf_counter() - begun))
    asset = fit.model.result()
    quality = measure_quality(asset, [moving])["mean"]
    kept = times[len(times) // 10 :]
    return {
        "side": side, "steps": steps, "Gaussians": len(asset.canonical),
        "ms an iteration": round(statistics.median(kept), 2),
        "PSNR": round(quality["psnr"], 2),
    }  # fmt: skip


def construct_command(place: Place) -> Figures:
    """`orster construct` of the sampled clip, and its asset opened and rendered again."""
    from orster_cli.api.assets import load_asset

    steps = 10 if place.quick else 100
    parts = [f"construct.{name}_steps={steps}" for name in ("static", "coarse", "fine")]
    sets = [word for part in parts for word in ("--set", part)]
    folder = place.folder / "asset"
    begun = time.perf_counter()
    call(
        "construct", place.folder / "sampled-cpu", "-m", "mini", "-o", folder,
        "--device", place.device.type, "--force", *sets,
    )  # fmt: skip
    asset = load_asset(folder)
    return {"s": round(time.perf_counter() - begun, 1), "Gaussians": len(asset), **asset.quality}


def kernels(place: Place) -> Figures:
    """gsplat's kernels, loaded or built."""
    begun = time.perf_counter()
    if place.device.type == "cuda":
        from orster_cli.splatting.gsplat_raster import load_gsplat

        load_gsplat()
    prebuilt = find_spec("gsplat.csrc")
    return {
        "s": round(time.perf_counter() - begun, 1),
        "prebuilt": bool(prebuilt and prebuilt.origin),
    }
