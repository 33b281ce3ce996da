"""An evaluation: case by case, so that any number of them fits in memory.

T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.core.errors import Preempted
from orster_cli.core.reporting import Reporter
from orster_cli.core.stopping import StopFlag
from orster_cli.evaluate.features import Features
from orster_cli.evaluate.film import Footage, Scene
from orster_cli.evaluate.metrics import METRICS, Values, columns_of, long_enough, mean
from orster_cli.evaluate.views import Case, Condition, Looks, Undefined
from orster_cli.metrics.bootstrap import mean_interval
from orster_cli.metrics.frechet import Moments, frechet_distance
from orster_cli.metrics.i3d import CLASSES


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A case that is loaded when its turn comes."""

    name: str
    load: Callable[[], Case]


@dataclass(frozen=True, kw_only=True)
class Spare:
    """A member of the reference set that no subject is paired with."""

    name: str
    load: Callable[[], Footage | Scene]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One subject's values by column; frame by frame where the column's scope is "frame"."""

    name: str
    reference: str
    condition: Condition
    times: list[float] | None
    values: dict[str, Values]

    @property
    def mean(self) -> dict[str, float | None]:
        """By column, the mean of the values that are defined; None where none is."""
        return {name: mean(values) for name, values in self.values.items()}


@dataclass(kw_only=True)
class Outcome:
    """`sets`: a set's figures by column; `clips`: how many of ours and of the reference they rest on;
    `unavailable`: why a metric has no value at all and what would give it one."""

    figures: list[Figures] = field(default_factory=list)
    sets: dict[str, float] = field(default_factory=dict)
    clips: dict[str, tuple[int, int]] = field(default_factory=dict)
    unavailable: dict[str, dict[str, str]] = field(default_factory=dict)


class _Pool:
    """Both sides of one distance of sets; a reference that several subjects share counts once."""

    def __init__(self) -> None:
        self.ours, self.theirs = Moments(), Moments()
        self.lengths: set[int] = set()
        self._seen: set[str] = set()

    def add_ours(self, features: Features, clips: Sequence[Tensor]) -> None:
        self._add(self.ours, features, clips)

    def add_reference(self, name: str, features: Features, clips: Sequence[Tensor]) -> None:
        if name not in self._seen:
            self._seen.add(name)
            self._add(self.theirs, features, clips)

    def _add(self, moments: Moments, features: Features, clips: Sequence[Tensor]) -> None:
        long_enough(clips, features.networks.cfg)
        self.lengths.update(len(clip) for clip in clips)
        if clips:
            moments.add(features.videos(clips))


def evaluate(
    cases: Sequence[Planned],
    spare: Sequence[Spare],
    names: Sequence[str],
    features: Features,
    cfg: EvaluateConfig,
    reporter: Reporter,
    *,
    stop: StopFlag | None = None,
    seen: Callable[[Looks, Figures], None] | None = None,
) -> Outcome:
    """The metrics `names` of all `cases`; `seen` is shown each while its frames are in memory.

    InputError: two sides cannot be compared. Preempted: a stop was asked for."""
    outcome = Outcome()
    wanted = [name for name in names if not _missing(name, features, outcome)]
    pools = {name: _Pool() for name in wanted if METRICS[name].clips is not None}
    gaps: dict[str, list[tuple[str, Undefined]]] = {}
    for i, planned in enumerate(cases):
        if stop is not None and stop.requested:
            raise Preempted("stopped before the report was whole: run the same command again")
        case = planned.load()
        looks = Looks(case, cfg, reporter)
        values: dict[str, Values] = {}
        for name in wanted:
            try:
                if name in pools:
                    _into(pools[name], name, looks, features)
                else:
                    values |= _measured(name, looks, features)
            except Undefined as why:
                gaps.setdefault(name, []).append((case.name, why))
                values |= {c.name: [None] for c in METRICS[name].columns if name not in pools}
        _say_gaps(case.name, values, reporter)
        outcome.figures.append(_figures(case, looks, values))
        if seen is not None:
            seen(looks, outcome.figures[-1])
        reporter.step("evaluate", i + 1, len(cases))
    _spares(pools, spare, features, cfg, reporter)
    _explain(gaps, len(cases), outcome, reporter)
    for name, pool in pools.items():
        if name not in outcome.unavailable:
            _distance(name, pool, cfg, outcome, reporter)
    return outcome


def _missing(name: str, features: Features, outcome: Outcome) -> bool:
    """Whether the network of metric `name` is not at hand, which is noted."""
    error = features.networks.missing.get(METRICS[name].network or "")
    if error is None:
        return False
    outcome.unavailable[name] = {"why": str(error), "get": error.hint or ""}
    return True


def _measured(name: str, looks: Looks, features: Features) -> dict[str, Values]:
    metric = METRICS[name]
    assert metric.measure is not None
    found = metric.measure(looks, features)
    return {c.name: values for c, values in zip(metric.columns, found, strict=True)}


def _into(pool: _Pool, name: str, looks: Looks, features: Features) -> None:
    clips = METRICS[name].clips
    assert clips is not None
    ours, theirs = clips(looks)
    pool.add_ours(features, ours)
    if theirs:
        pool.add_reference(looks.case.reference_name, features, theirs)


def _say_gaps(subject: str, values: dict[str, Values], reporter: Reporter) -> None:
    """Frames in which a figure is not defined, where it is in others."""
    for name, of_frames in values.items():
        missing = sum(value is None for value in of_frames)
        if 0 < missing < len(of_frames):
            reporter.warn(
                f"{subject}: {name} is not defined in {missing} of {len(of_frames)} frames"
            )


def _figures(case: Case, looks: Looks, values: dict[str, Values]) -> Figures:
    paired = looks.__dict__.get("paired")  # only where a metric has asked for it
    times = None if paired is None else paired[1].times
    return Figures(
        name=case.name,
        reference=case.reference_name,
        condition=case.condition,
        times=None if times is None else [round(float(t), 6) for t in times],
        values=values,
    )


def _spares(
    pools: dict[str, _Pool],
    spare: Sequence[Spare],
    features: Features,
    cfg: EvaluateConfig,
    reporter: Reporter,
) -> None:
    """The rest of the reference set, for the distances of sets."""
    if not pools:
        return
    for i, one in enumerate(spare):
        side = one.load()
        case = Case(name=one.name, ours=side, reference=side, reference_name=one.name)
        looks = Looks(case, cfg, reporter)
        for name, pool in pools.items():
            clips = METRICS[name].clips
            assert clips is not None
            try:
                pool.add_reference(one.name, features, clips(looks)[1])
            except Undefined:
                continue
        reporter.step("reference set", i + 1, len(spare))


def _explain(
    gaps: dict[str, list[tuple[str, Undefined]]], cases: int, outcome: Outcome, reporter: Reporter
) -> None:
    """What is undefined for all is unavailable; what is for some is said."""
    for name, which in gaps.items():
        first = which[0][1]
        if len(which) == cases:
            outcome.unavailable[name] = {"why": f"{which[0][0]}: {first.why}", "get": first.get}
        else:
            reporter.warn(
                f"{name} is not defined for {len(which)} of {cases}: {which[0][0]}: {first.why}"
            )


def _distance(
    name: str, pool: _Pool, cfg: EvaluateConfig, outcome: Outcome, reporter: Reporter
) -> None:
    counts = (pool.ours.count, pool.theirs.count)
    if min(counts) < cfg.least_clips:
        get = "more subjects" if counts[0] < cfg.least_clips else "a larger --reference: a dataset"
        outcome.unavailable[name] = {
            "why": f"needs at least {cfg.least_clips} clips on each side, got {counts[0]} and "
            f"{counts[1]} of the reference",
            "get": f"{get}, or a folder of clips",
        }
        return
    if len(pool.lengths) > 1:
        lengths = ", ".join(map(str, sorted(pool.lengths)))
        outcome.unavailable[name] = {
            "why": f"clips of different lengths ({lengths} frames) cannot be compared in I3D",
            "get": "clips of one length on both sides",
        }
        return
    if min(counts) <= CLASSES:
        reporter.warn(
            f"{name} rests on {counts[0]} and {counts[1]} clips in {CLASSES} dimensions: biased "
            "upwards, to be compared only with figures of as many clips"
        )
    outcome.sets[name] = frechet_distance(pool.ours, pool.theirs)
    outcome.clips[name] = counts


def summary(outcome: Outcome, names: Sequence[str], cfg: EvaluateConfig) -> dict[str, Any]:
    """{column: mean, its 95 % interval over the subjects, how many they are}."""
    out: dict[str, Any] = {}
    for column in columns_of(names):
        if column.scope == "set":
            if column.name in outcome.sets:
                value, clips = outcome.sets[column.name], outcome.clips[column.name]
                out[column.name] = {"mean": value, "interval": None, "objects": clips[0]}
                out[column.name]["reference_objects"] = clips[1]
            continue
        known = [v for f in outcome.figures if (v := f.mean.get(column.name)) is not None]
        if known:
            interval = mean_interval(known, seed=cfg.seed)
            out[column.name] = {
                "mean": sum(known) / len(known),
                "interval": None if interval is None else list(interval),
                "objects": len(known),
            }
    return out
