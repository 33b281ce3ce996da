"""Thresholds that a report must reach: `--fail-under psnr=16`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from orster_cli.core.errors import ConfigError, GateError
from orster_cli.core.names import did_you_mean, printable
from orster_cli.evaluation.metrics import columns_of

Gates = dict[str, float]


def parse_gates(texts: Sequence[str], metrics: Sequence[str]) -> Gates:
    """{column: least mean} from texts such as "psnr=16". ConfigError: `metrics` have no such column, its
    lower values are better, or the number is missing."""
    columns = {column.name: column for column in columns_of(metrics)}
    gates: Gates = {}
    for text in texts:
        name, mark, number = text.partition("=")
        if name not in columns:
            raise ConfigError(
                f"--fail-under: no figure {printable(name)!r}{did_you_mean(name, list(columns))}",
                hint="one of " + ", ".join(f"{known}=NUMBER" for known in columns),
            )
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not mark or not math.isfinite(value):
            raise ConfigError(f"--fail-under: expected {name}=NUMBER, got {printable(text)!r}")
        if columns[name].better == "lower":
            raise ConfigError(f"--fail-under: lower is better for {name}")
        gates[name] = value
    return gates


def check_gates(gates: Gates, means: Mapping[str, Mapping[str, float | None]]) -> None:
    """GateError where the mean of a subject is below its gate, or has no value.

    `means`: {subject: {column: mean}}."""
    failed = []
    for subject, values in means.items():
        for name, least in gates.items():
            value = values.get(name)
            if value is None:
                failed.append(
                    f"{subject}: {name} could not be computed, at least {least:g} is needed"
                )
            elif value < least:
                failed.append(f"{subject}: {name} is {value:.4g}, at least {least:g} is needed")
    if failed:
        raise GateError(
            "\n".join(failed),
            hint="the report is written all the same, and its page shows what was measured",
        )
