"""The words of `orster run`: the command, its inputs and its own options, and what they mean."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from typer.main import get_command

from orster_cli.core.errors import ConfigError
from orster_cli.core.names import did_you_mean
from orster_cli.ui.progress import clock

if TYPE_CHECKING:
    from orster_cli.fanout.estimate import Estimate

# commands that can be run over items, and their functions
FUNCTIONS = {
    "prepare-data": ("prepare_data", "prepare_data"),
    "generate": ("generate", "generate"),
    "sample-video": ("sample_video", "sample_video"),
    "construct": ("construct", "construct"),
    "evaluate": ("evaluate", "evaluate"),
}
OWN = ("-o", "--out", "--json", "--dry-run", "-n")  # what `orster run` itself gives to each command


def split_words(words: list[str]) -> tuple[str, list[str], list[str]]:
    """The command, its inputs, and its own options, which begin at the first word with a dash.
    ConfigError: no such command, or an option that is not for all items."""
    name, *rest = words
    if name not in FUNCTIONS:
        known = list(FUNCTIONS)
        raise ConfigError(
            f"{name!r} cannot be run over items{did_you_mean(name, known)}",
            hint=f"expected {', '.join(known)}",
        )
    first = next((i for i, word in enumerate(rest) if word.startswith("-")), len(rest))
    options = rest[first:]
    for option in options:
        if option.partition("=")[0] in OWN:
            raise ConfigError(f"{option}: it stands before the --, for all items")
    return name, rest[:first], options


def function_of(name: str) -> Callable[..., None]:
    """The function of a command."""
    module, function = FUNCTIONS[name]
    found: Callable[..., None] = getattr(import_module(f"orster_cli.commands.{module}"), function)
    return found


def parsed(name: str, words: list[str]) -> dict[str, Any]:
    """The values that a command would be called with. A usage error is raised as for the command itself."""
    function = function_of(name)
    given: dict[str, Any] = {}

    def keep(**values: Any) -> None:
        given.update(values)

    keep.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    keep.__annotations__ = function.__annotations__
    app = typer.Typer(add_completion=False)
    app.command(name)(keep)
    get_command(app)(args=words, prog_name=f"orster {name}", standalone_mode=False)
    return given


def check_options(name: str, words: list[str]) -> None:
    """A usage error for words that the command cannot read, before anything is started."""
    parsed(name, words)


def number_of_gpus(text: str) -> float:
    """GPUs of a job or task: a number, or none. ConfigError."""
    if text in ("auto", "none"):
        return 0.0
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if number < 0:
        raise ConfigError(f"--gpus: expected a number for slurm and ray, got {text!r}")
    return number


def slurm_parameters(texts: list[str]) -> tuple[dict[str, Any], str]:
    """KEY=VALUE texts as parameters of submitit, and the cluster ("slurm" without cluster=...).

    A key of sbatch gets the prefix that submitit wants; numbers become numbers. ConfigError."""
    found: dict[str, Any] = {}
    cluster = "slurm"
    for text in texts:
        key, mark, value = text.partition("=")
        if not (key and mark):
            raise ConfigError(f"--slurm: expected KEY=VALUE, got {text!r}")
        if key == "cluster":
            cluster = value
        else:
            name = key if key.startswith("slurm_") else f"slurm_{key}"
            found[name] = int(value) if value.isdecimal() else value
    return found, cluster


def cost(
    estimate: Estimate | None, items: int, workers: int | None
) -> tuple[dict[str, Any], list[str]]:
    """What `items` would take, as values and as lines. `workers`: None where a cluster decides."""
    if estimate is None or not items:
        return {}, []
    processor = estimate.processor_seconds * items
    values: dict[str, Any] = {
        "measured": estimate.measured,
        "item_seconds": round(estimate.seconds, 3),
        "processor_hours": round(processor / 3600, 4),
        "worker_bytes": int(estimate.memory),
        "bytes": int(estimate.bytes * items),
    }
    lines = [
        f"  measured on {estimate.measured}: {estimate.seconds:.3g} s each, "
        f"{estimate.memory / 2**30:.2f} GiB a worker",
        f"  all: {processor / 3600:.3g} hours of one core"
        + (f", {estimate.bytes * items / 1e9:.3g} GB on the disk" if estimate.bytes else ""),
    ]
    if workers:
        total = estimate.total_seconds(items, workers)
        values |= {"workers": workers, "seconds": round(total, 1)}
        lines.append(f"  here: about {clock(total)} with {workers} workers, if cores are idle")
    return values, lines
