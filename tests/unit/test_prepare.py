"""From objects to a dataset: what is kept, what is dropped and why, what lies where."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orster_cli.core.errors import (
    ConfigError,
    ConflictError,
    InputError,
    IntegrityError,
    MissingResourceError,
    Preempted,
)
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.dataset.captions import Caption
from orster_cli.dataset.curation import CONSISTENT4D_TEST_IDS
from orster_cli.dataset.merge import Part, merge
from orster_cli.dataset.prepare import prepare
from orster_cli.dataset.reader import Dataset
from orster_cli.dataset.sources import find_sources
from orster_cli.dataset.views import render_views
from orster_cli.gltf.load import load_gltf
from tests.helpers.glb import Glb
from tests.helpers.preparing import TINY, copies, digests, run


@pytest.fixture(scope="module")
def prepared(creature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of four samples from two files."""
    root = tmp_path_factory.mktemp("prepared")
    run(copies(creature, root / "objects", 2), root, eval_views=2)
    return root


def test_the_dataset_gives_back_what_was_rendered(prepared: Path, creature: Path) -> None:
    dataset = Dataset.read(prepared / "out")
    assert dataset.keys() == ["pet0-00", "pet0-01", "pet1-00", "pet1-01"]
    info = dataset.info("pet1-01")
    assert (info["source"], info["clip"], info["clip_name"]) == ("pet1.glb", 1, "hop")
    assert dataset.licences("pet1-01") == ["CC0 1.0"]
    assert info["frames"] == {"dynamic": 4, "static": 4, "front": 4, "eval": 4}
    assert info["motion"] > 0.001
    cfg = replace(TINY, eval_views=2)
    views = render_views(load_gltf(creature), 1, cfg)
    for view, wanted in views.items():
        clip = dataset.clip("pet1-01", view)
        assert torch.equal(clip.cameras.w2c, wanted.cameras.w2c)
        assert torch.equal(clip.cameras.K, wanted.cameras.K)
        assert torch.equal(clip.times, wanted.times)
        assert (clip.frames - wanted.frames).abs().max() <= 0.5 / 255 + 1e-6
        assert (clip.alpha - wanted.alpha).abs().max() <= 0.5 / 255 + 1e-6  # type: ignore[operator]
    assert dataset.sample_json("pet1-01")["placement"]["bound"] in ("unit", "frame", "clip box")


def test_the_dataset_refuses_what_it_does_not_have(prepared: Path) -> None:
    dataset = Dataset.read(prepared / "out")
    with pytest.raises(InputError, match="no sample 'dog'"):
        dataset.clip("dog")
    with pytest.raises(InputError, match="no view 'top'"):
        dataset.clip("pet0-00", "top")


def test_a_hostile_index_is_refused(prepared: Path, tmp_path: Path) -> None:
    index = json.loads((prepared / "out/index.json").read_text())
    for change in ({"shard": "../x.tar"}, {"shard": "/etc/passwd"}, {"offset": -1}, {"size": "1"}):
        wrong = {"samples": [{**index["samples"][0], **change}]}
        (tmp_path / "index.json").write_text(json.dumps(wrong))
        with pytest.raises(InputError):
            Dataset.read(tmp_path)
    for text in ("[]", '{"samples":[{}]}', '{"samples":3}'):
        (tmp_path / "index.json").write_text(text)
        with pytest.raises(InputError, match="not an index"):
            Dataset.read(tmp_path)


def test_a_bit_flip_in_an_image_is_found(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared / "out", tmp_path / "out")
    dataset = Dataset.read(tmp_path / "out")
    entry = dataset.info("pet0-00")
    shard = tmp_path / "out" / entry["shard"]
    data = bytearray(shard.read_bytes())
    place = data.index(b"IDAT", entry["offset"])
    data[place + 12] ^= 0xFF
    shard.write_bytes(data)
    with pytest.raises(IntegrityError):
        dataset.clip("pet0-00")
    assert len(dataset.clip("pet0-01")) == 4  # the others are well


@pytest.mark.slow
def test_workers_and_resuming_change_no_byte(
    creature: Path, prepared: Path, tmp_path: Path
) -> None:
    """Half the work, then the rest by two processes, against all of it in one."""
    objects = copies(creature, tmp_path / "objects", 2)
    scratch = tmp_path / "scratch"
    partial = find_sources([objects])[:1]
    (tmp_path / "half").mkdir()
    cfg = replace(TINY, eval_views=2)
    prepare(partial, None, tmp_path / "half", scratch, cfg, reporter=Silent())
    done = scratch / "clips" / "pet0-00.json"
    before = done.stat().st_mtime_ns
    shutil.rmtree(scratch / "shards")  # the run was killed before it had packed anything
    for name in ("pet0-00", "pet0-01"):
        (scratch / "clips" / f"{name}.tar").unlink(missing_ok=True)
        (scratch / "clips" / f"{name}.json").unlink()
    (scratch / "sources" / "pet0.json").unlink()
    result = run(objects, tmp_path, cfg, workers=2)
    assert result.kept == 4
    assert done.stat().st_mtime_ns > before
    assert digests(tmp_path / "out") == digests(prepared / "out")


def test_every_drop_has_its_reason(creature: Path, tmp_path: Path) -> None:
    objects = copies(creature, tmp_path / "objects", 1)
    shutil.copyfile(creature, objects / f"{CONSISTENT4D_TEST_IDS[2]}.glb")
    (objects / "broken.glb").write_bytes(b"glTF nonsense that is longer than a header")
    still = Glb()
    still.mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], indices=[0, 1, 2, 0, 3, 1, 1, 3, 2])
    still.save(objects / "no_clips.glb")
    still.animate(0, "translation", [0, 1], [[0, 0, 0], [0, 0, 0]])
    still.save(objects / "still.glb")
    vanishing = Glb()
    vanishing.mesh()
    vanishing.animate(0, "scale", [0, 1], [[1, 1, 1], [0, 0, 0]])
    vanishing.save(objects / "vanishing.glb")
    names = ("pet0", "no_clips", "still", "vanishing", "broken", CONSISTENT4D_TEST_IDS[2])
    captions = {(f"{name}.glb", 0): Caption(text=f"a {name}", use=True) for name in names}
    captions["pet0.glb", 0] = Caption(text="a pet0", use=True, also=("a pet",))
    captions["pet0.glb", 1] = Caption(text="", use=False)
    (tmp_path / "out").mkdir()
    sources = find_sources([objects])
    result = prepare(sources, captions, tmp_path / "out", tmp_path / "s", TINY, reporter=Silent())
    reasons = {drop["key"]: drop["reason"] for drop in result.content["dropped"]}
    assert reasons.keys() == {
        CONSISTENT4D_TEST_IDS[2], "broken", "no_clips", "pet0-01", "still-00", "vanishing-00",
    }  # fmt: skip
    assert "Consistent4D" in reasons[CONSISTENT4D_TEST_IDS[2]]
    assert reasons["broken"].startswith("broken.glb: GLB")  # not where it lies: the id covers it
    assert "no animation" in reasons["no_clips"]
    assert "use = 0" in reasons["pet0-01"]
    assert "no motion" in reasons["still-00"]
    assert "shows nothing" in reasons["vanishing-00"]
    assert (result.kept, result.dropped) == (1, 6)
    kept = Dataset.read(tmp_path / "out")
    assert kept.info("pet0-00")["caption"] == "a pet0"
    assert kept.info("pet0-00")["also"] == kept.sample_json("pet0-00")["also"] == ["a pet"]
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    index["samples"][0]["also"] = ["a pet", 3]
    (tmp_path / "out" / "index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="also: expected a list of texts"):
        Dataset.read(tmp_path / "out")
    index["samples"][0].update(also=[], licence=["MIT"])
    (tmp_path / "out" / "index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="licence: expected str"):
        Dataset.read(tmp_path / "out")


def test_an_object_named_as_anothers_clip_has_its_own_record(
    creature: Path, tmp_path: Path
) -> None:
    objects = tmp_path / "objects"
    objects.mkdir()
    shutil.copyfile(creature, objects / "pet.glb")
    still = Glb()
    still.mesh()
    still.save(objects / "pet-00.glb")
    result = run(objects, tmp_path)
    assert Dataset.read(tmp_path / "out").keys() == ["pet-00", "pet-01"]
    (dropped,) = result.content["dropped"]
    assert (dropped["source"], dropped["reason"]) == ("pet-00.glb", "pet-00.glb: no animation")


def test_an_object_that_grows_from_next_to_nothing_has_no_framing(tmp_path: Path) -> None:
    """A thousandfold distance is no place for cameras, and no index has it: the others are read."""
    objects = tmp_path / "objects"
    objects.mkdir()
    for name, start in (("grows", 0.0008), ("moves", 0.8)):
        made = Glb()
        corners = [[-1, -1, -1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]]
        made.mesh(corners, indices=[0, 1, 2, 0, 3, 1, 0, 2, 3, 1, 3, 2])
        made.animate(0, "scale", [0, 1], [[start] * 3, [1, 1, 1]])
        made.save(objects / f"{name}.glb")
    run(objects, tmp_path, frames=2, resolution=512, supersample=8, curate=False)
    dataset = Dataset.read(tmp_path / "out")
    assert "framing" not in dataset.info("grows-00")
    assert "framing" not in dataset.sample_json("grows-00")
    assert dataset.info("moves-00")["framing"][0] == pytest.approx(1.25, rel=0.1)


def test_clips_without_a_row_are_not_used(creature: Path, tmp_path: Path) -> None:
    objects = copies(creature, tmp_path / "objects", 1)
    (tmp_path / "out").mkdir()
    captions = {("pet0.glb", 1): Caption(text="hop", use=True)}
    result = prepare(
        find_sources([objects]), captions, tmp_path / "out", tmp_path / "s", TINY, reporter=Silent()
    )
    assert [d["reason"] for d in result.content["dropped"]] == ["no row in the captions file"]


def test_a_dataset_without_samples_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "broken.glb").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="no clip was kept of 1 object, 1 dropped: broken"):
        run(tmp_path / "objects", tmp_path)


def test_an_object_that_is_not_there_at_first_is_empty_and_no_setting_keeps_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "objects").mkdir()
    grows = Glb()
    grows.mesh()
    grows.animate(0, "scale", [0, 1], [[0, 0, 0], [1, 1, 1]])
    grows.save(tmp_path / "objects/grows.glb")
    with pytest.raises(
        InputError, match=r"grows-00: empty: frame 0 of dynamic shows nothing$"
    ) as caught:
        run(tmp_path / "objects", tmp_path)
    assert caught.value.hint is None


def test_a_device_that_is_not_there(creature: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match=r"prepare\.device"):
        run(copies(creature, tmp_path / "objects", 1), tmp_path, device="cuda:99")


def test_a_stop_is_obeyed_between_objects_and_taken_up_again(
    creature: Path, prepared: Path, tmp_path: Path
) -> None:
    objects = copies(creature, tmp_path / "objects", 2)
    (tmp_path / "out").mkdir()
    stop = StopFlag()
    stop.request()
    cfg = replace(TINY, eval_views=2)
    arguments = (find_sources([objects]), None, tmp_path / "out", tmp_path / "scratch", cfg)
    with pytest.raises(Preempted, match="1 of 2 objects"):
        prepare(*arguments, reporter=Silent(), stop=stop)
    prepare(*arguments, reporter=Silent(), stop=StopFlag())
    assert digests(tmp_path / "out") == digests(prepared / "out")


def test_the_contact_sheet_shows_each_clip(prepared: Path) -> None:
    from PIL import Image

    with Image.open(prepared / "out/contact_sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert pixels.shape[0] == 4 * 96
    for row in range(4):
        strip = pixels[row * 96 : row * 96 + 96, 340:]
        assert (strip < 128).any()  # the creature
        assert (pixels[row * 96 : row * 96 + 96, :340] < 128).any()  # its text


def test_merged_parts_hold_the_samples_of_the_whole(creature: Path, tmp_path: Path) -> None:
    objects = copies(creature, tmp_path / "objects", 3)
    parts = []
    for i in (1, 2):
        result = run(objects, tmp_path / f"p{i}", part=(i, 2))
        dataset = Dataset.read(tmp_path / f"p{i}/out")
        parts.append(Part(name=f"p{i}", dataset=dataset, content=result.content))
    whole = run(objects, tmp_path / "whole")
    out = tmp_path / "merged"
    out.mkdir()
    content = merge(parts, out, reporter=Silent())
    merged, reference = Dataset.read(out), Dataset.read(tmp_path / "whole/out")
    assert content["samples"] == whole.content["samples"] == 6
    assert sorted(merged.keys()) == sorted(reference.keys())
    for key in merged.keys():  # noqa: SIM118 - a method, not a dict
        assert torch.equal(merged.clip(key).frames, reference.clip(key).frames)
    with pytest.raises(ConflictError, match="pet0-00"):
        merge([parts[0], parts[0]], out, reporter=Silent())
    other = Part(
        name="other",
        dataset=parts[1].dataset,
        content={**parts[1].content, "settings": {"frames": 9}},
    )
    with pytest.raises(ConfigError, match="frames 9 and 4"):
        merge([parts[0], other], out, reporter=Silent())
