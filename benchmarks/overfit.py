"""How well a model reproduces its training clips from caption, first view and static object.

python -m benchmarks.overfit --dataset DATASET --model MODEL --sheet sheet.png [--set motion=...]

One row per clip: the true frames, then the samples. The table has the PSNR of each sample to its own
clip and to the nearest other clip, which shows that samples are not a mean of all clips."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.sampled import as_shown, nearness, sampler_of
from orster_cli.config.sample import SampleConfig
from orster_cli.dataset.reader import Dataset
from orster_cli.io.images import contact_sheet, write_png
from orster_cli.sampling.sample_clips import SampleRequest

KINDS = ("caption", "first view", "object")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--sheet", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--guidance", type=float, default=2.0)
    given = parser.parse_args()
    data = Dataset.open(given.dataset)
    cfg = SampleConfig(
        steps=given.steps,
        guidance_text=given.guidance,
        guidance_image=given.guidance,
        guidance_object=given.guidance,
    )
    sampler = sampler_of(given.model, cfg)
    true, stills, captions = {}, {}, {}
    for key in data.keys():  # noqa: SIM118
        clip, still = data.clip(key), data.clip(key, "static")
        true[key] = as_shown(clip, sampler.bundle.facts, key)
        stills[key] = still
        captions[key] = clip.prompt or ""
    rows, titles = [], []
    means: dict[str, list[float]] = {kind: [] for kind in KINDS}
    nearest: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for key, frames in true.items():
        rows.append(list(frames))
        titles.append(f"{captions[key]} (true)")
        for kind, condition in (
            ("caption", SampleRequest(text=captions[key])),
            ("first view", SampleRequest(image=frames[0])),
            ("object", SampleRequest(object_orbit=stills[key])),
        ):
            made = next(sampler.sample(condition, [0])).clip.frames
            own, other, _ = nearness(made, key, true)
            assert own is not None
            means[kind].append(own)
            nearest[kind].append(other)
            rows.append(list(made))
            titles.append(f"from its {kind}: {own:.1f} dB, nearest other clip {other:.1f} dB")
    write_png(given.sheet, contact_sheet(rows, titles, cell=64))
    for kind in KINDS:
        count = len(means[kind])
        right = sum(a > b for a, b in zip(means[kind], nearest[kind], strict=True))
        print(
            f"from its {kind}: {sum(means[kind]) / count:.1f} dB to its own clip, "
            f"{sum(nearest[kind]) / count:.1f} dB to the nearest other, right for {right} of {count}"
        )


if __name__ == "__main__":
    main()
