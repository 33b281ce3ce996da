"""What the calls have in common: settings, progress and warnings, the folder of a result."""

from __future__ import annotations

import dataclasses
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orster_cli.api.arguments import a_path, public, wrong
from orster_cli.api.words import in_python
from orster_cli.artifacts.copying import copy_artifact
from orster_cli.artifacts.manifest import InputFile, Kind, Parent
from orster_cli.artifacts.outputs import InputPath
from orster_cli.artifacts.store import Artifact, Draft, begin, open_artifact
from orster_cli.config.construct import ConstructConfig
from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.config.load import Resolved, resolve, section_values
from orster_cli.config.prepare import PrepareConfig
from orster_cli.config.sample import SampleConfig
from orster_cli.config.schema import Config
from orster_cli.core.errors import ConfigError
from orster_cli.core.names import printable
from orster_cli.core.reporting import Reporter

Section = PrepareConfig | SampleConfig | ConstructConfig | EvaluateConfig
Settings = Mapping[str, Any] | Section | Config | str | Path
"""{"construct.gaussians": 8000}, a section or a whole `Config`, which set all their keys, or the path of a
TOML file."""

MOST_WARNINGS = 100  # that a manifest keeps, as the commands do


def resolve_settings(
    config: Settings | None,
    *,
    template: str | None = None,
    flags: Mapping[str, Any] | None = None,
    model: Path | None = None,
) -> Resolved:
    """`config` over the template and the defaults, under `flags`; arguments as `config.load.resolve`.

    ConfigError: an unknown key, a wrong type or a value out of bounds. The environment is not read."""
    file: Path | None = None
    overrides: dict[str, Any] = {}
    sections = {f.name: getattr(Config(), f.name) for f in dataclasses.fields(Config)}
    if isinstance(config, str | Path):
        file = Path(config)
    elif isinstance(config, Mapping):
        overrides = dict(config)
    elif config is not None:
        given = [(name, config) for name, one in sections.items() if type(one) is type(config)]
        if isinstance(config, Config):
            given = [(name, getattr(config, name)) for name in sections]
        if not given:
            raise ConfigError(
                f"config: expected settings, got {type(config).__name__}",
                hint='give {"construct.gaussians": 8000}, a config object or the path of a TOML file',
            )
        overrides = {f"{s}.{k}": v for s, one in given for k, v in section_values(one).items()}
    return resolve(
        template=template, file=file, overrides=overrides, flags=flags or {}, model=model
    )


class Messages:
    """A `Reporter` that passes progress and messages to `reporter`, in Python's words, and keeps the
    warnings as the command line says them. Without a reporter, warnings go to Python's `warnings`, the rest
    nowhere."""

    def __init__(self, reporter: Reporter | None) -> None:
        if reporter is not None and not all(
            callable(getattr(reporter, name, None)) for name in ("step", "info", "warn")
        ):
            raise wrong("reporter", "an object with step, info and warn", reporter)
        self._reporter = reporter
        self.warnings: list[str] = []

    def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
        if self._reporter is not None:
            self._reporter.step(stage, done, total, **figures)

    def info(self, message: str) -> None:
        if self._reporter is not None:
            self._reporter.info(in_python(message))

    def note(self, message: str) -> None:
        self.info(message)

    def warn(self, message: str) -> None:
        self.warnings.append(printable(message))
        said = in_python(message)
        if self._reporter is not None:
            self._reporter.warn(said)
        else:
            warnings.warn(said, UserWarning, stacklevel=_caller())


def _caller() -> int:
    """The stack level, for `warnings.warn` in the calling function, of the first frame outside orster."""
    package, level = __name__.partition(".")[0], 2
    frame = sys._getframe(2)
    while frame.f_back is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] != package:
            return level
        frame, level = frame.f_back, level + 1
    return level


class Folder:
    """The folder of an artifact. It is temporary, and goes with the object that holds it, unless an
    output was given or `save` was called."""

    def __init__(self, artifact: Artifact, held: TemporaryDirectory[str] | None = None) -> None:
        self.artifact = artifact
        if held is not None:
            weakref.finalize(self, held.cleanup)

    @property
    def path(self) -> Path:
        return self.artifact.path

    @public
    def save(self, out: str | Path, *, force: bool = False) -> Path:
        """A copy in `out`, with the same id. ConflictError: `out` holds something else; `force` replaces
        an artifact of the same kind."""
        self.artifact = copy_artifact(self.artifact, a_path("out", out), force=force)
        return self.path


def make(
    out: str | Path | None,
    build: Callable[[Draft], Artifact],
    *,
    kind: Kind,
    command: str,
    config: dict[str, Any],
    parents: list[Parent],
    inputs: list[InputFile],
    seeds: dict[str, int] | None = None,
    force: bool = False,
    messages: Messages,
    reads: Iterable[InputPath] = (),
) -> Folder:
    """The artifact in `out` (None: a temporary folder), which `build` commits unless it is there. Arguments
    and errors as `artifacts.store.begin`."""
    held = None
    with ExitStack() as on_error:
        if out is None:
            held = TemporaryDirectory(prefix="orster-")
            on_error.callback(held.cleanup)
            out = Path(held.name) / kind
        target = a_path("out", out)
        draft = begin(
            target,
            kind=kind,
            command=command,
            config=config,
            parents=parents,
            inputs=inputs,
            seeds=seeds,
            force=force,
            reporter=messages,
            reads=reads,
        )
        if draft is None:
            return Folder(open_artifact(target, kind=kind))
        with draft:
            folder = Folder(build(draft), held)
        on_error.pop_all()
        return folder
