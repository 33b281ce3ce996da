"""What a very large dataset does otherwise than a small one: long lists lie in files of their own,
pictures of all clips become pictures of some, captions that do not fit are encoded again. The limits
are lowered here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from orster_cli.artifacts import hashing
from orster_cli.artifacts.hashing import hash_file, hash_files, in_threads
from orster_cli.artifacts.store import open_artifact
from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Silent
from orster_cli.dataset import contact_sheet, drops
from orster_cli.dataset.caption_rows import row_names
from orster_cli.dataset.contact_sheet import ROWS, SheetRow, write_sheets
from orster_cli.dataset.drops import read_dropped
from orster_cli.dataset.reader import Dataset
from orster_cli.dataset.sources import find_sources
from orster_cli.diffusion.encoded import Encoded
from orster_cli.diffusion.mini_encoder import MiniEncoder, new_mini
from orster_cli.inputs import prepare_plan
from orster_cli.training import training_data
from orster_cli.training.data_memory import DataMemory
from orster_cli.training.text_table import TextTable
from orster_cli.training.training_data import Source
from tests.helpers.cli import orster
from tests.helpers.preparing import copies
from tests.helpers.recording import Recorder

CPU = torch.device("cpu")
TINY = ["--frames", "4", "--resolution", "24", "--set", "prepare.supersample=1"]
Capture = pytest.CaptureFixture[str]


def test_long_lists_lie_beside_the_manifest(
    creature: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drops, "MOST", 1)
    monkeypatch.setattr(prepare_plan, "MOST_INPUTS", 1)
    objects = copies(creature, tmp_path / "objects", 1)
    for k in range(3):
        (objects / f"broken{k}.glb").write_bytes(b"nothing")
    out = tmp_path / "out"
    said = orster(capsys, "prepare-data", objects, "-o", out, *TINY)
    assert said.code == 0, said.err
    assert "3 dropped: 3 cannot be read" in said.err + said.out
    made = open_artifact(out)
    assert made.verify(Silent()) == []
    listed = out / prepare_plan.INPUTS
    (one,) = made.manifest.inputs
    assert (one.name, (one.sha256, one.size)) == (listed.name, hash_file(listed))
    files = [json.loads(line) for line in listed.read_text().splitlines()]
    names = [f"broken{k}.glb" for k in range(3)] + ["pet0.glb"]
    assert [file["name"] for file in files] == names
    assert files[-1]["sha256"] == hashlib.sha256(creature.read_bytes()).hexdigest()
    assert made.content["dropped"] == []
    gone = list(read_dropped(out, made.content))
    assert [one["source"] for one in gone] == names[:3]
    shown = orster(capsys, "show", out).out
    assert "dropped.jsonl" in shown
    assert "dropped: none" not in shown
    again = orster(capsys, "prepare-data", objects, "-o", out, *TINY)
    assert "up to date" in again.err + again.out
    (objects / "broken1.glb").write_bytes(b"changed")
    assert orster(capsys, "prepare-data", objects, "-o", out, *TINY).code == 6
    # what was merged of it has all of them too, in the form that fits
    monkeypatch.setattr(drops, "MOST", 10)
    assert orster(capsys, "prepare-data", "--merge", out, "-o", tmp_path / "merged").code == 0
    merged = open_artifact(tmp_path / "merged")
    assert merged.content["dropped"] == gone
    assert "dropped_file" not in merged.content
    (out / "dropped.jsonl").write_text('{"key": "x"}\n')
    with pytest.raises(
        InputError, match=r"dropped\.jsonl, line 1: expected a clip with its reason"
    ):
        list(read_dropped(out, made.content))


def test_names_of_equal_files_are_their_paths(tmp_path: Path) -> None:
    for name in ("a/scene.gltf", "b/scene.gltf", "b/frog.glb"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert row_names(find_sources([tmp_path])) == ["a/scene.gltf", "frog.glb", "b/scene.gltf"]


def test_sheets_of_very_many_clips_show_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheet, "MOST_PAGES", 2)
    Image.new("RGB", (96 * 8, 96), "red").save(tmp_path / "strip.png")
    drawn: list[str] = []

    def rows(count: int) -> Sequence[SheetRow]:
        drawn.clear()
        shown = sorted(contact_sheet.shown_of(count))
        return [SheetRow(strip=tmp_path / "strip.png", record={"key": f"{k}"}) for k in shown]

    real = contact_sheet._draw

    def draw(page: list[SheetRow]) -> Image.Image:
        drawn.extend(row.record["key"] for row in page)
        return real(page)

    monkeypatch.setattr(contact_sheet, "_draw", draw)
    assert len(write_sheets(tmp_path, rows(ROWS + 1))) == 2
    assert len(drawn) == ROWS + 1
    assert len(write_sheets(tmp_path, rows(10 * ROWS))) == 2
    assert drawn == [str(5 * k) for k in range(2 * ROWS)]


def test_files_are_hashed_by_threads_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "THREADS", 3)
    names = [f"{k:02d}" for k in range(40)]
    for k, name in enumerate(names):
        (tmp_path / name).write_bytes(bytes([k]) * (1000 * (40 - k)))
    alone = list(hash_files(tmp_path, names, Silent(), stage="hash"))
    monkeypatch.setattr(hashing, "LITTLE", 0)
    steps: list[int] = []

    class Steps(Silent):
        def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
            steps.append(done)

    assert list(hash_files(tmp_path, names, Steps(), stage="hash")) == alone
    assert steps == sorted(steps)
    assert len(steps) == len(names)
    (tmp_path / "07").unlink()
    found = in_threads(lambda name: hash_file(tmp_path / name)[1], names)
    with pytest.raises(FileNotFoundError):
        list(found)


class Counting(MiniEncoder):
    """Counts the texts that it encodes."""

    asked = 0

    def text(self, texts: Sequence[str]) -> Encoded:
        self.asked += len(texts)
        return super().text(texts)


def test_captions_that_do_not_fit_are_encoded_again() -> None:
    texts = [f"a frog that hops {'far ' * k}" for k in range(12)]
    encoder = Counting(16)
    encoder.load_state_dict(new_mini(16, 0).state_dict())
    few, all_of_them = TextTable(encoder, CPU, CPU, most=4), TextTable(encoder, CPU, CPU)
    for first in (0, 2, 4, 6, 8, 0, 8):
        some = ["", *texts[first : first + 3], texts[first]]
        one, two = few.of(some), all_of_them.of(some)
        assert torch.equal(one.tokens, two.tokens)
        assert torch.equal(one.pooled, two.pooled)
        assert len(few) <= 5
        assert len(few._tokens) <= 5
    assert torch.equal(few.of(texts).tokens, all_of_them.of(texts).tokens)  # more than it keeps
    before = encoder.asked
    few.of(texts[:4])
    few.of(texts[:4])
    assert encoder.asked == before + 4
    assert torch.equal(few.of([""]).tokens, few.empty.tokens)


@pytest.mark.parametrize("share", [0.5, 1e-9])
def test_a_table_of_captions_takes_its_share_of_memory(
    share: float, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_data, "CHUNK", 1)
    said = Recorder()
    source = Source(
        dataset=Dataset.read(tiny_dataset),
        id="x",
        device=CPU,
        reporter=said,
        stop=None,  # type: ignore[arg-type]
    )
    memory = DataMemory(CPU, share)
    table = training_data._texts(source, new_mini(16, 0), memory)
    captions = {text for texts in source.dataset.texts().values() for text in texts}
    if share == 0.5:
        assert len(table) == len(captions) + 1
    else:
        assert table.most == 1
        assert len(table) == 1
        assert "encoded for each batch" in said.lines[0]
    assert len(table.of(sorted(captions)).tokens) == len(captions)
