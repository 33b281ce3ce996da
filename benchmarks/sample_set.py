"""One sample for every clip of a dataset, by its caption, first view or static object, in folders that
`orster evaluate FOLDER --reference DATASET` pairs by name.

python -m benchmarks.sample_set --model MODEL --dataset DATASET --out FOLDER [--by text|image|object]

Existing samples in FOLDER are kept, so a stopped run continues.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from benchmarks.sampled import as_shown, sampler_of
from orster_cli.config.load import resolve
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import Facts
from orster_cli.inputs.models import sampling_of
from orster_cli.io.clip_files import write_clip, write_priors
from orster_cli.sampling.sample_clips import SampleRequest

KINDS = ("text", "image", "object")


def sample_request(data: Dataset, key: str, by: str, facts: Facts) -> SampleRequest:
    """The condition for the clip `key`."""
    if by == "image":
        return SampleRequest(image=as_shown(data.clip(key), facts, key)[0])
    if by == "object":
        return SampleRequest(object_orbit=data.clip(key, "static"))
    return SampleRequest(text=data.clip(key).prompt)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--by", choices=KINDS, default="text")
    parser.add_argument("--config", type=Path, help="settings of [sample]; default: the model's")
    parser.add_argument("--set", action="append", default=[], help="sample.steps=50 ...")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    resolved = resolve(
        file=given.config, model=sampling_of(given.model), assignments=given.set
    ).config.sample
    sampler = sampler_of(given.model, resolved)
    data = Dataset.open(given.dataset)
    for key in data.keys():  # noqa: SIM118
        if (given.out / key).is_dir():
            continue
        wanted = sample_request(data, key, given.by, sampler.bundle.facts)
        made = next(sampler.sample(wanted, [given.seed]))
        clip = made.clip
        if clip.prompt is None:  # so that every kind is held against the same text
            clip = replace(clip, prompt=data.clip(key).prompt)
        building = given.out / f".{key}.{os.getpid()}"
        write_clip(building, clip)
        write_priors(building, made.priors)
        building.rename(given.out / key)


if __name__ == "__main__":
    main()
