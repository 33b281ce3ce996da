"""How many workers a machine gets, and what each of them may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from orster_cli.core.errors import ConfigError
from orster_cli.fanout import budget
from orster_cli.fanout.budget import Budget, local_budget, parse_gpus, parse_memory


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "cores", lambda: 8)
    monkeypatch.setattr(budget, "free_bytes", lambda: 10 << 30)


@pytest.mark.parametrize(
    ("given", "workers"),
    [
        ({}, 8),
        ({"threads": 3}, 2),
        ({"threads": 16}, 1),
        ({"workers": 5}, 5),
        ({"gpus": ("0", "1")}, 2),
        ({"gpus": ("0", "1"), "per_gpu": 3}, 6),
        ({"memory": 3 << 30}, 3),
        ({"memory": 30 << 30}, 1),
        ({"workers": 2, "memory": 3 << 30}, 2),
    ],
)
def test_workers(given: dict[str, object], workers: int) -> None:
    values = {"workers": None, "threads": 1, "memory": 0, "gpus": (), "per_gpu": 1, **given}
    found, note = local_budget(**values)  # type: ignore[arg-type]
    assert found.workers == workers
    assert bool(note) == (given.get("memory", 0) != 0 and "workers" not in given)


def test_each_worker_has_its_gpu_and_threads() -> None:
    found = Budget(workers=4, threads=2, gpus=("0", "GPU-5"))
    assert [found.environ(i)["CUDA_VISIBLE_DEVICES"] for i in range(4)] == ["0", "GPU-5"] * 2
    assert found.environ(0)["NUMBA_NUM_THREADS"] == found.environ(0)["OMP_NUM_THREADS"] == "2"
    assert "CUDA_VISIBLE_DEVICES" not in Budget().environ(0)  # the worker's own stay


def test_workers_without_gpus_see_none() -> None:
    values = {"workers": 2, "threads": 1, "memory": 0, "per_gpu": 1}
    none, _ = local_budget(**values, gpus=parse_gpus("none", "0,1"))
    assert [none.environ(i)["CUDA_VISIBLE_DEVICES"] for i in range(2)] == ["", ""]


def test_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert parse_gpus("none", "0,1") == ()
    assert parse_gpus("auto", "2,3") == ("2", "3")
    assert parse_gpus("auto", "") == parse_gpus("auto", "-1") == ()
    assert parse_gpus("0, 2", None) == ("0", "2")
    monkeypatch.setattr(budget, "_NVIDIA", tmp_path / "none")
    assert parse_gpus("auto", None) is None
    with pytest.raises(ConfigError):
        parse_gpus("0,,1", None)


def test_memory() -> None:
    assert parse_memory(None) == 0
    assert parse_memory("8") == parse_memory("8GiB") == 8 << 30
    assert parse_memory("8GB") == parse_memory("8 G") == 8 * 10**9
    assert parse_memory("1.5T") == 1.5e12
    for text in ("x", "", "-1", "0", "8QB"):
        with pytest.raises(ConfigError, match="--memory"):
            parse_memory(text)
