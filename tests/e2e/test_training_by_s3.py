"""Trainings whose dataset is in a bucket of S3: the folder's models. moto's server stands for the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orster_cli.artifacts.store import open_artifact
from tests.helpers.chain import CHAIN, SETTINGS, paths_below
from tests.helpers.cli import orster

pytest.importorskip("s3fs", reason="s3fs is not installed")
moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
pytestmark = pytest.mark.slow
BUCKET = "a-bucket"


@pytest.fixture(scope="module")
def bucket(chain: Path) -> Iterator[str]:
    """The URL of the chain's dataset."""
    import s3fs

    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        store = s3fs.S3FileSystem()
        store.mkdir(BUCKET)
        store.put(str(chain / "dataset"), f"{BUCKET}/some/dataset", recursive=True)
        yield f"s3://{BUCKET}/some/dataset"
    server.stop()


@pytest.mark.parametrize("name", ["vae", "encoder", "3d", "aligned"])
def test_a_bucket_gives_the_model_of_the_folder(
    name: str, bucket: str, chain: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)  # samples are kept in the current folder
    line = dict(CHAIN)[name].replace("@dataset", bucket)
    words = [*paths_below(chain, line.split()), "-o", str(tmp_path / name), "--device", "cpu"]
    said = orster(capsys, *words, "-c", chain / SETTINGS, "--json")
    assert said.code == 0, said.err
    assert open_artifact(tmp_path / name).id == open_artifact(chain / name).id
