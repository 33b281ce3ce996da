"""Defaults, files, templates, environment and command line, resolved to one config.

The later one wins: defaults < file < template < environment (``ORSTER_SECTION__KEY``) < command
line. A template overrides a project's file, because the user named it in the command. Each value
keeps its origin.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from orster_cli.config.environment import settings_in
from orster_cli.config.fields import recorded
from orster_cli.config.schema import Config
from orster_cli.config.values import Text, setting_value
from orster_cli.core.errors import ConfigError
from orster_cli.core.limits import TOML_MAX_BYTES, TOML_MAX_LINE
from orster_cli.core.names import did_you_mean, printable

RENAMED = {("model", "prediction"): 'model.parametrization, one of "epsilon", "v" and "residual"'}
DEFAULT = "default"  # origin of a value that nothing sets
# settings of `construct` that a model may bring: how much its clips' own noise may move the Gaussians
OF_MODEL = ("nodes", "rigidity", "leave", "resize", "isometry", "canonical", "blurred", "root")
Values = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Resolved:
    """The config and, for each "section.key", where its value came from."""

    config: Config
    origins: dict[str, str]

    def section(self, name: str) -> dict[str, Any]:
        """One section as plain JSON values."""
        return section_values(getattr(self.config, name))

    def recorded(self, name: str) -> dict[str, Any]:
        """One section as a manifest records it."""
        section = getattr(self.config, name)
        return {k: v for k, v in section_values(section).items() if k in recorded(section)}


def section_values(section: Any) -> dict[str, Any]:
    """A section's settings as plain JSON values (tuples become lists)."""
    values = dataclasses.asdict(section)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def resolve(
    *,
    template: str | None = None,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    assignments: list[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
    model: Path | None = None,
) -> Resolved:
    """The config of one run.

    `template`: the name of a shipped preset, or a TOML path; `assignments`: "section.key=value"
    texts; `overrides`: {"section.key": value} from Python; `flags`: {"section.key": value} from the
    command's own options (None: not given); `model`: a TOML file with a model's own settings, of sampling
    and of how its clips move as assets (`OF_MODEL`), which every other source overrides.

    ConfigError: unknown section or key (with the nearest name), wrong type, out of bounds."""
    values: Values = {}
    origins: dict[str, str] = {}
    layers: list[tuple[str, Values]] = []
    if model is not None:
        layers.append(("model", _of_model(model)))
    if file is not None:
        layers.append((f"file {_one_line(str(file))}", read_toml(file)))
    if template is not None:
        path = find_template(template)
        layers.append((f"template {_one_line(path.stem)}", read_toml(path)))
    layers.append(("environment", _from_environment(environ or {})))
    layers.append(("--set", _from_assignments(assignments or [])))
    layers.append(("config", _from_overrides(overrides or {})))
    layers.append(("command line", _from_flags(flags or {})))
    for origin, layer in layers:
        for section, entries in layer.items():
            for key, value in entries.items():
                values.setdefault(section, {})[key] = _checked(section, key, value, origin)
                origins[f"{section}.{key}"] = origin
    sections = {
        f.name: _section_type(f.name)(**values.get(f.name, {})) for f in dataclasses.fields(Config)
    }
    for section, key in _all_keys():
        origins.setdefault(f"{section}.{key}", DEFAULT)
    return Resolved(Config(**sections), origins)


def _of_model(path: Path) -> Values:
    values = read_toml(path)
    steadying = {k: v for k, v in values.get("construct", {}).items() if k in OF_MODEL}
    return {"sample": values.get("sample", {}), "construct": steadying}


def shipped_folder(name: str) -> Path:
    """A folder of the repository that a wheel carries: package data, or `name` of a checkout."""
    packaged = Path(str(resources.files("orster_cli"))) / f"_{name}"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / name


def templates_folder() -> Path:
    """The shipped presets."""
    return shipped_folder("templates")


def template_names() -> list[str]:
    """Names of the shipped presets."""
    return sorted(p.stem for p in templates_folder().glob("*.toml"))


def find_template(name: str) -> Path:
    """A shipped preset, or a TOML file given by its path."""
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        return path
    known = template_names()
    if name not in known:
        raise ConfigError(
            f"no template {printable(name)!r}{did_you_mean(name, known)}",
            hint=f"shipped templates: {', '.join(known)}; or give the path of a .toml file",
        )
    return templates_folder() / f"{name}.toml"


def preset_template(preset: str | None) -> str | None:
    """The template of a preset of `construct`. ConfigError: there is none of this name."""
    return _template_of("construct", "preset", preset)


def protocol_template(protocol: str | None) -> str | None:
    """The template of a protocol of `evaluate`. ConfigError: there is none of this name."""
    return _template_of("evaluate", "protocol", protocol)


def _template_of(section: str, word: str, name: str | None) -> str | None:
    if name is None:
        return None
    prefix = f"{section}-"
    known = [one.removeprefix(prefix) for one in template_names() if one.startswith(prefix)]
    if name not in known:
        near = did_you_mean(name, known) if isinstance(name, str) else ""
        shown = printable(str(name))[:80]
        raise ConfigError(f"no {word} {shown!r}{near}", hint=f"{word}s: {', '.join(known)}")
    return f"{prefix}{name}"


def read_toml(path: Path) -> Values:
    """The tables of a TOML file; ConfigError where it is not ``[section]`` and ``key = value``."""
    try:
        with path.open("rb") as handle:
            data = handle.read(TOML_MAX_BYTES + 1)
        if len(data) > TOML_MAX_BYTES:
            raise ConfigError(f"{path}: larger than {TOML_MAX_BYTES} bytes, not a config file")
        if max(map(len, data.split(b"\n"))) > TOML_MAX_LINE:
            raise ConfigError(f"{path}: a line is longer than {TOML_MAX_LINE} bytes")
        values = tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n"))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigError(f"{path}: cannot be read: {why}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {printable(str(error))[:200]}") from error
    for section, entries in values.items():
        if not isinstance(entries, dict):
            raise ConfigError(
                f"{path}: {printable(section)!r} is outside a section",
                hint=f"sections are {', '.join(f'[{n}]' for n in _section_names())}",
            )
    return values


def _one_line(name: str) -> str:
    """The name of a file as part of a TOML comment."""
    return " ".join(printable(name).split())


def _section_names() -> list[str]:
    return [f.name for f in dataclasses.fields(Config)]


def _section_type(name: str) -> Any:
    return typing.get_type_hints(Config)[name]


def _all_keys() -> list[tuple[str, str]]:
    return [
        (name, f.name) for name in _section_names() for f in dataclasses.fields(_section_type(name))
    ]


def _from_environment(environ: Mapping[str, str]) -> Values:
    found = settings_in(environ, _all_keys())
    return {
        section: {key: Text(text) for key, text in entries.items()}
        for section, entries in found.items()
    }


def _from_assignments(assignments: list[str]) -> Values:
    out: Values = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or not dot:
            raise ConfigError(
                f"--set {printable(text)!r}: expected section.key=value",
                hint="for example --set construct.gaussians=8000; `orster config show` lists the keys",
            )
        out.setdefault(section, {})[key.strip()] = Text(value.strip())
    return out


def _from_overrides(overrides: Mapping[str, Any]) -> Values:
    out: Values = {}
    for name, value in overrides.items():
        section, dot, key = str(name).partition(".")
        if not dot:
            raise ConfigError(
                f"config: expected names as section.key, got {printable(str(name))!r}",
                hint='for example {"construct.gaussians": 8000}; `orster config show` lists the keys',
            )
        out.setdefault(section, {})[key] = value
    return out


def _from_flags(flags: Mapping[str, Any]) -> Values:
    return _from_overrides({name: value for name, value in flags.items() if value is not None})


def _checked(section: str, key: str, value: Any, origin: str) -> Any:
    names = _section_names()
    if section not in names:
        raise ConfigError(
            f"{origin}: no section {printable(section)!r}{did_you_mean(section, names)}",
            hint=f"sections: {', '.join(names)}",
        )
    kind = _section_type(section)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    if (section, key) in RENAMED:
        raise ConfigError(
            f"{origin}: {section}.{key} has another name",
            hint=f"it is now {RENAMED[section, key]}",
        )
    if key not in fields:
        raise ConfigError(
            f"{origin}: no setting {printable(f'{section}.{key}')!r}"
            f"{did_you_mean(key, list(fields))}",
            hint=f"see them with: orster config show --section {section}",
        )
    where = f"{origin}: {section}.{key}"
    return setting_value(value, typing.get_type_hints(kind)[key], fields[key].metadata, where)


def to_toml(resolved: Resolved, sections: list[str], *, defaults: bool = True) -> str:
    """The config as TOML that `--config` reads back, each value with its origin as a comment; without
    `defaults` only the values that have another origin."""
    lines = []
    for name in sections:
        lines.append(f"[{name}]")
        for key, value in resolved.section(name).items():
            if not defaults and resolved.origins[f"{name}.{key}"] == DEFAULT:
                continue
            if value is None:
                lines.append(f"# {key} is unset")
                continue
            text = json.dumps(value, ensure_ascii=False)
            lines.append(f"{key} = {text}  # {resolved.origins[f'{name}.{key}']}")
        lines.append("")
    return "\n".join(lines)
