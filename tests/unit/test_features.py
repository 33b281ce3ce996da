"""Networks at hand or not, and their answers kept by content."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from orster_cli.artifacts.hashing import hash_file
from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.core.errors import InputError, MissingResourceError
from orster_cli.diagnosis.published_weights import list_weights
from orster_cli.diffusion.encoders import save_encoder
from orster_cli.diffusion.mini_encoder import new_mini
from orster_cli.evaluation import networks
from orster_cli.evaluation.features import Features
from orster_cli.evaluation.networks import Networks
from orster_cli.io.images import square
from tests.helpers.clip_models import clip_folder, in_torchs_format

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_folder(tmp_path_factory.mktemp("clip") / "clip", both=True)


def _frames(seed: int, count: int = 3) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_clip_from_a_folder_gives_unit_vectors_of_one_space(clip: Path) -> None:
    cfg = EvaluateConfig(clip=str(clip))
    found = Networks(["clip"], cfg, CPU)
    assert found.missing == {}
    assert found.sources["clip"].about == "CLIP clip"
    images, text = found.images("clip", _frames(0)), found.text("clip", "a frog")
    assert images.shape == (3, 10)
    assert torch.allclose(images.norm(dim=-1), torch.ones(3), atol=1e-5)
    assert float(text.norm()) == pytest.approx(1, abs=1e-5)
    assert float((images @ text).abs().max()) <= 1


@pytest.mark.parametrize("key", ["clip", "mini"])
def test_frames_that_are_not_square_are_seen_as_the_condition_is(
    key: str, clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "encoder").mkdir()
    save_encoder(new_mini(16, 0), tmp_path / "encoder")
    found = Networks([key], EvaluateConfig(clip=str(clip), encoder=str(tmp_path)), CPU)
    wide = _frames(0)[:, :, 8:20]
    seen = torch.stack([square(frame, 32) for frame in wide])
    torch.testing.assert_close(found.images(key, wide), found.images(key, seen))
    squeezed = found.get(key).image(wide).pooled
    assert not torch.allclose(found.images(key, wide), squeezed, atol=1e-3)
    whole = _frames(1)
    assert torch.equal(found.images(key, whole), found.get(key).image(whole).pooled)


def test_the_digest_is_that_of_the_weights(clip: Path, tmp_path: Path) -> None:
    one = networks.clip(EvaluateConfig(clip=str(clip))).sha256
    assert one == networks.clip(EvaluateConfig(clip=str(clip))).sha256
    other = tmp_path / "other"
    other.mkdir()
    data = bytearray((clip / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (other / "model.safetensors").write_bytes(data)
    assert networks.clip(EvaluateConfig(clip=str(other))).sha256 != one


def test_the_digest_is_of_the_file_that_is_loaded(clip: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip, tmp_path / "clip")
    (folder / "open_clip_model.safetensors").write_bytes(b"another library's")
    assert (
        networks.clip(EvaluateConfig(clip=str(folder))).sha256
        == hash_file(clip / "model.safetensors")[0]
    )


def _cached(clip: Path, hub: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default CLIP's snapshot in the hub's cache at `hub`, in torch's own format."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    commit, repository = "3d" * 20, f"models--{EvaluateConfig().clip.replace('/', '--')}"
    (hub / repository / "refs").mkdir(parents=True)
    (hub / repository / "refs" / "main").write_text(commit)
    return in_torchs_format(shutil.copytree(clip, hub / repository / "snapshots" / commit))


def test_the_default_clip_is_published_in_torchs_own_format(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = _cached(clip, tmp_path, monkeypatch)
    found = Networks(["clip"], EvaluateConfig(), CPU)
    assert found.missing == {}
    assert found.sources["clip"].sha256 == hash_file(snapshot / "pytorch_model.bin")[0]
    same = Networks(["clip"], EvaluateConfig(clip=str(clip)), CPU)
    frames = _frames(0)
    torch.testing.assert_close(found.images("clip", frames), same.images("clip", frames))
    torch.testing.assert_close(found.text("clip", "a frog"), same.text("clip", "a frog"))
    [row] = [row for row in list_weights(tmp_path) if row.name == EvaluateConfig().clip]
    assert row.path == snapshot


def test_a_clip_without_weights_to_load_leaves_the_other_metrics(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = _cached(clip, tmp_path, monkeypatch)
    (snapshot / "pytorch_model.bin").unlink()
    found = Networks(["clip"], EvaluateConfig(), CPU)
    assert "neither model.safetensors nor pytorch_model.bin" in str(found.missing["clip"])
    assert f"hf download {EvaluateConfig().clip}" in str(found.missing["clip"].hint)
    with pytest.raises(InputError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        Networks(["clip"], EvaluateConfig(clip=str(snapshot)), CPU)


def test_an_encoder_of_our_own(tmp_path: Path) -> None:
    folder = tmp_path / "model" / "encoder"
    folder.mkdir(parents=True)
    save_encoder(new_mini(16, 0), folder)
    found = Networks(["mini"], EvaluateConfig(encoder=str(tmp_path / "model")), CPU)
    assert found.images("mini", _frames(0)).shape == (3, 16)
    with pytest.raises(InputError, match="expected a model with an encoder"):
        Networks(["mini"], EvaluateConfig(encoder=str(tmp_path)), CPU)


def test_what_is_not_at_hand_is_said_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    cfg = EvaluateConfig(clip="nobody/no-such-clip")
    found = Networks(["clip", "lpips"], cfg, CPU)
    assert found.sources == {}
    assert "nobody/no-such-clip is not on this machine" in str(found.missing["clip"])
    assert "hf download nobody/no-such-clip" in str(found.missing["clip"].hint)
    assert isinstance(found.missing["lpips"], MissingResourceError)
    with pytest.raises(InputError, match="no such file of weights"):
        Networks(["i3d"], EvaluateConfig(i3d=str(tmp_path / "i3d.ckpt")), CPU)


class Counting(Networks):
    """How often a network is really asked."""

    asked = 0

    def images(self, key: str, frames: Tensor) -> Tensor:
        self.asked += 1
        return super().images(key, frames)


class Tall(Networks):
    """Stands where I3D does: a clip's length and mean."""

    asked: tuple[int, ...] = ()

    def videos(self, clips: Sequence[Tensor]) -> Tensor:
        assert len({clip.shape for clip in clips}) == 1
        self.asked = (*self.asked, len(clips))
        return torch.stack([torch.tensor([len(c), float(c.mean())]) for c in clips])


def test_several_clips_come_back_in_their_order_and_only_new_ones_are_looked_at(
    tmp_path: Path,
) -> None:
    found = Tall([], EvaluateConfig(), CPU)
    found.sources["i3d"] = networks.NetworkSource(about="", sha256="0", load=lambda: None)
    features = Features(found, tmp_path)
    clips = [_frames(0), _frames(1, count=5), _frames(2), _frames(3, count=5)]
    rows = features.videos(clips)
    assert rows[:, 0].tolist() == [3, 5, 3, 5]
    assert rows[:, 1].tolist() == pytest.approx([float(c.mean()) for c in clips])
    assert found.asked == (2, 2)  # one shape at a time
    assert torch.equal(features.videos([clips[3], _frames(4), clips[0]])[[0, 2]], rows[[3, 0]])
    assert found.asked == (2, 2, 1)


def test_answers_are_kept_by_content(clip: Path, tmp_path: Path) -> None:
    cfg = EvaluateConfig(clip=str(clip))
    found = Counting(["clip"], cfg, CPU)
    features = Features(found, tmp_path / "kept")
    first = features.images("clip", _frames(0))
    assert torch.equal(features.images("clip", _frames(0)), first)
    assert found.asked == 1
    features.images("clip", _frames(1))
    assert found.asked == 2
    again = Counting(["clip"], cfg, CPU)  # another process
    assert torch.equal(Features(again, tmp_path / "kept").images("clip", _frames(0)), first)
    assert again.asked == 0
    Features(again, None).images("clip", _frames(0))
    assert again.asked == 1


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"no array"])
def test_a_damaged_answer_is_computed_again(damage: bytes, clip: Path, tmp_path: Path) -> None:
    found = Counting(["clip"], EvaluateConfig(clip=str(clip)), CPU)
    features = Features(found, tmp_path)
    first = features.images("clip", _frames(0))
    (path,) = tmp_path.rglob("*.npy")
    path.write_bytes(damage)
    assert torch.equal(features.images("clip", _frames(0)), first)
    assert found.asked == 2
    assert torch.equal(features.images("clip", _frames(0)), first)
    assert found.asked == 2
    assert not list(tmp_path.rglob("*.tmp"))


def test_other_weights_have_other_answers(clip: Path, tmp_path: Path) -> None:
    cfg = EvaluateConfig(clip=str(clip))
    found = Counting(["clip"], cfg, CPU)
    Features(found, tmp_path).images("clip", _frames(0))
    found.sources["clip"] = replace(found.sources["clip"], sha256="0" * 64)
    Features(found, tmp_path).images("clip", _frames(0))
    assert found.asked == 2


def test_short_clips_are_long_enough_where_each_frame_is_held(tmp_path: Path) -> None:
    clip = _frames(0, count=5)
    rows = []
    for hold in (1, 2):
        found = Networks([], EvaluateConfig(hold=hold), CPU)
        found.sources["i3d"] = networks.NetworkSource(about="", sha256="0", load=lambda: _Seen())
        rows.append(Features(found, tmp_path).videos([clip])[0])  # one memory for both
        assert torch.equal(Features(found, tmp_path).videos([clip])[0], rows[-1])
    assert torch.allclose(rows[0], clip.mean(dim=(1, 2, 3)) * 2 - 1, atol=1e-5)
    assert torch.equal(rows[1], rows[0].repeat_interleave(2))


class _Seen(torch.nn.Module):
    """Stands where I3D does: the brightness of each frame that it is shown."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.mean(dim=(1, 3, 4))
