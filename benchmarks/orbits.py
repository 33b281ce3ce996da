"""Whether orbits that a model samples from the renders of a first asset make the unseen side better.

python -m benchmarks.orbits --glb ../shared/data/glb --glb ../shared/data/glb2 [--clips animal_deer:12,...]
    [--first sampled,true] [--strengths 0.3,0.5,0.7] [--out PAGE.md]

For every clip of an object that the model was never trained on: an orbit, sampled (or, with `--first true`,
rendered from the object), is fitted with the object's static orbit. That asset, seen from a quarter turn
further and so on, gets noise of each strength and is denoised under the same conditions; all four orbits
are fitted together. PSNR in dB on white against the true moving object, from the first orbit's own cameras
and from 90, 120 and 180 degrees further round (at 120, no orbit has a camera at that moment). `pose`: the
same against the true moment that is nearest, whichever it is, so that a motion of another phase or kind
counts less. `input`: at the frames that were fitted; `torn %`: as in `benchmarks.construct_cpu`. Rows:
`1 orbit`; `s`: four orbits, of which three are sampled with this strength (0: the renders themselves, 1:
from noise alone); with `--first true` also `4 true orbits`.
T frames, H W pixels.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.fitting import fit
from benchmarks.intervals import interval
from benchmarks.sampled import conditional_mean, sampler_of
from benchmarks.tears import torn
from benchmarks.timing import table, write_results
from orster_cli.config.construct import ConstructConfig
from orster_cli.config.load import resolve, templates_folder
from orster_cli.config.prepare import PrepareConfig
from orster_cli.construction.asset import load_asset
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.dataset.views import NormalizedClip, normalize_object, render_view
from orster_cli.geometry.orbit import clip_times, orbit_azimuths, orbit_cameras
from orster_cli.gltf.load import load_gltf
from orster_cli.inputs.models import SHIPPED_OBJECT, sampling_of
from orster_cli.io.images import contact_sheet, write_png
from orster_cli.metrics.psnr import psnr
from orster_cli.sampling.sample_clips import Sampler, SampleRequest
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.render_asset import render_clip
from tools.clip_lists import file_of

CLIPS = (
    "animal_deer:12,dino_parasaurolophus:5,mech_mike:15,cutefish_cowfish:3,human_knightcharacter:7,"
    "person_elf:15"
)
ORBITS = 4
UNSEEN = (90.0, 120.0, 180.0)  # degrees from the first orbit
PAIRED = ("+0", "unseen", "pose, unseen", "torn %")
LISTS = ("weights-mini2.csv",)
Row = dict[str, float]


@dataclass(frozen=True)
class Case:
    """A true clip: `placed` at `cfg`, its `caption`; frames [T,T,3,H,W] of the azimuths of an orbit at all
    moments, by where that orbit begins."""

    name: str
    placed: NormalizedClip
    cfg: PrepareConfig
    caption: str
    grids: dict[float, Tensor]

    @classmethod
    def of(cls, name: str, folders: Sequence[Path], cfg: PrepareConfig) -> Case:
        stem, clip = name.split(":")
        path = file_of(folders, f"{stem}.glb")
        placed = normalize_object(load_gltf(path), int(clip), cfg)
        return cls(name, placed, cfg, caption_of(path.name, clip), {})

    def cameras(self, offset: float) -> Cameras:
        return orbit_cameras(orbit_azimuths(self.cfg.frames, start=offset), **_size(self.cfg))

    def orbit(self, offset: float, *, still: bool = False) -> OrbitClip:
        times = clip_times(self.cfg.frames).float()
        times = torch.zeros_like(times) if still else times
        return render_view(self.placed, self.cameras(offset), times, self.cfg, self.caption)

    def true(self, offset: float) -> tuple[Tensor, Tensor]:
        """Frames [T,3,H,W] of the orbit that begins at `offset`, and [T,T,3,H,W]: from each of its cameras
        at every moment. Orbits that are whole steps apart share their cameras."""
        count = self.cfg.frames
        step = 360 / count
        first, turned = offset % step, round(offset // step) % count
        if first not in self.grids:
            around = self.cameras(first)[torch.arange(count).repeat_interleave(count)]
            times = clip_times(count).repeat(count)
            frames = render_view(self.placed, around, times, self.cfg, None).over()
            self.grids[first] = frames.unflatten(0, (count, count))
        moments = self.grids[first].roll(-turned, dims=0)
        return moments[torch.arange(count), torch.arange(count)], moments


def _size(cfg: PrepareConfig) -> dict[str, int]:
    return {"width": cfg.resolution, "height": cfg.resolution}


def caption_of(file: str, clip: str) -> str:
    for name in LISTS:
        with (templates_folder() / name).open(encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                if (row["file"], row["clip"]) == (file, clip):
                    return f"{row['who'].split('|')[0]} {row['what'].split('|')[0]}"
    raise SystemExit(f"{file} {clip}: no caption")


def fitted(
    clips: list[OrbitClip], still: OrbitClip, cfg: ConstructConfig
) -> tuple[Gaussians4D, float]:
    """The asset, and the PSNR at its input frames."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content = fit(clips, still, cfg, folder)
        return load_asset(folder), content["psnr"]


def figures(asset: Gaussians4D, case: Case, fitted_to: float) -> Row:
    """PSNR of `asset` to the true object: see the top of the file."""
    out = {"input": fitted_to}
    times = clip_times(case.cfg.frames).float()
    poses = []
    for offset in (0.0, *UNSEEN):
        made = render_clip(asset, case.cameras(offset), times).frames
        frames, moments = case.true(offset)
        out[f"+{offset:g}"] = float(psnr(made, frames).mean())
        if offset in UNSEEN:
            each = torch.stack(
                [psnr(one.expand_as(m), m) for one, m in zip(made, moments, strict=True)]
            )
            poses.append(float(each.amax(dim=1).mean()))
    out["unseen"] = float(np.mean([out[f"+{offset:g}"] for offset in UNSEEN]))
    out["pose, unseen"] = float(np.mean(poses))
    out["torn %"] = torn(asset)
    return out


def sampled(
    sampler: Sampler, case: Case, offset: float, start: OrbitClip | None, strength: float, seed: int
) -> OrbitClip:
    """The orbit from `offset` degrees, given the object at rest from its cameras and the caption."""
    request = SampleRequest(
        text=case.caption,
        object_orbit=case.orbit(offset, still=True),
        start=start,
        strength=strength,
    )
    return next(sampler.sample(request, [seed], case.cameras(offset))).clip


@torch.no_grad()
def known_pose(sampler: Sampler, case: Case, seed: int) -> Row:
    """Of the conditional means of four orbits: PSNR to the truth, and the share of moments whose frame is
    nearest to the true object at that moment or one beside it, by the orbit's first azimuth."""
    out = {}
    for number in range(ORBITS):
        offset = 360.0 * number / ORBITS
        cameras = case.cameras(offset)
        request = SampleRequest(text=case.caption, object_orbit=case.orbit(offset, still=True))
        given, _ = sampler.conditions_for(request, [seed], cameras)
        side = cameras.height // sampler.bundle.vae.factor
        noise = torch.randn(
            (1, sampler.bundle.vae.channels, len(cameras), side, side),
            generator=torch.Generator().manual_seed(seed),
        )
        z = conditional_mean(sampler.bundle, noise, given.cond)[0]
        made = sampler.bundle.vae.decode(z.transpose(0, 1)).float().clamp(0, 1)
        frames, moments = case.true(offset)
        each = torch.stack(
            [psnr(one.expand_as(m), m) for one, m in zip(made, moments, strict=True)]
        )
        off = (each.argmax(dim=1) - torch.arange(len(made))).abs()
        off = torch.minimum(off, len(made) - 1 - off)  # most motions loop
        out[f"mean from {offset:g}"] = float(psnr(made, frames).mean())
        out[f"moments right from {offset:g}"] = float((off <= 1).float().mean())
    return out


def rows_of(
    sampler: Sampler,
    case: Case,
    first: str,
    strengths: Sequence[float],
    cfg: ConstructConfig,
    seed: int,
) -> tuple[dict[str, Row], dict[str, Tensor]]:
    """Figures by row, and frames [T,3,H,W] from 120 degrees further round."""
    still = case.orbit(0.0, still=True)
    clip = case.orbit(0.0) if first == "true" else sampled(sampler, case, 0.0, None, 1.0, seed)
    times = clip_times(case.cfg.frames).float()
    one, at_input = fitted([clip], still, cfg)
    found = {"1 orbit": figures(one, case, at_input)}
    shown = {"truth": case.true(120.0)[0], "1 orbit": _from_behind(one, case)}
    turns = [360.0 * number / ORBITS for number in range(1, ORBITS)]
    renders = [render_clip(one, case.cameras(turn), times) for turn in turns]
    every: dict[str, list[OrbitClip]] = {}
    if first == "true":
        every["4 true orbits"] = [case.orbit(turn) for turn in turns]
    for s in strengths:
        pairs = zip(turns, renders, strict=True)
        again = [sampled(sampler, case, turn, r, s, seed) for turn, r in pairs] if s else renders
        every[f"s {s:g}"] = again
    for name, more in every.items():
        asset, at_input = fitted([clip, *more], still, cfg)
        found[name] = figures(asset, case, at_input)
        shown[name] = _from_behind(asset, case)
        change = found[name]["unseen"] - found["1 orbit"]["unseen"]
        print(f"  {name}: {change:+.2f} dB unseen, input {at_input:.1f}", flush=True)
    return found, shown


def _from_behind(asset: Gaussians4D, case: Case) -> Tensor:
    return render_clip(asset, case.cameras(120.0), clip_times(case.cfg.frames).float()).frames


def section(title: str, found: dict[str, dict[str, Row]]) -> str:
    """Means over clips, and the paired differences to one orbit, of the rows that all clips have."""
    names = [
        one for one in next(iter(found.values())) if all(one in clip for clip in found.values())
    ]
    columns = list(next(iter(found.values()))[names[0]])
    lines, paired = [], []
    for name in names:
        values = {c: np.array([clip[name][c] for clip in found.values()]) for c in columns}
        lines.append([name, *(f"{values[c].mean():.2f}" for c in columns)])
        if name == names[0]:
            continue
        cells = [name]
        for c in PAIRED:
            change = values[c] - np.array([clip[names[0]][c] for clip in found.values()])
            low, high = interval(change[None])
            cells.append(f"{change.mean():+.2f} ({low:+.2f} to {high:+.2f})")
        cells += [
            f"{clip[name]['unseen'] - clip[names[0]]['unseen']:+.1f}" for clip in found.values()
        ]
        paired.append(cells)
    head = ["minus 1 orbit", *PAIRED, *(f"unseen, {name}" for name in found)]
    return f"## {title}\n\n{table(['', *columns], lines)}\n\n{table(head, paired)}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--glb", type=Path, action="append", required=True)
    parser.add_argument("--model", type=Path, default=SHIPPED_OBJECT)
    parser.add_argument("--clips", default=CLIPS)
    parser.add_argument("--first", default="sampled")
    parser.add_argument("--strengths", default="0.3,0.5,0.7")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    sampling = resolve(model=sampling_of(given.model)).config.sample
    sampler = sampler_of(given.model, sampling)
    facts = sampler.bundle.facts
    cfg = resolve(template="construct-fast").config.construct
    prepare = PrepareConfig(frames=facts.frames, resolution=facts.resolution)
    strengths = [float(s) for s in given.strengths.split(",") if s]
    kept = given.out.with_suffix(".json")
    results = json.loads(kept.read_text()) if kept.is_file() else {}
    for first in given.first.split(","):
        known = results.setdefault(first, {})
        for name in given.clips.split(","):
            if name in known:
                continue
            begun = time.process_time()
            case = Case.of(name, given.glb, prepare)
            print(f"{first} {name}: {case.caption}", flush=True)
            if name not in results.setdefault("poses", {}):
                results["poses"][name] = known_pose(sampler, case, given.seed)
            known[name], shown = rows_of(sampler, case, first, strengths, replace(cfg), given.seed)
            rows = [list(frames) for frames in shown.values()]
            stem = f"{given.out.stem}-{first}-{name.replace(':', '-')}.png"
            write_png(given.out.with_name(stem), contact_sheet(rows, list(shown), cell=96))
            kept.write_text(json.dumps(results))
            print(f"  {time.process_time() - begun:.0f} s of a core", flush=True)
    sections = [
        section(f"The first orbit is {first}", results[first]) for first in given.first.split(",")
    ]
    poses = results["poses"]
    columns = list(next(iter(poses.values())))
    lines = [[name, *(f"{row[c]:.2f}" for c in columns)] for name, row in poses.items()]
    sections.append(f"## Conditional means\n\n{table(['', *columns], lines)}")
    write_results(given.out, "Several orbits from the model", sections)


if __name__ == "__main__":
    main()
