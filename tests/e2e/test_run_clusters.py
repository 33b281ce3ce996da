"""`orster run` by submitit and on Ray: the plain command's dataset, though a worker is killed.

Needs the extras `slurm` and `ray`; each test is skipped with a reason where its package is missing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from orster_cli.artifacts.store import open_artifact
from tests.helpers.cli import quiet
from tests.helpers.preparing import copies

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc"),
]
TINY = ["--frames", "4", "--resolution", "48"]
SECONDS = 600
OBJECT_STORE = 80_000_000  # bytes; Ray's least


@pytest.fixture(scope="module")
def objects(creature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every sixth of the shared objects, or copies of the creature where there are none."""
    folder = tmp_path_factory.mktemp("clusters") / "objects"
    shared = Path(os.environ.get("ORSTER_SHARED", REPOSITORY.parent / "shared")) / "data"
    found = sorted([*shared.glob("glb/*.glb"), *shared.glob("glb2/*.glb")])[::6]
    if not found:
        return copies(creature, folder, 12)
    folder.mkdir()
    for path in found:
        (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def plain(objects: Path) -> str:
    """The id of the plain command's dataset."""
    out = objects.parent / "plain"
    quiet("prepare-data", objects, "-o", out, *TINY)
    return open_artifact(out).id


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, ValueError):
        return 0


def below(pid: int, ancestors: set[int]) -> bool:
    while pid > 1:
        if pid in ancestors:
            return True
        pid = parent_of(pid)
    return False


def workers(words: str, ancestors: set[int]) -> set[int]:
    """Processes whose command line has `words`, below one of `ancestors`."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return {pid for pid in pids if words in command_of(pid) and below(pid, ancestors)}


def start(words: list[str]) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "ORSTER_NO_PROGRESS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "orster_cli", "run", "prepare-data", *words],
        env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def kill_one(running: subprocess.Popen[str], find: Callable[[], set[int]], out: Path) -> None:
    """Kill one of the processes that `find` finds, once it has rendered an object."""
    deadline = time.monotonic() + SECONDS
    while not (list(out.parent.glob(f".{out.name}.draft-*/scratch/sources/*")) and find()):
        assert running.poll() is None, running.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(min(find()), signal.SIGKILL)


def ended(running: subprocess.Popen[str]) -> str:
    said = running.communicate(timeout=SECONDS)[0]
    assert running.returncode == 0, said
    return said


@pytest.mark.skipif(find_spec("submitit") is None, reason="submitit is not installed")
@pytest.mark.parametrize("victim", ["fanout.worker", "submitit.core._submit"])
def test_submitit(objects: Path, plain: str, tmp_path: Path, victim: str) -> None:
    """Its local executor starts the jobs that it would submit. A worker of a job is killed, or a job."""
    out = tmp_path / "dataset"
    where = ["--runner", "slurm", "--slurm", "cluster=local", "--shards", "2"]
    running = start([str(objects), "-o", str(out), *where, "--", *TINY])
    kill_one(running, lambda: workers(victim, {running.pid}), out)
    ended(running)
    assert open_artifact(out).id == plain


@pytest.mark.skipif(find_spec("submitit") is None, reason="submitit is not installed")
def test_a_preempted_job_is_queued_again(objects: Path, plain: str, tmp_path: Path) -> None:
    """SIGUSR2 is what SLURM sends before it takes a job's node away."""
    out = tmp_path / "dataset"
    where = ["--runner", "slurm", "--slurm", "cluster=local", "--shards", "1"]
    running = start([str(objects), "-o", str(out), *where, "--", *TINY])
    jobs = lambda: workers("submitit.core._submit", {running.pid})  # noqa: E731
    deadline = time.monotonic() + SECONDS
    while not (list(tmp_path.glob(".dataset.draft-*/scratch/sources/*")) and jobs()):
        assert running.poll() is None, running.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(min(jobs()), signal.SIGUSR2)
    ended(running)
    assert open_artifact(out).id == plain
    logs = "".join(path.read_text() for path in tmp_path.rglob("*_log.*"))
    assert "Requeued job" in logs


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, set[int]]]:
    """A Ray cluster of two nodes of one core on this machine: its address and its two process ids."""
    if find_spec("ray") is None:
        pytest.skip("ray is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    folder = tmp_path_factory.mktemp("ray")
    ray = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block"]
    each = ["--num-cpus=1", f"--object-store-memory={OBJECT_STORE}", "--disable-usage-stats"]
    head = ["--head", f"--port={port}", "--include-dashboard=false"]
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        for number, more in enumerate((head, [f"--address={address}"])):
            # the path of a Unix socket is short
            place = Path("/tmp") / f"{folder.parent.name[-6:]}-{os.getpid()}-{number}"
            temp = [f"--temp-dir={place}"] if number == 0 else []
            with (folder / f"node-{number}.txt").open("wb") as talk:
                nodes.append(
                    subprocess.Popen(
                        [*ray, *more, *each, *temp],
                        env=environ,
                        stdout=talk,
                        stderr=talk,
                        start_new_session=True,
                    )
                )
            _wait_for_nodes(address, number + 1, folder)
        yield address, {node.pid for node in nodes}
    finally:
        for node in reversed(nodes):
            node.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(30)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)
            node.wait()


def _wait_for_nodes(address: str, count: int, folder: Path) -> None:
    code = (
        "import ray, sys; ray.init(address=sys.argv[1], logging_level='ERROR'); "
        "print(sum(node['Alive'] for node in ray.nodes()))"
    )
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        found = subprocess.run(
            [sys.executable, "-c", code, address], capture_output=True, text=True
        )
        if found.returncode == 0 and int(found.stdout.split()[-1]) >= count:
            return
        time.sleep(1)
    raise AssertionError("".join(path.read_text() for path in folder.iterdir()))


def test_ray_on_two_nodes(
    objects: Path, plain: str, tmp_path: Path, two_nodes: tuple[str, set[int]]
) -> None:
    address, nodes = two_nodes
    out = tmp_path / "dataset"
    running = start(
        [str(objects), "-o", str(out), "--runner", "ray", "--address", address, "--", *TINY]
    )
    seen: set[int] = set()

    def find() -> set[int]:
        busy = workers("ray::_perform_part", nodes)
        seen.update(node for node in nodes for pid in busy if below(pid, {node}))
        return busy

    kill_one(running, find, out)
    while running.poll() is None and seen != nodes:  # the second may begin after the kill
        find()
        time.sleep(0.05)
    ended(running)
    assert open_artifact(out).id == plain
    assert seen == nodes, "both nodes worked"
