"""Models in parts small enough to be taken home from a borrowed machine, and opened there."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import torch

from orster_cli.diffusion.bundle import PIPELINE, Bundle, WholeBundle, load_bundle, save_bundle

PART_BYTES = 15 * 2**20


def in_parts(
    bundles: Mapping[str, Bundle | WholeBundle], files: Sequence[Path], out: Path, name: str
) -> None:
    """Write models, by the names of their folders, in half precision and without frame VAE, encoder and
    what they know, and files into a tar file that is cut into parts `out`/`name`.tar.0 and so on. Each part
    is replaced in one step."""
    out.mkdir(parents=True, exist_ok=True)
    whole = io.BytesIO()
    with tempfile.TemporaryDirectory() as work, tarfile.open(fileobj=whole, mode="w") as tar:
        for folder, bundle in bundles.items():
            save_bundle(_alone(bundle), Path(work) / folder, torch.float16)
            tar.add(Path(work) / folder, folder)
        for path in files:
            tar.add(path, f"{path.parent.name}/{path.name}")
    data = whole.getvalue()
    for number, start in enumerate(range(0, len(data), PART_BYTES)):
        part = out / f"{name}.tar.{number}"
        draft = part.with_name(f".{part.name}")
        draft.write_bytes(data[start : start + PART_BYTES])
        draft.replace(part)


def _alone(bundle: Bundle | WholeBundle) -> Bundle:
    parts = {field.name: getattr(bundle, field.name) for field in fields(bundle)}
    return Bundle(**{**parts, "vae": None, "encoder": None, "known": None, "rest": None})


def opened(path: Path) -> Bundle:
    """The model in the folder `path`, or in the parts `path`.tar.0 and so on of `in_parts`. InputError."""
    if (path / PIPELINE).is_file():
        return load_bundle(path)
    parts = sorted(
        path.parent.glob(f"{path.name}.tar.*"), key=lambda part: int(part.name.rpartition(".")[2])
    )
    if not parts:
        return load_bundle(path)  # says what is missing
    with tempfile.TemporaryDirectory() as work:
        data = io.BytesIO(b"".join(part.read_bytes() for part in parts))
        with tarfile.open(fileobj=data) as tar:
            tar.extractall(work, filter="data")
        (folder,) = [found.parent for found in Path(work).glob(f"*/{PIPELINE}")]
        return load_bundle(folder)
