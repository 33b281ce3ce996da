"""A model of a dataset and a training far beyond one machine, from measured parts: queues of workers
that draw objects, a file server that many processes ask, steps in which the slowest process counts.
Seeds are fixed."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from benchmarks.scale_entries import Measured
from benchmarks.scale_units import FRAMES, Units

HOUR = 3600.0
# clips of an object: how many of 246 animated objects (three public packs) have so many
CLIPS = {
    1: 11, 2: 1, 3: 5, 4: 15, 5: 2, 6: 40, 7: 9, 8: 25, 9: 18, 10: 17, 11: 1, 12: 7, 13: 5, 14: 20,
    15: 1, 16: 2, 17: 29, 18: 23, 20: 5, 30: 10,
}  # fmt: skip
SPREAD = 0.5  # standard deviation of the logarithm of a clip's seconds from object to object
VIEWS_A_CLIP = 10  # passes of the training over every clip, at least
LEAST_STEPS = 5000  # the paper's, of its batch
BATCH = 128


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What is assumed of the machines; docs/scale.md has the sources."""

    nodes: int
    cores: int = 64
    gpus: int = 8
    flops: float = 300e12  # of a GPU in bfloat16, reached
    flops_fp32: float = 30e12  # reached by the frame VAE and the text encoder, which run in float32
    memory: float = 512e9
    gpu_memory: float = 70e9  # free when a stage starts
    node_read: float = 4e9  # bytes a second from the file server
    server_read: float = 40e9
    server_write: float = 20e9
    opened: float = 0.5e-3  # seconds until a file of the server is open, for one process
    opens: float = 100e3  # files a second that the server opens for all
    creates: float = 25e3  # files a second that it creates for all
    in_node: float = 370e9  # bytes a second of an all-reduce's ring, for each GPU
    between: float = (
        25e9  # the same between nodes: two cards of 100 Gbit/s for a node, or one of 200
    )

    @property
    def all_gpus(self) -> int:
        return self.nodes * self.gpus


def object_seconds(count: int, units: Units, seed: int) -> np.ndarray:
    """Seconds of a core that each of `count` objects takes, all its clips."""
    rng = np.random.default_rng(seed)
    clips = rng.choice(
        list(CLIPS), size=count, p=np.array(list(CLIPS.values())) / sum(CLIPS.values())
    )
    each = rng.lognormal(-(SPREAD**2) / 2, SPREAD, size=count)
    return clips * each * units.render


def clips_of(count: int) -> int:
    """Clips of so many objects."""
    return round(count * sum(n * k for n, k in CLIPS.items()) / sum(CLIPS.values()))


def makespan(seconds: Sequence[float], workers: int, ahead: int | None) -> float:
    """Until the last of the objects is done, which `workers` take one after the other in their order. With
    `ahead` none is begun before the one so many places earlier, and all before that, are done."""
    free = [0.0] * min(workers, max(len(seconds), 1))
    done: list[float] = []
    last = 0.0
    for i, spent in enumerate(seconds):
        begun = heapq.heappop(free)
        if ahead is not None and i >= ahead:
            begun = max(begun, done[i - ahead])
        last = max(last, begun + spent)
        done.append(last)
        heapq.heappush(free, begun + spent)
    return last


def rendering(seconds: np.ndarray, cluster: Cluster, ahead: int) -> float:
    """One node: the plain command's pool. Several: a job array of SLURM, whose jobs draw from their
    part."""
    if cluster.nodes == 1:
        return makespan(seconds.tolist(), cluster.cores, ahead * cluster.cores)
    parts = [seconds[k :: cluster.nodes].tolist() for k in range(cluster.nodes)]
    return max(makespan(part, cluster.cores, None) for part in parts)


def packing(clips: int, units: Units, entries: dict[str, float], cluster: Cluster) -> float:
    """What the one process does that makes the dataset: reads records and encoded clips, writes shards,
    index and sheets, hashes all of it."""
    data = clips * units.clip_bytes
    files = clips * 2 * cluster.opened  # its record, the encoded clip
    moved = data / min(units.pack_rate, cluster.node_read) + data / min(units.pack_rate, 2e9)
    pages = min(clips / 24, 200) * units.page
    return files + moved + pages + hashing(data, units, cluster) + clips * entries["index"]


def merging(clips: int, units: Units, entries: dict[str, float], cluster: Cluster) -> float:
    """Shards are linked; the index is read and written, and all bytes are hashed again."""
    return clips * entries["merge"] + hashing(clips * units.clip_bytes, units, cluster)


def hashing(size: float, units: Units, cluster: Cluster, threads: int = 8) -> float:
    return size / min(threads * units.hash_rate, cluster.node_read)


def encoding(clips: int, units: Units, cluster: Cluster) -> float:
    """The latents, once: each process decodes its clips and encodes them."""
    network = 3 * FRAMES * units.vae / cluster.flops_fp32
    each = units.decode + network + cluster.opened * 4
    server = clips * units.clip_bytes / min(cluster.server_read, cluster.nodes * cluster.node_read)
    return max(clips / cluster.all_gpus * each, server, clips / cluster.creates)


@dataclass(frozen=True, kw_only=True)
class Training:
    """`start`: seconds before the first step; `step`: median of one, of which `compute`, `read` and
    `exchange` are seen; `steps` of `batch` clips; `memory`: of a node, for index, captions and latents."""

    start: float
    step: float
    compute: float
    read: float
    exchange: float
    steps: int
    batch: int
    memory: float
    in_memory: bool

    @property
    def total(self) -> float:
        return self.start + self.steps * self.step


def training(
    clips: int, captions: int, units: Units, entries: dict[str, float], cluster: Cluster, seed: int
) -> Training:
    """Fine-tuning: one channel, layers recomputed."""
    gpus = cluster.all_gpus
    batch = max(BATCH, gpus)  # a process has at least one clip
    mine = batch // gpus
    views = 2 * units.view_bytes * clips  # the orbit and the object at rest
    host = 0.1 * cluster.memory / cluster.gpus
    in_memory = views < max(0.1 * cluster.gpu_memory, host)
    table = captions * units.text_bytes
    kept = table if table < max(0.1 * cluster.gpu_memory, host) else host
    memory = cluster.gpus * (clips * entries["start bytes"] + kept + (views if in_memory else 0))
    compute = mine * 4 * units.trunk / cluster.flops
    if kept < table:
        compute += mine * units.text / cluster.flops_fp32
    whole = _exchange(units, cluster)
    exchange = max(whole - 0.5 * compute, 0.1 * whole)  # what the backward pass does not hide
    read = 0.0 if in_memory else _reads(mine, units, cluster, seed)
    steps = max(LEAST_STEPS * BATCH // batch, VIEWS_A_CLIP * clips // batch)
    start = clips * entries["start"]
    if kept == table:
        start += captions * units.text / cluster.flops_fp32
    if in_memory:
        start += 2 * clips * (cluster.opened + units.latent_read)
        start = max(start, 2 * clips * gpus / cluster.opens)
    return Training(
        start=start, step=compute + exchange + read, compute=compute, read=read, exchange=exchange,
        steps=steps, batch=batch, memory=memory, in_memory=in_memory,
    )  # fmt: skip


def _exchange(units: Units, cluster: Cluster) -> float:
    """An all-reduce of the gradients in float32, in rings: in the node, then between nodes."""
    size = 4.0 * units.parameters
    inside = 2 * size * (cluster.gpus - 1) / cluster.gpus / cluster.in_node
    if cluster.nodes == 1:
        return inside
    return inside + 2 * size * (cluster.nodes - 1) / cluster.nodes / cluster.between


def _reads(mine: int, units: Units, cluster: Cluster, seed: int, steps: int = 200) -> float:
    """What reading costs a step: every process opens two files for each of its clips, one after the other;
    the server opens them in the order in which they are asked for; the slowest process counts."""
    rng = Random(seed)
    total = 0.0
    for _ in range(steps):
        queue = [(rng.expovariate(1 / cluster.opened), rank) for rank in range(cluster.all_gpus)]
        heapq.heapify(queue)
        left = dict.fromkeys(range(cluster.all_gpus), 2 * mine)
        server = last = 0.0
        gap = max(1 / cluster.opens, units.view_bytes / cluster.server_read)
        while queue:
            now, rank = heapq.heappop(queue)
            server = max(server, now) + gap
            ready = server + units.latent_read + units.view_bytes * cluster.gpus / cluster.node_read
            left[rank] -= 1
            if left[rank]:
                heapq.heappush(queue, (ready + rng.expovariate(1 / cluster.opened), rank))
            last = max(last, ready)
        total += last
    return total / steps


def per_entry(measured: dict[str, dict[int, Measured | str]], name: str) -> tuple[float, float]:
    """Seconds and bytes an entry of a measured part, at its largest number of entries."""
    counts = {n: value for n, value in measured[name].items() if not isinstance(value, str)}
    most = max(counts)
    spent, peak = counts[most]
    return spent / most, peak * 1e6 / most
