"""What grows with the number of objects, on made-up entries: seconds and memory of each part of the
code that goes through all of them. Each measurement runs in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import peak_above_baseline_mb
from orster_cli.artifacts.manifest import InputFile
from orster_cli.artifacts.store import begin, open_artifact
from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.dataset.assemble import INDEX, shard_name, write_index
from orster_cli.dataset.caption_rows import match_rows
from orster_cli.dataset.captions import Caption
from orster_cli.dataset.jobs import Scratch, SourceJob
from orster_cli.dataset.merge import Part, merge
from orster_cli.dataset.reader import Dataset
from orster_cli.dataset.sources import GLTF, Source, find_sources
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.known_texts import KnownTexts
from orster_cli.fanout.items import find_items
from orster_cli.fanout.sources import SourceRunner
from orster_cli.training.datafeed import LatentFeed, epoch_order
from orster_cli.training.held_out import held_out_keys, without
from orster_cli.training.latents import LatentCache

SHARD = PrepareConfig().shard_samples
CLIP_BYTES = 1_300_000
WORDS = ("walking", "jumping", "running", "attacking", "dying", "waving", "dancing", "swimming")
Measured = tuple[float, float]  # processor seconds and peak MB above what was there before


def entry(i: int) -> dict[str, Any]:
    """The index entry of a made-up clip, as long as real ones."""
    return {
        "key": f"object{i:07d}-00",
        "shard": shard_name(i // SHARD),
        "offset": i % SHARD * CLIP_BYTES,
        "size": CLIP_BYTES,
        "source": f"{i // 1000:03d}-{i % 1000:03d}/object{i:07d}.glb",
        "clip": 0,
        "clip_name": "Armature|Walk",
        "caption": f"a creature of kind {i // 8} {WORDS[i % 8]} in the wood",
        "licence": "CC-BY-4.0",
        "motion": 0.0187,
        "frames": {"dynamic": 24, "static": 24, "front": 24},
    }


def source(i: int, root: Path = Path("/nowhere/objects")) -> Source:
    name = f"{i // 1000:03d}-{i % 1000:03d}/object{i:07d}.glb"
    return Source(path=root / name, name=name, kind=GLTF, key=f"object{i:07d}")


def alone(task: Callable[[], object]) -> Measured:
    """Run `task` in a fork of this process, whose memory goes with it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        spent = 0.0

        def timed() -> None:
            nonlocal spent
            start = time.process_time()
            task()
            spent = time.process_time() - start

        try:
            answer: object = [peak_above_baseline_mb(timed), spent]
        except BaseException as error:  # noqa: BLE001 - the parent shows it
            answer = str(error).rpartition(": ")[2]
        os.write(write, json.dumps(answer).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        found = json.loads(pipe.read() or '"the process ended"')
    os.waitpid(child, 0)
    if isinstance(found, str):
        raise RuntimeError(found)
    return found[1], found[0]


def with_index(count: int, place: Path, start: int = 0) -> Path:
    """A folder with the index of `count` made-up clips."""
    place.mkdir(parents=True, exist_ok=True)
    write_index(place / INDEX, (entry(i) for i in range(start, start + count)))
    return place


def finding(count: int, place: Path) -> Callable[[], object]:
    """Objects in folders of a hundred, as files without content."""
    for folder in range(-(-count // 100)):
        (place / f"{folder:05d}").mkdir(parents=True)
        for i in range(folder * 100, min((folder + 1) * 100, count)):
            (place / f"{folder:05d}" / f"object{i:07d}.glb").touch()
    return lambda: find_sources([place])


def captions(count: int, place: Path) -> Callable[[], object]:
    del place
    sources = [source(i) for i in range(count)]
    rows = {
        (s.path.name, 0): Caption(text=f"a creature {i}", use=True) for i, s in enumerate(sources)
    }
    return lambda: match_rows(rows, sources)


def naming(count: int, place: Path) -> Callable[[], object]:
    """What `--write-captions` calls each object; the files themselves are not read."""
    del place
    from orster_cli.dataset import caption_rows

    sources = [source(i) for i in range(count)]
    if hasattr(caption_rows, "row_names"):
        return lambda: caption_rows.row_names(sources)
    return lambda: [caption_rows.row_name(one, sources) for one in sources]


def tasks(count: int, place: Path) -> Callable[[], object]:
    """The tasks that `orster run prepare-data` gives to workers."""
    cfg = PrepareConfig()

    class Runner:
        def run(self, given: Any, stop: StopFlag) -> Iterator[Any]:
            del stop
            assert sum(1 for _ in given) == count
            yield from ()

    def jobs() -> Iterator[tuple[SourceJob, bool]]:
        for i in range(count):
            rows = {0: Caption(text=f"a creature {i}", use=True)}
            yield SourceJob(source=source(i), captions=rows, scratch=Scratch(place), cfg=cfg), True

    run = SourceRunner(Runner(), "module:function", Silent(), StopFlag())  # type: ignore[arg-type]
    return lambda: sum(1 for _ in run(jobs()))


def committing(count: int, place: Path) -> Callable[[], object]:
    """The manifest of a dataset made of so many files of which a tenth was dropped, written and read."""
    from orster_cli.dataset import drops
    from orster_cli.inputs import prepare_plan

    inputs = [InputFile(name=source(i).name, size=i, sha256=f"{i:064x}") for i in range(count)]
    dropped = [
        {"key": f"object{i:07d}-00", "source": source(i).name, "reason": "no motion: SSIM 0.989"}
        for i in range(0, count, 10)
    ]

    def work() -> None:
        listed, files = inputs, None
        if hasattr(prepare_plan, "listed_inputs"):
            listed, files = prepare_plan.listed_inputs(inputs)
        draft = begin(place / "out", kind="dataset", command="x", config={}, inputs=listed)
        assert draft is not None
        with draft:
            content: dict[str, Any] = {"dropped": dropped}
            if hasattr(drops, "write_dropped"):
                content = drops.write_dropped(draft.dir, iter(dropped))
            if files is not None:
                (draft.dir / prepare_plan.INPUTS).write_bytes(files)
            draft.commit(content)
        open_artifact(place / "out")

    return work


def reading(count: int, place: Path) -> Callable[[], object]:
    with_index(count, place)
    return lambda: Dataset.read(place)


def merging(count: int, place: Path) -> Callable[[], object]:
    """Ten parts, whose shards are empty files."""
    parts = []
    for p in range(10):
        folder = place / f"part{p}"
        (folder / "shards").mkdir(parents=True)
        each = count // 10
        with_index(each, folder, p * each)
        first, last = p * each // SHARD, ((p + 1) * each - 1) // SHARD
        names = [shard_name(k) for k in range(first, last + 1)]
        for name in names:
            (folder / name).touch()
        parts.append((folder, {"shards": names, "contact_sheets": [], "sources": 1, "dropped": []}))
    (place / "merged").mkdir()

    def work() -> None:
        opened = [
            Part(name=str(folder), dataset=Dataset.read(folder), content=content)
            for folder, content in parts
        ]
        merge(opened, place / "merged", reporter=Silent())

    return work


def feeding(count: int, place: Path) -> Callable[[], object]:
    """What every process of a training does before its first step: index, held-out clips, three feeds."""
    with_index(count, place)
    vae = FrameVAE.create((8, 8), channels=4, groups=4, seed=0)

    def work() -> None:
        data = Dataset.read(place)
        cache = LatentCache(data, "id", vae, 256)
        keys = without(data.keys(), held_out_keys(data, 0.05))
        {text for texts in data.texts().values() for text in texts}
        feed = LatentFeed(cache, view="dynamic", frames=24, batch=128, seed=0, keys=keys)
        feed.motion()
        for view in ("static", "front"):
            LatentFeed(cache, view=view, frames=24, batch=128, seed=0, keys=keys)

    return work


def shuffling(count: int, place: Path) -> Callable[[], object]:
    del place
    return lambda: epoch_order(0, 1, count)


def knowing(count: int, place: Path) -> Callable[[], object]:
    """The words that a model records of its training texts."""
    del place
    texts = [([entry(i)["caption"]], None) for i in range(count)]
    return lambda: KnownTexts.of(iter(texts))


def listing(count: int, place: Path) -> Callable[[], object]:
    """The items of `orster run --over prompts.txt`."""
    place.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(f"a creature of kind {i} {WORDS[i % 8]}" for i in range(count))
    (place / "prompts.txt").write_text(lines)
    return lambda: find_items(place / "prompts.txt", "generate")


PARTS: dict[str, tuple[Callable[[int, Path], Callable[[], object]], int]] = {
    # what it is, and the largest number of entries that it is tried on
    "objects found in folders": (finding, 100_000),
    "rows of the captions file matched": (captions, 1_000_000),
    "names for `--write-captions`": (naming, 1_000_000),
    "tasks of `orster run prepare-data`": (tasks, 1_000_000),
    "manifest written and opened": (committing, 1_000_000),
    "index read": (reading, 1_000_000),
    "ten parts merged, without hashing": (merging, 1_000_000),
    "items of `orster run --over`": (listing, 100_000),
    "start of a training process": (feeding, 1_000_000),
    "order of an epoch": (shuffling, 1_000_000),
    "words that a model knows": (knowing, 100_000),
}


def measure(names: list[str], counts: list[int]) -> dict[str, dict[int, Measured | str]]:
    """Seconds and MB of each part by number of entries, or why it ended with an error."""
    out: dict[str, dict[int, Measured | str]] = {}
    for name in names:
        make, most = PARTS[name]
        for count in [c for c in counts if c <= most]:
            place = Path(tempfile.mkdtemp(prefix="orster-scale-"))
            try:
                out.setdefault(name, {})[count] = alone(make(count, place / "data"))
            except RuntimeError as error:
                out.setdefault(name, {})[count] = str(error)
            finally:
                shutil.rmtree(place, ignore_errors=True)
            print(name, count, out[name][count], file=sys.stderr, flush=True)
    return out


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = sys.argv[2:] or list(PARTS)
    measure(chosen, [int(word) for word in sys.argv[1].split(",")])
