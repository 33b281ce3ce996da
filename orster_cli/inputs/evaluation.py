"""An evaluation from the names of its inputs: opens and pairs subjects and references, measures, reports.

    plan = plan_evaluation("runs/", EvaluateConfig(), reference="dataset/", reporter=reporter)
    values = write_evaluation(plan, folder, reporter, scratch=scratch)  # report.html, report.json ...

`evaluate` does both without writing files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orster_cli.artifacts.manifest import MANIFEST
from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.core.devices import choose_device
from orster_cli.core.errors import MissingResourceError
from orster_cli.core.reporting import ProgressAlone, Reporter, Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.inputs.members import is_artifact_or_clip
from orster_cli.inputs.pairing import Pairs, pair
from orster_cli.inputs.subjects import LoadedSubject, Subject, datasets_in, open_subjects

if TYPE_CHECKING:
    from orster_cli.artifacts.manifest import InputFile, Parent
    from orster_cli.evaluation.evaluate_pairs import EvaluationResult, SubjectValues
    from orster_cli.evaluation.features import Features
    from orster_cli.evaluation.views import EvaluationPair, RenderedViews
    from orster_cli.gltf.normalization import Normalization


def report_folder(subject: str) -> Path:
    """Where a report goes without -o: `runs/report` for a folder of artifacts, else `report`."""
    path = Path(subject)
    several = path.is_dir() and not (path / MANIFEST).exists() and not is_artifact_or_clip(path)
    return path / "report" if several else Path("report")


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """Everything that a report depends on, opened but not measured. `changed`: settings that differ from
    the named protocol, whose figures these then are not."""

    cfg: EvaluateConfig
    names: tuple[str, ...]
    subjects: list[Subject]
    pairs: Pairs
    features: Features
    changed: list[str]

    @property
    def parents(self) -> list[Parent]:
        """The artifacts that are read, each once, with the licences of all that is read of it."""
        found: dict[str, Parent] = {}
        for parent in (parent for one in self._sources for parent in one.parents):
            before = found.get(parent.id, parent).licences
            found[parent.id] = parent.under(dict.fromkeys([*before, *parent.licences]))
        return list(found.values())

    @property
    def inputs(self) -> list[InputFile]:
        """The files that are read and belong to no artifact, each once."""
        found = {(file.name, file.sha256): file for one in self._sources for file in one.inputs}
        return list(found.values())

    @property
    def identity(self) -> dict[str, Any]:
        """What the report depends on besides settings, parents and inputs, for its manifest."""
        pairs = [(one, self.pairs.reference.get(one.name)) for one in self.subjects]
        places = [_place(*pair) or _place(*pair[::-1]) for pair in pairs if pair[1]]
        placed = [[place.scale, *place.offset.tolist()] for place in places if place]
        return {
            **({"placed": placed} if placed else {}),
            "subjects": [(one.name, one.key, self._reference_of(one)) for one in self.subjects],
            "spare": [(one.name, one.key) for one in self.pairs.unused],
            "networks": {k: s.sha256 for k, s in self.features.networks.sources.items()},
            "changed": self.changed,
        }

    @property
    def _sources(self) -> list[Subject]:
        return [*self.subjects, *self.pairs.reference.values(), *self.pairs.unused]

    def _reference_of(self, subject: Subject) -> str:
        found = self.pairs.reference.get(subject.name)
        return "" if found is None else f"{found.name} {found.key}"


def evaluate(
    subject: str | Path,
    cfg: EvaluateConfig | None = None,
    *,
    reference: str | Path | None = None,
    device: str = "auto",
    cache: Path | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """The report of `subject`, in the form of `report.json`; no file is written. Arguments and errors as
    `plan_evaluation`."""
    reporter = reporter or Silent()
    plan = plan_evaluation(
        subject,
        cfg or EvaluateConfig(),
        reference=reference,
        device=device,
        cache=cache,
        reporter=reporter,
    )
    return measured_values(plan, reporter)


def measured_values(plan: EvaluationPlan, reporter: Reporter) -> dict[str, Any]:
    """The report of `plan` in the form of `report.json`; no file is written."""
    from orster_cli.report.write import report_values

    return report_values(
        measure(plan, reporter),
        plan.names,
        plan.features.networks.sources,
        plan.cfg,
        changed=plan.changed,
    )


def plan_evaluation(
    subject: str | Path,
    cfg: EvaluateConfig,
    *,
    reference: str | Path | None = None,
    device: str = "auto",
    cache: Path | None = None,
    reporter: Reporter,
) -> EvaluationPlan:
    """Subjects and references found and paired, networks located; nothing is measured.

    `subject`, `reference`: any form that `open_subjects` takes; without a reference, the datasets in the
    subject's folder. `cache`: folder of the cached features, None: no cache. InputError,
    ConfigError: what cannot be opened or paired, an unknown metric."""
    from orster_cli.evaluation.features import Features
    from orster_cli.evaluation.metrics import ALL, METRICS, check_names, networks_of
    from orster_cli.evaluation.networks import Networks
    from orster_cli.evaluation.views import NEED_REFERENCE
    from orster_cli.inputs.models import SHIPPED

    names = check_names(cfg.metrics)
    subjects = open_subjects(str(subject), cfg, reporter)
    found = datasets_in(str(subject)) if reference is None else [reference]
    if reference is None and found:
        reporter.note(f"reference: {', '.join(map(str, found))}")
    references = [one for text in found for one in open_subjects(str(text), cfg, reporter)]
    paired = [name for name in names if METRICS[name].paired]
    if paired and not references and ALL not in cfg.metrics:
        raise MissingResourceError(
            f"{', '.join(paired)}: no reference is given", hint=f"{NEED_REFERENCE}"
        )
    strict = reference is not None and bool(paired)
    given = None if reference is None else (str(subject), str(reference))
    pairs = pair(subjects, references, strict=strict, given=given)
    if not cfg.spare:
        pairs = replace(pairs, unused=[])
    shipped = SHIPPED if SHIPPED.is_dir() else None
    networks = Networks(networks_of(names), cfg, choose_device(device), shipped=shipped)
    return EvaluationPlan(
        cfg=cfg,
        names=names,
        subjects=subjects,
        pairs=pairs,
        features=Features(networks, cache),
        changed=_changed_settings(cfg),
    )


def measure(
    plan: EvaluationPlan,
    reporter: Reporter,
    *,
    part: slice = slice(None),
    stop: StopFlag | None = None,
    on_subject: Callable[[RenderedViews, SubjectValues], None] | None = None,
) -> EvaluationResult:
    """Measure the subjects and unused references in `part`; distances of sets where these are all.
    `on_subject` is called with each subject while its frames are in memory."""
    from orster_cli.evaluation.evaluate_pairs import PlannedPair, UnusedReference, evaluate_pairs

    def planned(one: Subject) -> PlannedPair:
        reference = plan.pairs.reference.get(one.name)
        return PlannedPair(name=one.name, load=lambda: _load_pair(one, reference))

    def unused(one: Subject) -> UnusedReference:
        return UnusedReference(name=one.name, load=lambda: one.load().content)

    return evaluate_pairs(
        [planned(one) for one in plan.subjects[part]],
        [unused(one) for one in plan.pairs.unused[part]],
        plan.names,
        plan.features,
        plan.cfg,
        reporter,
        whole=part == slice(None),
        stop=stop,
        on_subject=on_subject,
    )


def measure_share(
    plan: EvaluationPlan, reporter: Reporter, processes: int, *, stop: StopFlag | None = None
) -> bool:
    """Measure this process's share of the subjects, which fills the cache of features, and wait for the
    other processes; what there is to say is said of the whole, by the report. Returns True in the process
    that writes it."""
    from accelerate import PartialState

    state = PartialState(cpu=plan.features.networks.device.type == "cpu")
    part = slice(state.process_index, None, processes)
    measure(plan, ProgressAlone(reporter), part=part, stop=stop)
    state.wait_for_everyone()
    return bool(state.is_main_process)


def write_evaluation(
    plan: EvaluationPlan,
    folder: Path,
    reporter: Reporter,
    *,
    scratch: Path,
    stop: StopFlag | None = None,
) -> dict[str, Any]:
    """Measure `plan` and write its report into `folder`; returns the values of `report.json`. `scratch`: a
    folder for temporary files."""
    from orster_cli.report.pictures import ReportPictures
    from orster_cli.report.write import report_values, write_report

    pictures = ReportPictures(
        folder, scratch, several=len(plan.subjects) > 1, sheet_frames=plan.cfg.sheet_frames
    )
    result = measure(plan, reporter, stop=stop, on_subject=pictures.add)
    networks = plan.features.networks.sources
    values = report_values(result, plan.names, networks, plan.cfg, changed=plan.changed)
    write_report(folder, values, pictures.videos)
    return values


def report_content(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a report's manifest says of its `values`."""
    return {key: values[key] for key in ("protocol", "summary", "unavailable")}


def check_available(
    unavailable: Mapping[str, Mapping[str, str]], cfg: EvaluateConfig, reporter: Reporter
) -> None:
    """MissingResourceError for metrics without a value that were given by name; a warning where they were
    part of `all`. `unavailable`: as in `report.json`."""
    from orster_cli.evaluation.metrics import ALL

    lines = [f"{name}: {about['why']}" for name, about in unavailable.items()]
    if not lines:
        return
    if ALL in cfg.metrics:
        for line in lines:
            reporter.warn(f"not computed: {line}")
        return
    ways = dict.fromkeys(about["get"] for about in unavailable.values() if about["get"])
    raise MissingResourceError(
        "the report has no value of these metrics:\n" + "\n".join(lines),
        hint="; ".join(ways) or None,
    )


def _changed_settings(cfg: EvaluateConfig) -> list[str]:
    """Settings that differ from those of the protocol that `cfg` names."""
    from orster_cli.config.load import resolve
    from orster_cli.report.write import protocol_values

    protocol = resolve(template=f"evaluate-{cfg.protocol}").config.evaluate
    now, then = protocol_values(cfg), protocol_values(protocol)
    return sorted(key for key in now if now[key] != then[key])


def _loaded(one: Subject, other: Subject | None) -> LoadedSubject:
    """`one` in memory; a mesh where the dataset of `other` put it."""
    place = _place(one, other)
    return one.load() if place is None or one.load_at is None else one.load_at(place)


def _place(one: Subject, other: Subject | None) -> Normalization | None:
    """Where the dataset that `other` came from put the mesh `one`, which `prepare-data` with other settings
    puts elsewhere; None: `one` is no mesh, or that is not known."""
    found = None if one.load_at is None or other is None else other.placement()
    if found is None or found.sha256 not in {file.sha256 for file in one.inputs}:
        return None
    return found.normalization if int(one.key.rpartition("-")[2]) == found.clip else None


def _load_pair(subject: Subject, reference: Subject | None) -> EvaluationPair:
    """A subject and its reference, in memory."""
    from orster_cli.evaluation.views import Condition, EvaluationPair

    loaded = _loaded(subject, reference)
    other = None if reference is None else _loaded(reference, subject)
    condition = loaded.condition or Condition()
    if condition.text is None and other is not None and other.condition is not None:
        condition = Condition(text=other.condition.text, image=condition.image)
    return EvaluationPair(
        name=subject.name,
        subject=loaded.content,
        reference=None if other is None else other.content,
        reference_name="" if reference is None else reference.name,
        reference_digest="" if reference is None else reference.digest,
        static=loaded.static,
        condition=condition,
    )
