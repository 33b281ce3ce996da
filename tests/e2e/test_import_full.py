"""VideoMV at its published size: 1.41 billion random numbers through `orster import`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import UNet3DConditionModel
from safetensors import safe_open

from orster_cli.diffusion.trunk import TrunkConfig
from orster_cli.io.sharded import SHARD_BYTES
from tests.helpers.videomv import write_videomv

REPOSITORY = Path(__file__).resolve().parents[2]
MS_1_7B = {
    "sample_size": 32, "in_channels": 4, "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2,
    "cross_attention_dim": 1024, "attention_head_dim": 64, "norm_num_groups": 32,
    "down_block_types": (*("CrossAttnDownBlock3D",) * 3, "DownBlock3D"),
    "up_block_types": ("UpBlock3D", *("CrossAttnUpBlock3D",) * 3),
}  # fmt: skip
MOST_MEMORY = 1.5 * 2**30  # bytes of our own (Python, torch and one shard); the file has 2.8e9


@pytest.fixture
def checkpoint(tmp_path: Path) -> Iterator[Path]:
    if shutil.disk_usage(tmp_path).free < 8 * 10**9:
        pytest.skip("needs 8 GB of disk")
    yield write_videomv(tmp_path / "t2v_00333000.pth", TrunkConfig(), dtype=torch.float16)
    shutil.rmtree(tmp_path)


def memory(process: int) -> dict[str, int]:
    """Bytes that a process holds now: its own (`RssAnon`), and with the pages of mapped files (`VmRSS`)."""
    status = Path(f"/proc/{process}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return {n: int(fields[n].split()[0]) * 1024 for n in ("RssAnon", "VmRSS") if n in fields}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads memory from /proc")
def test_the_full_size_is_imported_in_bounded_memory(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = checkpoint.with_name("videomv")
    command = [sys.executable, "-m", "orster_cli", "import", "videomv", str(checkpoint)]
    started = time.monotonic()
    run = subprocess.Popen(
        [*command, "-o", str(out), "--json", "-q"], stdout=subprocess.PIPE, cwd=REPOSITORY
    )
    peak = {"RssAnon": 0, "VmRSS": 0}
    while run.poll() is None:
        for name, value in memory(run.pid).items():
            peak[name] = max(peak[name], value)
        time.sleep(0.02)
    assert run.returncode == 0
    assert run.stdout is not None
    said = json.loads(run.stdout.read())
    found: dict[str, tuple[int, ...]] = {}
    for path in [*(out / "unet").glob("*.safetensors"), *(out / "std4d").glob("*.safetensors")]:
        with safe_open(path, framework="pt") as handle:
            for name in handle.keys():  # noqa: SIM118
                found[name] = tuple(handle.get_slice(name).get_shape())
            assert path.stat().st_size < SHARD_BYTES + 10**5 or len(handle.keys()) == 1
    with torch.device("meta"):
        theirs = UNet3DConditionModel(**MS_1_7B).state_dict()
    unet = {n: tuple(v.shape) for n, v in theirs.items()}
    cameras = {n: s for n, s in found.items() if n.startswith("camera_embedding.")}
    assert {n: s for n, s in found.items() if n in unet} == unet
    assert cameras == {
        "camera_embedding.linear_1.weight": (1280, 16),
        "camera_embedding.linear_1.bias": (1280,),
        "camera_embedding.linear_2.weight": (1280, 1280),
        "camera_embedding.linear_2.bias": (1280,),
    }
    count = sum(v.numel() for v in theirs.values()) + 16 * 1280 + 1280**2 + 2 * 1280
    assert (said["tensors"], said["parameters"]) == (len(unet) + 4, count)
    assert (len(unet) + 4, count) == (1484, 1_412_895_300)
    with capsys.disabled():
        print(
            f"\nimported {count:,} parameters in {time.monotonic() - started:.0f} s, peak "
            f"{peak['RssAnon'] / 2**20:.0f} MiB of its own, {peak['VmRSS'] / 2**20:.0f} MiB with the "
            "mapped file"
        )
    assert peak["RssAnon"] < MOST_MEMORY
