"""The backbones at their published sizes: billions of random numbers through `orster import`."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from orster_cli.diffusion.trunk_config import TrunkConfig
from orster_cli.io.sharded import SHARD_BYTES
from tests.helpers import full_size
from tests.helpers.full_size import run_watched
from tests.helpers.videomv import write_videomv

REPOSITORY = Path(__file__).resolve().parents[2]
MS_1_7B = {
    "sample_size": 32, "in_channels": 4, "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2,
    "cross_attention_dim": 1024, "attention_head_dim": 64, "norm_num_groups": 32,
    "down_block_types": (*("CrossAttnDownBlock3D",) * 3, "DownBlock3D"),
    "up_block_types": ("UpBlock3D", *("CrossAttnUpBlock3D",) * 3),
}  # fmt: skip
COUNTS = {
    False: (1484, 1_412_895_300),
    True: (1515, 1_422_130_664),
}  # with images: tensors, numbers
MOST_MEMORY = (
    1.0 * 2**30
)  # bytes of our own: Python, torch and a shard; the files have 2.8e9 to 6.8e9


@pytest.fixture(params=["t2v_00333000.pth", "i2v_00882000.pth"])
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if shutil.disk_usage(tmp_path).free < 8 * 10**9:
        pytest.skip("needs 8 GB of disk")
    config = TrunkConfig(in_channels=8 if request.param.startswith("i2v") else 4)
    yield write_videomv(tmp_path / request.param, config, dtype=torch.float16)
    shutil.rmtree(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads memory from /proc")
def test_the_full_size_is_imported_in_bounded_memory(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from diffusers import I2VGenXLUNet, UNet3DConditionModel

    out = checkpoint.with_name("videomv")
    command = [sys.executable, "-m", "orster_cli", "import", "videomv", str(checkpoint)]
    said, peak, seconds = run_watched([*command, "-o", str(out), "--json", "-q"], REPOSITORY)
    found: dict[str, tuple[int, ...]] = {}
    for path in [*(out / "unet").glob("*.safetensors"), *(out / "std4d").glob("*.safetensors")]:
        with safe_open(path, framework="pt") as handle:
            for name in handle.keys():  # noqa: SIM118
                found[name] = tuple(handle.get_slice(name).get_shape())
            assert path.stat().st_size < SHARD_BYTES + 10**5 or len(handle.keys()) == 1
    images = checkpoint.name.startswith("i2v")
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = (I2VGenXLUNet if images else UNet3DConditionModel)(**MS_1_7B).state_dict()
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
    assert (len(unet) + 4, count) == COUNTS[images]
    assert said["branch"] == ("image" if images else "text")
    with capsys.disabled():
        print(
            f"\nimported {count:,} parameters in {seconds:.0f} s, peak "
            f"{peak['RssAnon'] / 2**20:.0f} MiB of its own, {peak['VmRSS'] / 2**20:.0f} MiB with the "
            "mapped file"
        )
    assert peak["RssAnon"] < MOST_MEMORY


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads memory from /proc")
@pytest.mark.parametrize("name", ["modelscope", "i2vgen-xl"])
def test_a_whole_pipeline_is_imported_in_bounded_memory(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """UNet, text encoder, frame VAE, and CLIP's vision tower, none of which is ever whole in memory."""
    if shutil.disk_usage(tmp_path).free < 16 * 10**9:
        pytest.skip("needs 16 GB of disk")
    write = {
        "modelscope": full_size.modelscope_folder,
        "i2vgen-xl": full_size.i2vgen_folder,
    }[name]
    source, out = write(tmp_path / "published"), tmp_path / "model"
    command = [sys.executable, "-m", "orster_cli", "import", name, str(source)]
    said, peak, seconds = run_watched([*command, "-o", str(out), "--json", "-q"], REPOSITORY)
    read, written = (
        sum(p.stat().st_size for p in folder.rglob("*.safetensors")) for folder in (source, out)
    )
    with capsys.disabled():
        print(
            f"\n{name}: {said['parameters']:,} parameters of the UNet, {read / 1e9:.1f} GB in all, in "
            f"{seconds:.0f} s, peak {peak['RssAnon'] / 2**20:.0f} MiB of its own"
        )
    last_layer = 4 * 12_596_224 if name == "i2vgen-xl" else 0  # of the text encoder: not read
    assert abs(written - (read - last_layer)) < 0.02 * read
    shutil.rmtree(tmp_path)
    assert peak["RssAnon"] < MOST_MEMORY
