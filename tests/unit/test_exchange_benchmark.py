"""The benchmark of an exchanged Z^T: its pairs, its sampling and its page."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import exchange
from benchmarks.exchange import ALONE, EXCHANGED, OWN, Pair, Shown, exchanged, pairs
from orster_cli.core.errors import ConfigError
from orster_cli.dataset.reader import INDEX, Dataset
from orster_cli.diffusion.bundle import save_bundle
from orster_cli.diffusion.conditions import Conditions, with_object
from orster_cli.diffusion.schedule import NoiseSchedule
from tests.helpers.training import CONFIG, bundle, merged

WALK, WAVE = "creature-00", "creature-01"


class TwinDataset(Dataset):
    """A dataset whose samples `twin-...` are those of the creature in its shards."""

    def _read(self, key: str, prefix: str) -> dict[str, bytes]:
        return super()._read(key.replace("twin", "creature"), prefix)


@pytest.fixture(scope="module")
def both(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same clips as those of another object."""
    place = shutil.copytree(tiny_dataset, tmp_path_factory.mktemp("pair") / "both")
    index = json.loads((place / INDEX).read_text())
    for sample in list(index["samples"]):
        twin = sample["key"].replace("creature", "twin")
        index["samples"].append(sample | {"key": twin, "source": "twin.glb"})
    (place / INDEX).write_text(json.dumps(index))
    return place


def test_a_pair_is_of_two_objects_and_has_its_truth(tiny_dataset: Path, both: Path) -> None:
    alone, twins = Dataset.open(tiny_dataset), TwinDataset.read(both)
    assert pairs(alone, alone) == []  # one object
    found = pairs(twins, twins)
    assert Pair(WALK, "twin-01", WAVE) in found
    assert len(found) == 4
    assert {pair.truth for pair in pairs(twins, alone)} == {WALK, WAVE}
    assert pairs(alone, twins) == []  # B is of the dataset that is shown, not of the truths


@dataclass
class _Knows:
    """A perfect model of Z^T: from two noisy clips of the same noise, the first without signal, it tells
    what the second one shows."""

    schedule: NoiseSchedule

    asked: list[float] = field(default_factory=list)  # shares of the signal where it had two clips

    def __call__(
        self, z: Tensor, at: Tensor, cond: Conditions, sources: tuple[Tensor, Tensor] | None
    ) -> Any:
        share = self.schedule.alphas_cumprod[at].float().view(-1, 1, 1, 1, 1)
        if sources is None:
            return SimpleNamespace(prediction=torch.zeros_like(z))
        self.asked.append(float(share))
        signal, noise = share.sqrt(), (1 - share).sqrt()
        clean = (sources[1] - sources[0]) / signal
        return SimpleNamespace(prediction=(z - signal * clean) / noise)


def test_sampling_ends_with_what_the_temporal_clip_shows() -> None:
    whole = bundle("4d", CONFIG)
    draw = torch.Generator().manual_seed(0)
    z, noise = (torch.randn(4, 4, 4, 4, generator=draw) for _ in range(2))
    frames, w2c = torch.zeros(4, 3, 16, 16), torch.zeros(4, 4, 4)
    nothing = Shown(frames, torch.zeros_like(z), torch.zeros_like(z), w2c)
    clip = Shown(frames, z, torch.zeros_like(z), w2c)
    cond = with_object(Conditions(), torch.zeros_like(z)[None])
    plain = NoiseSchedule(set_alpha_to_one=True)  # no noise is left at the end
    knows = SimpleNamespace(std4d=_Knows(plain), schedule=plain, facts=whole.facts)
    found = exchanged(knows, noise[None], cond, (nothing, clip), steps=5)  # type: ignore[arg-type]
    torch.testing.assert_close(found[0], z, atol=1e-3, rtol=1e-3)
    every, knows.std4d = knows.std4d.asked, _Knows(plain)
    both = (nothing, clip)
    exchanged(knows, noise[None], cond, both, steps=5, until=0.5)  # type: ignore[arg-type]
    assert knows.std4d.asked == [share for share in every if share < 0.5]
    assert 0 < len(knows.std4d.asked) < len(every) == 5


@pytest.mark.slow
def test_the_page(both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "Dataset", TwinDataset)
    monkeypatch.setattr(TwinDataset, "open", TwinDataset.read)
    save_bundle(bundle("4d", CONFIG), tmp_path / "model")
    page = tmp_path / "page.md"
    more = ["--dataset", str(both), "--seeds", "2", "--steps", "2", "--out", str(page)]
    exchange.main(["--model", str(tmp_path / "model"), *more])
    with_object = page.read_text()
    apart = ["--truths", str(both), "--without-object", "--until", "0.5"]
    exchange.main(["--model", str(tmp_path / "model"), *more, *apart])
    text = page.read_text()
    assert "given the object at rest" in with_object
    assert "given nothing else" in text
    assert "less than 50% of the variance" in text
    assert EXCHANGED in text
    assert OWN in text
    assert ALONE in text
    assert "4 pairs of 2 objects" in text
    assert "nan" not in text
    assert page.with_suffix(".png").is_file()
    save_bundle(merged("4d"), tmp_path / "merged")
    with pytest.raises(ConfigError, match="does not split"):
        exchange.main(["--model", str(tmp_path / "merged"), *more])


def test_other_numbers_of_frames_are_refused(both: Path) -> None:
    whole = bundle("4d", CONFIG)
    sampler = SimpleNamespace(
        bundle=replace(whole, facts=replace(whole.facts, frames=2)),
        device=torch.device("cpu"),
        cfg=None,
    )
    data = TwinDataset.read(both)
    work = exchange.Exchange(sampler, data, data)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="prepare it with 2 frames"):
        work.read(data, WALK)
