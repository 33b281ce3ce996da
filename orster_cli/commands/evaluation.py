"""What `orster evaluate` was asked for, opened and paired; and the measuring of it, on one process or on
several.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orster_cli.commands.stage import Stage
    from orster_cli.evaluate.evaluate_cases import Outcome
    from orster_cli.evaluate.features import Features
    from orster_cli.evaluate.views import Case
    from orster_cli.inputs.pairing import Pairs
    from orster_cli.inputs.subjects import Subject


@dataclass
class Asked:
    """Everything that the report depends on, opened but not looked at."""

    names: tuple[str, ...]
    subjects: list[Subject]
    pairs: Pairs
    features: Features
    changed: list[str]


def open_asked(
    stage: Stage,
    subject: str,
    reference: str | None,
    names: tuple[str, ...],
    device: str,
    cache: Path | None,
) -> Asked:
    """Subjects and references found and paired, networks located; nothing is measured. InputError,
    ConfigError: what cannot be opened or paired."""
    from orster_cli.core.devices import choose_device
    from orster_cli.evaluate.features import Features
    from orster_cli.evaluate.metrics import METRICS, networks_of
    from orster_cli.evaluate.networks import Networks
    from orster_cli.inputs.models import SHIPPED
    from orster_cli.inputs.pairing import pair
    from orster_cli.inputs.subjects import datasets_in, open_subjects

    cfg = stage.resolved.config.evaluate
    subjects = open_subjects(subject, cfg, stage.out)
    found = [reference] if reference is not None else [str(p) for p in datasets_in(subject)]
    if reference is None and found:
        stage.out.info(f"reference: {', '.join(found)}")
    references = [one for text in found for one in open_subjects(text, cfg, stage.out)]
    strict = reference is not None and any(METRICS[name].paired for name in names)
    pairs = pair(subjects, references, strict=strict)
    if not cfg.spare:
        pairs = replace(pairs, spare=[])
    folder = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orster"
    shipped = SHIPPED if SHIPPED.is_dir() else None
    networks = Networks(networks_of(names), cfg, choose_device(device), shipped=shipped)
    return Asked(
        names=names,
        subjects=subjects,
        pairs=pairs,
        features=Features(networks, folder / "features"),
        changed=_changed(stage),
    )


def _changed(stage: Stage) -> list[str]:
    """Settings of the protocol that the user changed: the figures are then not the protocol's."""
    from orster_cli.config.load import resolve
    from orster_cli.report.write import protocol_values

    cfg = stage.resolved.config.evaluate
    known = resolve(template=f"evaluate-{cfg.protocol}").config.evaluate
    now, then = protocol_values(cfg), protocol_values(known)
    return sorted(key for key in now if now[key] != then[key])


def reference_of(asked: Asked, subject: Subject) -> str:
    """What the subject is held against, for the manifest; "" for nothing."""
    found = asked.pairs.reference.get(subject.name)
    return "" if found is None else f"{found.name} {found.key}"


def first_process(stage: Stage, asked: Asked, world: int) -> bool:
    """Look at this process's share of the subjects, wait for all; whether to write the report."""
    from accelerate import PartialState

    state = PartialState(cpu=asked.features.networks.device.type == "cpu")
    measure(stage, asked, part=slice(state.process_index, None, world))
    state.wait_for_everyone()
    return bool(state.is_main_process)


def measure(stage: Stage, asked: Asked, *, part: slice = slice(None), seen: Any = None) -> Outcome:
    """The figures of the subjects and spare references in `part`; `seen` as in `evaluate.run`."""
    from orster_cli.evaluate.evaluate_cases import Planned, Spare, evaluate

    def planner(one: Subject) -> Planned:
        return Planned(name=one.name, load=lambda: _case(one, asked.pairs.reference.get(one.name)))

    return evaluate(
        [planner(one) for one in asked.subjects[part]],
        [
            Spare(name=one.name, load=lambda one=one: one.load().side)  # type: ignore[misc]
            for one in asked.pairs.spare[part]
        ],
        asked.names,
        asked.features,
        stage.resolved.config.evaluate,
        stage.out,
        stop=stage.stop,
        seen=seen,
    )


def _case(subject: Subject, reference: Subject | None) -> Case:
    """Both sides in memory."""
    from orster_cli.evaluate.views import Case, Condition

    ours = subject.load()
    theirs = None if reference is None else reference.load()
    condition = ours.condition or Condition()
    if condition.text is None and theirs is not None and theirs.condition is not None:
        condition = Condition(text=theirs.condition.text, image=condition.image)
    return Case(
        name=subject.name,
        ours=ours.side,
        reference=None if theirs is None else theirs.side,
        reference_name="" if reference is None else reference.name,
        static=ours.static,
        condition=condition,
    )
