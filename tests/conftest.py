"""Fixtures of every kind of test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# before torch is imported: at tests' sizes a second thread only waits, and must not spin
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from tests.helpers.no_network import refuse_connections
from tests.helpers.processor_time import ProcessorTime
from tests.helpers.sharing import shared_folder
from tests.helpers.starts import stop_server

REPOSITORY = Path(__file__).resolve().parent.parent
refuse_connections()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes")
    parser.addoption(
        "--slowest",
        type=int,
        default=0,
        metavar="N",
        help="print the N that take most processor time",
    )


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.register_profile("fast", max_examples=25, deadline=None)
    hypothesis.settings.register_profile("slow", max_examples=300, deadline=None)
    hypothesis.settings.load_profile("slow" if config.getoption("--slow") else "fast")
    if shown := config.getoption("--slowest"):
        config.pluginmanager.register(ProcessorTime(shown, config), "processor_time")


def pytest_sessionfinish() -> None:
    stop_server()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes: run with --slow"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository (or ORSTER_SHARED); skips without it."""
    root = Path(os.environ.get("ORSTER_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not root.is_dir():
        pytest.skip(f"no shared data at {root}")
    return root


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of inputs as people report them, beside the repository; skips without it."""
    root = Path(os.environ.get("ORSTER_SHARED", REPOSITORY.parent / "shared")) / "cases"
    if not root.is_dir():
        pytest.skip(f"no cases at {root}")
    return root


@pytest.fixture(scope="session")
def creature() -> Path:
    """The example's animated object."""
    return REPOSITORY / "examples" / "creature.glb"


@pytest.fixture(scope="session")
def tiny_dataset(creature: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A dataset artifact of the creature's two clips: 4 frames of 16 pixels. Each worker has its own
    copy, since training keeps latents beside it."""
    from tests.helpers.training import dataset

    def make(folder: Path) -> None:
        dataset(creature, folder / "dataset")

    for folder in shared_folder(tmp_path_factory, "tiny_dataset", make):
        own = tmp_path_factory.mktemp("tiny") / "dataset"
        yield shutil.copytree(folder / "dataset", own)


@pytest.fixture(scope="session")
def tiny_family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of the tiny teachers `3d` and `video`, which share a frame VAE and an encoder."""
    from tests.helpers.training import save_teachers

    yield from shared_folder(tmp_path_factory, "tiny_family", save_teachers)


@pytest.fixture(scope="session")
def chain(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tiny dataset and every model that the training commands make of it, in a row."""
    from tests.helpers.chain import make_chain

    def make(folder: Path) -> None:
        make_chain(tiny_dataset, folder)

    yield from shared_folder(tmp_path_factory, "chain", make)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package as it is published, built without a network from a copy of the sources."""
    from tests.helpers.wheels import build_wheel

    for folder in shared_folder(tmp_path_factory, "wheel", build_wheel):
        yield next(folder.glob("*.whl"))


@pytest.fixture
def new_accelerator() -> Iterator[None]:
    """A process has one accelerator, of one precision: before and after a test there is none."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
