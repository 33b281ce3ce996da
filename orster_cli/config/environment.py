"""Settings in the environment: ``ORSTER_SECTION__KEY``, with two underscores."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from orster_cli.core.errors import ConfigError
from orster_cli.core.names import printable

PREFIX = "ORSTER_"
SEPARATOR = "__"  # between section and key, since keys have single underscores
SWITCHES = ("ORSTER_DEBUG", "ORSTER_NO_PROGRESS")  # read by the command line; not settings
SIMILARITY = 0.85  # of a name that is taken for a misspelt setting


def variable(section: str, key: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{section}{SEPARATOR}{key}".upper()


def settings_in(
    environ: Mapping[str, str], known: Iterable[tuple[str, str]]
) -> dict[str, dict[str, str]]:
    """The texts of the settings in `environ`, by section and key; unknown ones too.

    `known`: section and key of every setting. ConfigError: a variable that is none but was meant as
    one, such as ORSTER_CONSTRUCT_SEED with a single underscore; says the right name."""
    found: dict[str, dict[str, str]] = {}
    known = list(known)
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in SWITCHES:
            continue
        section, mark, key = name.removeprefix(PREFIX).lower().partition(SEPARATOR)
        if mark:
            found.setdefault(section, {})[key] = text
        elif (meant := nearest_setting(name, known)) is not None:
            raise ConfigError(
                f"environment: {printable(name)} is not a setting (did you mean {meant}?)",
                hint="two underscores stand between section and key, as in "
                f"{variable('construct', 'gaussians')}; or unset it",
            )
    return found


def nearest_setting(name: str, known: Iterable[tuple[str, str]]) -> str | None:
    """The variable of the setting that `name` seems to mean; None: it has nothing to do with settings."""
    names = [variable(section, key) for section, key in known]
    # one underscore for two: without underscores both are the same
    plain = {one.replace("_", ""): one for one in names}
    close = difflib.get_close_matches(name.replace("_", ""), list(plain), n=1, cutoff=SIMILARITY)
    return plain[close[0]] if close else None


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Names with our prefix that nothing reads."""
    return sorted(
        name
        for name in environ
        if name.startswith(PREFIX) and SEPARATOR not in name and name not in SWITCHES
    )
