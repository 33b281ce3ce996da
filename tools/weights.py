"""The steps of `make weights` before and after the pipeline.

python -m tools.weights lay-out --size cpu --glb GLB --out PROJECT
    writes settings, captions and links to the objects, for templates/pipeline.mk
python -m tools.weights ship --size cpu --glb GLB --project PROJECT
    copies the fine-tuned model, in whole numbers and with its card, into the package
python -m tools.weights card --size cpu
    copies the measurements in tools/model-card-cpu.md into the card in the package
python -m tools.weights known --size cpu --project PROJECT
    records in the model in the package what PROJECT/dataset showed it, for one shipped without that

Both sizes are trained on CC0 objects only. Objects under other licences are an error.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import tomllib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from orster_cli.artifacts.manifest import MANIFEST, Parent
from orster_cli.artifacts.store import Artifact, Draft, begin, open_artifact
from orster_cli.core.seeding import derive_seed
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import load_bundle, save_bundle
from orster_cli.diffusion.known_inputs import IMAGES, save_known
from orster_cli.diffusion.known_texts import KNOWN
from orster_cli.inputs.models import SAMPLING, SHIPPED
from orster_cli.training.known_data import known_data
from orster_cli.training.log import read_log

REPOSITORY = Path(__file__).resolve().parents[1]
TEMPLATES = REPOSITORY / "templates"
CARD = "MODEL_CARD.md"
LICENCE = "CC0-1.0"
HELD_OUT_EVERY = 20  # of the GPU size: one pair of object and action in so many
LARGEST_FILE, LARGEST_MODEL = 16 * 2**20, 32 * 2**20  # bytes, of a model those in the wheel
STAGES = (
    "vae", "encoder", "teacher-3d", "teacher-video", "pretrained", "distilled", "aligned", "finetuned",
    "decoder",
)  # fmt: skip
Row = dict[str, str]


def rows_of(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def all_clips(glb: Path) -> list[Row]:
    """Captions of every usable clip of the training objects. Some pairs of object and action are held
    out."""
    objects = {row["file"]: row for row in rows_of(glb / "objects.csv")}
    chosen = []
    for row in rows_of(glb / "clips.csv"):
        about = objects[row["file"]]
        if row["use"] != "1" or about["split"] != "train" or about["licence"] != LICENCE:
            continue
        subject, action = about["subject"], row["action"]
        held_out = derive_seed("held out", row["file"], action) % HELD_OUT_EVERY == 0
        short = subject.split(" with ")[0].split(" in ")[0]
        noun = short.split()[-1]
        plain = f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
        also = dict.fromkeys(f"{s} {action}" for s in (short, plain))
        also.pop(row["caption"], None)
        chosen.append(
            {
                "file": row["file"],
                "clip": row["clip"],
                "use": str(int(not held_out)),
                "caption": row["caption"],
                "also": "|".join(also),
            }
        )
    return chosen


def lay_out(size: str, glb: Path, out: Path) -> None:
    """A project folder for pipeline.mk. Files that would not change are not written."""
    listed = TEMPLATES / f"weights-{size}.csv"
    rows = rows_of(listed) if listed.is_file() else all_clips(glb)
    files = sorted({row["file"] for row in rows})
    _only_free(glb, files)
    (out / "objects").mkdir(parents=True, exist_ok=True)
    for name in files:
        link = out / "objects" / name
        if not link.exists():
            link.symlink_to((glb / name).resolve())
    lines = [",".join(rows[0])]
    lines += [",".join(_quoted(value) for value in row.values()) for row in rows]
    _keep(out / "objects" / "clips.csv", "\n".join(lines) + "\n")
    _keep(out / "orster.toml", (TEMPLATES / f"weights-{size}.toml").read_text("utf-8"))


def _quoted(value: str) -> str:
    return f'"{value}"' if "," in value else value


def _keep(path: Path, text: str) -> None:
    """Writes a file only if its content changes, since make compares file times."""
    if not path.is_file() or path.read_text("utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _only_free(glb: Path, files: Iterable[str]) -> list[Row]:
    """The entries of `files` in objects.csv. Exits if one is not CC0."""
    wanted = set(files)
    found = [row for row in rows_of(glb / "objects.csv") if row["file"] in wanted]
    for row in found:
        if row["licence"] != LICENCE:
            sys.exit(f"{row['file']}: {row['licence']}, expected {LICENCE}")
    if missing := wanted - {row["file"] for row in found}:
        sys.exit(f"{glb / 'objects.csv'}: no entry for {sorted(missing)}")
    return found


def toml_of(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Settings as the text of a TOML file."""
    parts = []
    for section, entries in sections.items():
        lines = [f"{key} = {json.dumps(value)}" for key, value in entries.items()]
        parts.append("\n".join([f"[{section}]", *lines, ""]))
    return "\n".join(parts)


def ship(size: str, glb: Path, project: Path, out: Path) -> None:
    """Writes the model of `project` to `out`, as an artifact with sampling settings and card."""
    made = open_artifact(project / "models" / "finetuned", kind="model")
    bundle = load_bundle(made.path).whole(str(made.path))
    decoder = open_artifact(project / "models" / "decoder", kind="model")
    bundle.vae = load_bundle(decoder.path).vae or bundle.vae
    rows = rows_of(project / "objects" / "clips.csv")
    objects = _only_free(glb, {row["file"] for row in rows})
    settings = (project / "orster.toml").read_text("utf-8")
    sampling = tomllib.loads(settings).get("sample", {})
    more = {"sample": sampling, "size": size}
    with remade(made, out, more, [decoder.parent()]) as draft:
        save_bundle(bundle, draft.dir, torch.int8)
        (draft.dir / SAMPLING).write_text(toml_of({"sample": sampling}), encoding="utf-8")
        text = card(size, project, rows, objects, settings)
        (draft.dir / CARD).write_text(text, encoding="utf-8")
        shutil.copyfile(made.path / "train.jsonl", draft.dir / "train.jsonl")
        size_said = checked_size(draft.dir)
        content = {**made.content, "size": size, "weights": "int8", "card": CARD}
        draft.commit(content, licences=[f"{LICENCE} (the objects it was trained on)"])
    print(f"{out}: {size_said}")


def in_wheel(folder: Path) -> int:
    """Bytes that the files in `folder` take in a wheel, which deflates each."""
    return sum(
        len(zlib.compress(path.read_bytes())) for path in folder.rglob("*") if path.is_file()
    )


def checked_size(folder: Path) -> str:
    """How large the model in `folder` is, in words. Exits if it is too large to ship."""
    largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    whole = in_wheel(folder)
    said = f"{whole / 2**20:.1f} MiB in the wheel, largest file {largest / 2**20:.1f} MiB"
    if largest > LARGEST_FILE or whole > LARGEST_MODEL:
        sys.exit(f"{folder}: too large to ship: {said}")
    return said


def remeasured(size: str, shipped: Path) -> None:
    """The card in `shipped`, with the current text of tools/model-card-SIZE.md after the settings: the
    measurements made since the model was shipped. The rest stays the same byte for byte."""
    made = open_artifact(shipped, kind="model")
    template = _template(size)
    begins = template.index("\n## ", template.rindex("}}"))
    said = (made.path / CARD).read_text("utf-8")
    heading = template[begins:].split("\n", 2)[1]
    if heading not in said.splitlines():
        sys.exit(f"{made.path / CARD}: no line {heading!r}: ship the model again")
    text = said[: said.index(f"\n{heading}\n")] + template[begins:]
    with remade(made, shipped) as draft:
        left_out = shutil.ignore_patterns(MANIFEST, CARD)
        shutil.copytree(shipped, draft.dir, dirs_exist_ok=True, ignore=left_out)
        (draft.dir / CARD).write_text(text, encoding="utf-8")
        draft.commit(made.content, licences=made.manifest.licences)


def recorded(project: Path, shipped: Path) -> None:
    """What the model in `shipped` knows, by the dataset of `project` that it was trained on, in its
    folder. All other files stay the same byte for byte."""
    made = open_artifact(shipped, kind="model")
    bundle = load_bundle(shipped).whole(str(shipped))
    data = Dataset.open(project / "dataset")
    known = known_data(
        data, data.keys(), bundle.encoder, view="dynamic", resolution=bundle.facts.resolution
    )
    with remade(made, shipped) as draft:
        left_out = shutil.ignore_patterns(MANIFEST, KNOWN, IMAGES)
        shutil.copytree(shipped, draft.dir, dirs_exist_ok=True, ignore=left_out)
        save_known(known, draft.dir)
        draft.commit(made.content, licences=made.manifest.licences)
    assert known.texts is not None
    assert known.images is not None
    print(
        f"{shipped}: {len(known.texts.words)} words, {len(known.images.vectors)} images, "
        f"threshold {known.images.threshold:.3f}"
    )


def remade(
    made: Artifact,
    out: Path,
    more: Mapping[str, Any] | None = None,
    parents: Sequence[Parent] = (),
) -> Draft:
    """A draft of the model `made` in another form. It replaces `out` even if the request is the same.
    `more`: further settings; `parents`: what else it is made from."""
    manifest = made.manifest
    draft = begin(
        out,
        kind="model",
        command=manifest.command,
        config={**manifest.config, **(more or {})},
        parents=[*manifest.parents, *parents],
        seeds=manifest.seeds,
        force=True,
    )
    assert draft is not None  # as it is with force
    return draft


def _template(size: str) -> str:
    return (REPOSITORY / "tools" / f"model-card-{size}.md").read_text("utf-8")


def card(size: str, project: Path, rows: list[Row], objects: list[Row], settings: str) -> str:
    """The model card: the text of tools/model-card-SIZE.md with the figures of this run."""
    text = _template(size)
    stages = [(name, open_artifact(project / "models" / name)) for name in STAGES]
    parts = {
        "objects": _objects(objects, rows),
        "held_out": "\n".join(f"- {row['caption']}" for row in rows if row["use"] == "0"),
        "stages": "\n".join(_stage(name, artifact) for name, artifact in stages),
        "minutes": f"{sum(_seconds(artifact) for _, artifact in stages) / 60:.0f}",
        "parameters": f"{open_artifact(project / 'models/finetuned').content['parameters']:,}",
        "settings": settings.strip(),
    }
    for name, value in parts.items():
        text = text.replace("{{" + name + "}}", value)
    return text


def _objects(objects: list[Row], rows: list[Row]) -> str:
    lines = ["| object | actions it was trained on | author | source |", "|---|---|---|---|"]
    for about in objects:
        mine = [row for row in rows if row["file"] == about["file"] and row["use"] == "1"]
        subject = about["subject"]
        actions = ", ".join(row["caption"].removeprefix(subject).strip() for row in mine)
        source = f"{about['source_repo']} @ {about['commit'][:12]}"
        lines.append(
            f"| {subject} (`{about['file']}`) | {actions} | {about['author']} | {source} |"
        )
    return "\n".join(lines)


def _stage(name: str, artifact: Artifact) -> str:
    log = read_log(artifact.path / "train.jsonl")
    term = "loss" if name in ("vae", "decoder", "encoder") else "diffusion"
    first, last = (
        sum(row[term] for row in part) / len(part) for part in (log[:3], log[-10:])
    )  # single lines are noise
    config = next(v for v in artifact.manifest.config.values() if isinstance(v, dict))
    seed = artifact.manifest.seeds["train"]
    return (
        f"| {name} | {artifact.content['steps']} x {config['batch']} | {seed} | {term} "
        f"| {first:.4f} | {last:.4f} | {_seconds(artifact) / 60:.1f} |"
    )


def _seconds(artifact: Artifact) -> float:
    """Seconds of training, from the samples per second in the log."""
    log = read_log(artifact.path / "train.jsonl")
    config = next(v for v in artifact.manifest.config.values() if isinstance(v, dict))
    steps = [b["step"] - a["step"] for a, b in zip([{"step": 0}, *log], log, strict=False)]
    return sum(
        config["batch"] * n / row["samples_per_second"] for n, row in zip(steps, log, strict=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("lay-out", "ship", "card", "known"))
    parser.add_argument("--size", choices=("cpu", "gpu"), required=True)
    parser.add_argument("--glb", type=Path)
    parser.add_argument("--project", "--out", type=Path)
    given = parser.parse_args()
    if given.what == "card":
        remeasured(given.size, SHIPPED)
        return
    if given.what == "known":
        if given.project is None:
            parser.error("--project is needed")
        recorded(given.project, SHIPPED)
        return
    if given.glb is None or given.project is None:
        parser.error("--glb and --project are needed")
    if not (given.glb / "objects.csv").is_file():
        sys.exit(f"{given.glb}: no objects.csv: give the folder with GLB=...")
    if given.what == "lay-out":
        lay_out(given.size, given.glb, given.project)
    else:
        ship(given.size, given.glb, given.project, SHIPPED)


if __name__ == "__main__":
    main()
