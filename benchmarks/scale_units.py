"""What one clip, one shard and one batch cost on a core, at the paper's sizes: 24 frames of 256 pixels."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch.utils.flop_counter import FlopCounterMode

from orster_cli.artifacts.hashing import hash_file
from orster_cli.config.prepare import PrepareConfig
from orster_cli.dataset.assemble import INDEX, write_index
from orster_cli.dataset.contact_sheet import ROWS, SheetRow, write_sheets
from orster_cli.dataset.jobs import Scratch, SourceJob, process_source
from orster_cli.dataset.reader import Dataset
from orster_cli.dataset.shards import write_shard
from orster_cli.dataset.sources import find_sources
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.std4d import STD4DConfig
from orster_cli.diffusion.trunk import MERGED, Trunk
from orster_cli.training.latents import CLIPS, LatentCache

OBJECT = Path(__file__).resolve().parent.parent / "examples" / "creature.glb"
FRAMES, SIDE, LATENT = 24, 256, 32
TOKENS, WIDTH, TEXT_LAYERS = 77, 1024, 23  # CLIP ViT-H/14's text tower, as VideoMV reads it
VAE = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4,
       "down_block_types": ("DownEncoderBlock2D",) * 4,
       "up_block_types": ("UpDecoderBlock2D",) * 4}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Units:
    """Seconds of a core, bytes and FLOP."""

    render: float  # of a clip: placed, rendered, judged, encoded, with its strip
    clip_bytes: float
    pack_rate: float  # bytes a second into a shard
    hash_rate: float  # bytes a second
    page: float  # of a contact sheet
    decode: float  # of the three views of a sample
    latent_bytes: float  # of a sample's file of latents
    latent_read: float  # of one view of it
    view_bytes: float
    text_bytes: float  # of an encoded caption
    trunk: float  # FLOP of a forward pass of a clip
    vae: float  # FLOP of a frame's encoding
    text: float  # FLOP of a caption's encoding
    parameters: int


def seconds(work: Callable[[], object], times: int = 1) -> float:
    """Processor seconds of one call."""
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times


def flop(work: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return float(counter.get_total_flops())


def measure() -> Units:
    with tempfile.TemporaryDirectory(prefix="orster-scale-") as name:
        place = Path(name)
        render, scratch, keys = _rendered(place / "scratch")
        sample = scratch.clip(keys[0], ".tar")
        shard = place / "data" / "shards" / "000000.tar"
        shard.parent.mkdir(parents=True)
        pack = seconds(lambda: write_shard(shard, [(keys[0], sample)] * 64))
        size = sample.stat().st_size
        hashing = seconds(lambda: hash_file(shard))
        rows = [
            SheetRow(strip=scratch.clip(keys[0], ".png"), record=scratch.record(keys[0]))
        ] * ROWS
        page = seconds(lambda: write_sheets(place, rows))
        entry = {"key": keys[0], "shard": "shards/000000.tar", "offset": 0, "size": size}
        frames = dict.fromkeys(CLIPS, FRAMES)
        write_index(place / "data" / INDEX, iter([{**entry, "frames": frames}]))
        data = Dataset.read(place / "data")
        decode = seconds(lambda: [data.clip(keys[0], view) for view in CLIPS])
        latents = _latents(data, keys[0])
        return Units(
            render=render,
            clip_bytes=size,
            pack_rate=64 * size / pack,
            hash_rate=shard.stat().st_size / hashing,
            page=page,
            decode=decode,
            **latents,
            text_bytes=4.0 * (TOKENS + 1) * WIDTH,
            **_operations(),
        )


def _rendered(place: Path) -> tuple[float, Scratch, list[str]]:
    """Seconds of a clip, and the scratch folder with the clips of the demo's object."""
    source = find_sources([OBJECT])[0]
    small = PrepareConfig(frames=2, resolution=32)  # compiles the kernels, or reads them
    warm = Scratch.create(place / "warm")
    process_source(SourceJob(source=source, captions=None, scratch=warm, cfg=small))
    scratch = Scratch.create(place / "clips")
    cfg = PrepareConfig(frames=FRAMES, resolution=SIDE)
    job = SourceJob(source=source, captions=None, scratch=scratch, cfg=cfg)
    spent = seconds(lambda: process_source(job))
    keys = [r["key"] for r in scratch.records(source.key) if r["reason"] is None]
    return spent / len(keys), scratch, keys


class _NoVae(FrameVAE):
    """Encodes frames as their means: only the files are measured."""

    @property
    def id(self) -> str:
        return "none"

    def encode(self, frames: torch.Tensor, chunk: int = 64) -> torch.Tensor:
        del chunk
        blocks = torch.nn.functional.avg_pool2d(frames, SIDE // LATENT)
        return torch.cat([blocks, blocks[:, :1]], dim=1)


def _latents(data: Dataset, key: str) -> dict[str, float]:
    """Of a file of latents as training writes it: bytes, and seconds of reading a view."""
    vae = _NoVae.create((8, 8), channels=4, groups=4, seed=0)
    cache = LatentCache(data, "scale", vae, SIDE)
    cache.encode([key], vae)
    clip = cache.read_bytes(key, "dynamic", FRAMES)
    path = next(cache.folder.rglob("*.safetensors"))
    return {
        "latent_bytes": path.stat().st_size,
        "latent_read": seconds(lambda: cache.read_bytes(key, "dynamic", FRAMES), 50),
        "view_bytes": clip.latents.nbytes + clip.w2c.nbytes + clip.first_frame.nbytes,
    }


def _operations() -> dict[str, float]:
    """FLOP counted on tensors without memory; those of the text tower by its matrix products."""
    with torch.device("meta"):
        trunk = Trunk(STD4DConfig(merged=True, text_width=WIDTH).trunk)
        z = {MERGED: torch.empty(1, 4, FRAMES, LATENT, LATENT)}
        step, context = torch.zeros(1, dtype=torch.long), torch.empty(1, TOKENS, WIDTH)
        vae, frame = AutoencoderKL(**VAE), torch.empty(1, 3, SIDE, SIDE)
    layer = 2 * TOKENS * 12 * WIDTH**2 + 4 * TOKENS**2 * WIDTH
    return {
        "trunk": flop(lambda: trunk(z, step, context)),
        "vae": flop(lambda: vae.encode(frame)),
        "text": float(TEXT_LAYERS * layer),
        "parameters": sum(math.prod(p.shape) for p in trunk.parameters()),
    }
