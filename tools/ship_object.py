"""Put a model that was trained from packs of latents into the package, as the one for given objects.

python -m tools.ship_object --model MODEL --dataset DATASET... [--set sample.temperature=0.7 ...]
python -m tools.ship_object --set construct.nodes=200 ... [--dataset DATASET...] [--rest REST]
    [--course COURSE] [--lift LIFT]

MODEL is what benchmarks/gpu_weights.sh brings home, DATASET what the packs were made of. The words of all
captions and pictures of the datasets go into the model's folder, with its settings of [sample] and
[construct] and the card tools/model-card-object.md. Weights are in whole numbers (`io.whole_numbers`):
clips differ by 45 to 50 dB from those of float16, and decoded frames by 55.

Without --model the model in the package gets these settings beside its own, what its card's text says now
but for the figures of its training, with --dataset what the words of its captions say of where objects
stand, with --rest, --course and --lift the networks of `tools.train_rest`, `tools.train_course` and
`tools.train_lift`; its other files stay.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch

from orster_cli.artifacts.store import open_artifact
from orster_cli.config.load import OF_MODEL, resolve
from orster_cli.core.errors import ConfigError
from orster_cli.dataset.captions import texts_of
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import WholeBundle, load_bundle, save_bundle
from orster_cli.diffusion.course_regressor import load_course, save_course
from orster_cli.diffusion.known_inputs import KnownInputs, load_known, save_known
from orster_cli.diffusion.lift_net import load_lift, save_lift
from orster_cli.diffusion.motion_words import FramingWords
from orster_cli.diffusion.rest_regressor import load_rest, save_rest
from orster_cli.inputs.models import SAMPLING, SHIPPED_OBJECT
from orster_cli.training.known_data import known_data
from tools.train_course import LOG as COURSE_LOG
from tools.train_lift import LOG as LIFT_LOG
from tools.train_rest import LOG as REST_LOG
from tools.weights import CARD, LICENCE, checked_size, remade, toml_of

TEXT = Path(__file__).with_name("model-card-object.md")
FIGURES, LIMITS = "## Data", "## Limits"  # of the card: between them are figures of the training
NETWORKS = {  # beside the diffusion: what reads and writes them, and their logs
    "rest": (load_rest, save_rest, REST_LOG),
    "course": (load_course, save_course, COURSE_LOG),
    "lift": (load_lift, save_lift, LIFT_LOG),
}
LOGS = "train*.jsonl"  # of the model, and train-NAME.jsonl of what was trained later


def known_of(folders: Sequence[Path], bundle: WholeBundle) -> KnownInputs:
    """What the datasets in `folders` have shown the model."""
    parts = []
    for folder in folders:
        data = Dataset.open(folder)
        side = bundle.facts.resolution
        parts.append(known_data(data, data.keys(), bundle.encoder, view="dynamic", resolution=side))
    return reduce(KnownInputs.merged, parts)


def own_settings(assignments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The settings of [sample] and [construct] by their names. ConfigError: one that does not exist."""
    cfg = resolve(environ={}, assignments=list(assignments)).config
    found: dict[str, dict[str, Any]] = {}
    for text in assignments:
        section, _, name = text.partition("=")[0].partition(".")
        found.setdefault(section, {})[name] = getattr(getattr(cfg, section), name)
    return found


def objects_of(folders: Sequence[Path]) -> tuple[list[str], int]:
    """The names of all objects, sorted, and the number of clips."""
    names, clips = set(), 0
    for folder in folders:
        keys = Dataset.open(folder).keys()
        names |= {key.rpartition("-")[0] for key in keys}
        clips += len(keys)
    return sorted(names), clips


def steps_of(log: Path) -> int:
    """The last step of a training's log."""
    return int(json.loads(log.read_text("utf-8").splitlines()[-1])["step"])


def framing_words(datasets: Sequence[Path]) -> FramingWords | None:
    """What the captions of all clips of `datasets` say of their framing."""
    opened = [Dataset.read(folder) for folder in datasets]
    infos = [data.info(key) for data in opened for key in data.keys()]  # noqa: SIM118
    return FramingWords.of((texts_of(info), info.get("framing")) for info in infos)


def resettle(
    shipped: Path,
    settings: dict[str, dict[str, Any]],
    datasets: Sequence[Path] = (),
    networks: Mapping[str, Path] | None = None,
) -> None:
    """The model in `shipped` with `settings` beside its own, the framing of clips of `datasets` (if any),
    the `networks` in these folders instead of its own, and what its card says now."""
    made = open_artifact(shipped, kind="model")
    known = {f"construct.{name}" for name in OF_MODEL}
    for name in (f"{section}.{key}" for section, keys in settings.items() for key in keys):
        if not name.startswith("sample.") and name not in known:
            raise ConfigError(f"{name}: no setting that a model brings")
    old = made.manifest.config
    merged = {name: {**old[name], **settings.get(name, {})} for name in ("sample", "construct")}
    with remade(made, shipped, merged) as draft:
        for entry in made.manifest.files:
            to = draft.dir / entry.path
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shipped / entry.path, to)
        (draft.dir / SAMPLING).write_text(toml_of(merged), encoding="utf-8")
        if datasets:
            found = load_known(shipped)
            assert found is not None
            save_known(replace(found, framing=framing_words(datasets)), draft.dir)
        for name, folder in (networks or {}).items():
            load, save, log = NETWORKS[name]
            save(load(folder), draft.dir / name, torch.int8)
            shutil.copyfile(folder / log, draft.dir / log)
        said, now = (shipped / CARD).read_text("utf-8"), TEXT.read_text("utf-8")
        trained = said[said.index(FIGURES) : said.index(LIMITS)]  # has figures of the training
        card = now[: now.index(FIGURES)] + trained + now[now.index(LIMITS) :]
        (draft.dir / CARD).write_text(card, encoding="utf-8")
        size = checked_size(draft.dir)
        draft.commit(made.content, licences=list(made.manifest.licences))
    print(f"{shipped}: {size}")
    print(f"{shipped}: was {made.manifest.id}; add that to SHIPPED_BEFORE of inputs/models.py")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--dataset", type=Path, nargs="+", default=[])
    parser.add_argument("--set", action="append", default=[])
    for name in NETWORKS:
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--out", type=Path, default=SHIPPED_OBJECT)
    given = parser.parse_args()
    networks = {name: folder for name in NETWORKS if (folder := getattr(given, name)) is not None}
    if given.model is not None and not given.dataset:
        parser.error("--model needs --dataset")
    if given.model is None:
        resettle(given.out, own_settings(given.set), given.dataset, networks)
        return
    made = open_artifact(given.model, kind="model")
    bundle = load_bundle(made.path).whole(str(made.path))
    bundle.known = known_of(given.dataset, bundle)
    for name, folder in networks.items():
        setattr(bundle, name, NETWORKS[name][0](folder))
    settings = own_settings(given.set)
    objects, clips = objects_of(given.dataset)
    with remade(made, given.out, settings) as draft:
        save_bundle(bundle, draft.dir, torch.int8)
        (draft.dir / SAMPLING).write_text(toml_of(settings), encoding="utf-8")
        text = TEXT.read_text("utf-8").replace("{{clips}}", f"{clips:,}")
        text = text.replace("{{count}}", str(len(objects)))
        text = text.replace("{{objects}}", ", ".join(f"`{name}`" for name in objects))
        for log in made.path.glob(LOGS):
            name = log.stem.removeprefix("train").removeprefix("-")
            text = text.replace(f"{{{{{name}}}}}", f"{steps_of(log):,}")
            shutil.copyfile(log, draft.dir / log.name)
        if "{{" in text:
            sys.exit(f"{TEXT}: no value for {text.partition('{{')[2].partition('}}')[0]}")
        (draft.dir / CARD).write_text(text, encoding="utf-8")
        size = checked_size(draft.dir)
        content = {**made.content, "weights": "int8", "card": CARD}
        draft.commit(content, licences=[f"{LICENCE} (the objects it was trained on)"])
    print(f"{given.out}: {size}")


if __name__ == "__main__":
    main()
