"""Measures pairs one by one: each is loaded, measured and dropped, so any number of them fits in memory.

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
from orster_cli.evaluation.features import Features
from orster_cli.evaluation.metrics import METRICS, Values, check_length, columns_of, mean
from orster_cli.evaluation.videos import Scene, Video
from orster_cli.evaluation.views import Condition, EvaluationPair, RenderedViews, UndefinedMetric
from orster_cli.metrics.bootstrap import mean_interval
from orster_cli.metrics.frechet import Moments, frechet_distance
from orster_cli.metrics.i3d import CLASSES


@dataclass(frozen=True, kw_only=True)
class PlannedPair:
    """A pair that is loaded when its turn comes."""

    name: str
    load: Callable[[], EvaluationPair]


@dataclass(frozen=True, kw_only=True)
class UnusedReference:
    """A member of the reference set that no subject is paired with; distances of sets use it too."""

    name: str
    load: Callable[[], Video | Scene]


@dataclass(frozen=True, kw_only=True)
class SubjectValues:
    """One subject's values by column: one for each frame where the column's scope is "frame", otherwise a
    single one. `times`: of the paired frames, None where they are not known; `reference_digest`: SHA-256 of
    what the reference shows, "" without one."""

    name: str
    reference: str
    condition: Condition
    times: list[float] | None
    values: dict[str, Values]
    reference_digest: str = ""

    @property
    def mean(self) -> dict[str, float | None]:
        """By column, the mean of the values that are defined; None where none is."""
        return {name: mean(values) for name, values in self.values.items()}


@dataclass(kw_only=True)
class EvaluationResult:
    """What was measured. `set_values`: distances of sets by column; `set_sizes`: the number of clips of the
    subjects and of the references behind each; `unavailable`: why a metric has no value at all ("why"),
    and what to do for one ("get")."""

    subjects: list[SubjectValues] = field(default_factory=list)
    set_values: dict[str, float] = field(default_factory=dict)
    set_sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    unavailable: dict[str, dict[str, str]] = field(default_factory=dict)


class _FeatureSets:
    """Feature statistics of both sides of one distance of sets. A reference that several subjects share
    counts once."""

    def __init__(self) -> None:
        self.subjects, self.references = Moments(), Moments()
        self.lengths: set[int] = set()  # numbers of frames
        self._added: set[str] = set()

    def add_subject(self, features: Features, clips: Sequence[Tensor]) -> None:
        self._add(self.subjects, features, clips)

    def add_reference(self, name: str, features: Features, clips: Sequence[Tensor]) -> None:
        if name not in self._added:
            self._added.add(name)
            self._add(self.references, features, clips)

    def _add(self, moments: Moments, features: Features, clips: Sequence[Tensor]) -> None:
        check_length(clips, features.networks.cfg)
        self.lengths.update(len(clip) for clip in clips)
        if clips:
            moments.add(features.videos(clips))


def evaluate_pairs(
    pairs: Sequence[PlannedPair],
    unused: Sequence[UnusedReference],
    names: Sequence[str],
    features: Features,
    cfg: EvaluateConfig,
    reporter: Reporter,
    *,
    whole: bool = True,
    stop: StopFlag | None = None,
    on_subject: Callable[[RenderedViews, SubjectValues], None] | None = None,
) -> EvaluationResult:
    """The metrics `names` of all `pairs`. `on_subject` is called with each while its frames are in memory.
    `whole` False: these are a share of the sets, between which no distance is measured.

    InputError: two sides cannot be compared. Preempted: `stop` was requested."""
    result = EvaluationResult()
    measured = [name for name in names if not _network_is_missing(name, features, result)]
    sets = {name: _FeatureSets() for name in measured if METRICS[name].clips is not None}
    undefined: dict[str, list[tuple[str, UndefinedMetric]]] = {}
    units = len(measured) + 1  # of progress per pair: its metrics, and `on_subject`
    for i, planned in enumerate(pairs):
        if stop is not None and stop.requested:
            raise Preempted("stopped before the report was whole: run the same command again")
        pair = planned.load()
        views = RenderedViews(pair, cfg, reporter)
        values: dict[str, Values] = {}
        for k, name in enumerate(measured):
            reporter.step("evaluate", i * units + k, len(pairs) * units, metric=name)
            try:
                if name in sets:
                    _add_clips(sets[name], name, views, features)
                else:
                    values |= _measure(name, views, features)
            except UndefinedMetric as why:
                undefined.setdefault(name, []).append((pair.name, why))
                values |= {c.name: [None] for c in METRICS[name].columns if name not in sets}
        _warn_of_undefined_frames(pair.name, values, reporter)
        result.subjects.append(_subject_values(views, values))
        if on_subject is not None:
            on_subject(views, result.subjects[-1])
        reporter.step("evaluate", (i + 1) * units, len(pairs) * units)
    _add_unused_references(sets, unused, features, cfg, reporter)
    _record_undefined(undefined, len(pairs), result, reporter)
    for name, both in sets.items():
        if whole and name not in result.unavailable:
            _set_distance(name, both, cfg, result, reporter)
    return result


def _network_is_missing(name: str, features: Features, result: EvaluationResult) -> bool:
    """Whether the weights of metric `name` are not on this machine; if so, records why."""
    error = features.networks.missing.get(METRICS[name].network or "")
    if error is None:
        return False
    result.unavailable[name] = {"why": str(error), "get": error.hint or ""}
    return True


def _measure(name: str, views: RenderedViews, features: Features) -> dict[str, Values]:
    """The values of the columns of metric `name`."""
    metric = METRICS[name]
    assert metric.measure is not None
    found = metric.measure(views, features)
    return {c.name: values for c, values in zip(metric.columns, found, strict=True)}


def _add_clips(sets: _FeatureSets, name: str, views: RenderedViews, features: Features) -> None:
    """Add the clips of a pair to the sets of metric `name`."""
    clips = METRICS[name].clips
    assert clips is not None
    of_subject, of_reference = clips(views)
    sets.add_subject(features, of_subject)
    if of_reference:
        sets.add_reference(views.pair.reference_name, features, of_reference)


def _warn_of_undefined_frames(subject: str, values: dict[str, Values], reporter: Reporter) -> None:
    """Warn of columns that are defined in some frames only."""
    for name, of_frames in values.items():
        missing = sum(value is None for value in of_frames)
        if 0 < missing < len(of_frames):
            reporter.warn(
                f"{subject}: {name} is not defined in {missing} of {len(of_frames)} frames"
            )


def _subject_values(views: RenderedViews, values: dict[str, Values]) -> SubjectValues:
    pair = views.pair
    paired = views.__dict__.get("paired")  # only where a metric has rendered it
    times = None if paired is None else paired[1].times
    return SubjectValues(
        name=pair.name,
        reference=pair.reference_name,
        condition=pair.condition,
        times=None if times is None else [round(float(t), 6) for t in times],
        values=values,
        reference_digest=(
            pair.reference.digest if isinstance(pair.reference, Video) else pair.reference_digest
        ),
    )


def _add_unused_references(
    sets: dict[str, _FeatureSets],
    unused: Sequence[UnusedReference],
    features: Features,
    cfg: EvaluateConfig,
    reporter: Reporter,
) -> None:
    """Add the references that no subject is paired with to all distances of sets."""
    if not sets:
        return
    for i, one in enumerate(unused):
        side = one.load()
        pair = EvaluationPair(name=one.name, subject=side, reference=side, reference_name=one.name)
        views = RenderedViews(pair, cfg, reporter)
        for name, both in sets.items():
            clips = METRICS[name].clips
            assert clips is not None
            try:
                both.add_reference(one.name, features, clips(views)[1])
            except UndefinedMetric:
                continue
        reporter.step("reference set", i + 1, len(unused))


def _record_undefined(
    undefined: dict[str, list[tuple[str, UndefinedMetric]]],
    pairs: int,
    result: EvaluationResult,
    reporter: Reporter,
) -> None:
    """A metric that is undefined for all pairs is unavailable; for some of them, a warning says so."""
    for name, which in undefined.items():
        subject, first = which[0]
        if len(which) == pairs:
            result.unavailable[name] = {"why": f"{subject}: {first.why}", "get": first.get}
        else:
            reporter.warn(
                f"{name} is not defined for {len(which)} of {pairs}: {subject}: {first.why}"
            )


def _set_distance(
    name: str,
    sets: _FeatureSets,
    cfg: EvaluateConfig,
    result: EvaluationResult,
    reporter: Reporter,
) -> None:
    """The Fréchet distance of metric `name`, or why it is refused."""
    sizes = (sets.subjects.count, sets.references.count)
    if min(sizes) < cfg.least_clips:
        get = "more subjects" if sizes[0] < cfg.least_clips else "a larger --reference: a dataset"
        result.unavailable[name] = {
            "why": f"needs at least {cfg.least_clips} clips on each side, got {sizes[0]} and "
            f"{sizes[1]} of the reference",
            "get": f"{get}, or a folder of clips",
        }
        return
    if len(sets.lengths) > 1:
        lengths = ", ".join(map(str, sorted(sets.lengths)))
        result.unavailable[name] = {
            "why": f"clips of different lengths ({lengths} frames) cannot be compared in I3D",
            "get": "clips of one length on both sides",
        }
        return
    if min(sizes) <= CLASSES:
        reporter.warn(
            f"{name} rests on {sizes[0]} and {sizes[1]} clips in {CLASSES} dimensions: biased "
            "upwards, to be compared only with figures of as many clips"
        )
    result.set_values[name] = frechet_distance(sets.subjects, sets.references)
    result.set_sizes[name] = sizes


def summary(result: EvaluationResult, names: Sequence[str], cfg: EvaluateConfig) -> dict[str, Any]:
    """{column: its mean over the subjects, the 95 % interval of that mean, the number of subjects}."""
    out: dict[str, Any] = {}
    for column in columns_of(names):
        if column.scope == "set":
            if column.name in result.set_values:
                subjects, references = result.set_sizes[column.name]
                out[column.name] = {
                    "mean": result.set_values[column.name],
                    "interval": None,
                    "objects": subjects,
                    "reference_objects": references,
                }
            continue
        means = [one.mean.get(column.name) for one in result.subjects]
        defined = [value for value in means if value is not None]
        if defined:
            interval = mean_interval(defined, seed=cfg.seed)
            out[column.name] = {
                "mean": sum(defined) / len(defined),
                "interval": None if interval is None else list(interval),
                "objects": len(defined),
            }
    return out
