"""`orster evaluate`: an asset or a clip against a reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orster_cli.ui.options import (
    ConfigOption,
    DryRunOption,
    ForceOption,
    JsonOption,
    OutOption,
    QuietOption,
    SetOption,
)

if TYPE_CHECKING:
    from orster_cli.commands.common import Stage
    from orster_cli.evaluate.compare import Comparison
    from orster_cli.evaluate.metrics_table import Metric


def evaluate(
    subjects: Annotated[
        list[Path],
        typer.Argument(help="Asset or clip artifacts, or a folder of them."),
    ],
    reference: Annotated[
        str,
        typer.Option(help="Clip to compare with: clip/, dataset#key[:view], or a video."),
    ],
    out: OutOption,
    metrics: Annotated[str | None, typer.Option(help="Comma-separated, e.g. psnr,ssim.")] = None,
    fail_under: Annotated[
        list[str] | None, typer.Option(help="metric=value: exit 7 when the mean is worse.")
    ] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure what an asset shows at a reference's cameras and times.

    Example: orster evaluate asset/ --reference dataset#frog-0:eval -o report/ --metrics psnr,ssim"""
    from orster_cli.artifacts.store import open_artifact
    from orster_cli.commands.clips import open_clip
    from orster_cli.commands.common import Stage
    from orster_cli.construct.source import OrbitFlags
    from orster_cli.evaluate.metrics_table import choose
    from orster_cli.evaluate.report import write_report

    stage = Stage.open(
        "evaluate",
        command="evaluate",
        out=out,
        flags={"evaluate.metrics": metrics},
        config=config,
        template=None,
        assignments=assignments,
        force=force,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )
    chosen = choose(stage.resolved.config.evaluate.metrics)
    gates = _gates(fail_under or [], chosen)
    opened = [open_artifact(path) for path in _artifacts(subjects)]
    target = open_clip(reference, OrbitFlags(), stage.out)
    draft = stage.plan(
        kind="report",
        parents=[*(a.parent() for a in opened), *target.parents],
        inputs=target.inputs,
        extra={"reference": target.key},
    )
    if draft is None:
        return
    with draft:
        comparisons = []
        for done, artifact in enumerate(opened, start=1):
            comparisons.append(_compare(artifact, target.clip, chosen, stage))
            stage.out.step("evaluate", done, len(opened))
        about = {
            "protocol": "pairwise-1",
            "background": "white",
            "resolution": [target.clip.cameras.width, target.clip.cameras.height],
            "reference": [p.model_dump() for p in target.parents] + [target.key],
            "subjects": [a.parent().model_dump() for a in opened],
        }
        value = write_report(draft.dir, comparisons, chosen, about)
        means = {name: entry["mean"] for name, entry in value["metrics"].items()}
        artifact = draft.commit({"means": means, "objects": len(opened)})
    stage.done(
        artifact,
        summary=_table(comparisons, chosen),
        next_step=f"look at {out / 'sheet.png'}",
        values={"means": means},
    )
    _check_gates(gates, means, chosen)


def _artifacts(paths: list[Path]) -> list[Path]:
    """The artifact folders among `paths` and directly below those that are none themselves."""
    from orster_cli.artifacts.manifest import MANIFEST, read_manifest
    from orster_cli.core.errors import InputError

    found = []
    for path in paths:
        if (path / MANIFEST).is_file():
            found.append(path)
            continue
        below = [p.parent for p in sorted(path.glob(f"*/{MANIFEST}"))]
        below += [p.parent for p in sorted(path.glob(f"*/*/{MANIFEST}"))]
        fitting = [p for p in below if read_manifest(p).kind in ("asset", "clip")]
        if not fitting:
            raise InputError(
                f"{path}: expected an asset or clip artifact, or a folder of them",
                hint="make one with: orster construct ... -o asset/",
            )
        found += fitting
    return found


def _compare(artifact: Any, reference: Any, chosen: dict[str, Metric], stage: Stage) -> Comparison:
    from orster_cli.construct.asset import load_asset
    from orster_cli.core.errors import InputError
    from orster_cli.evaluate.compare import compare_asset, compare_clip
    from orster_cli.io.clip_files import read_clip

    name = artifact.path.name
    if artifact.kind == "asset":
        return compare_asset(name, load_asset(artifact.path), reference, chosen)
    if artifact.kind == "clip":
        return compare_clip(name, read_clip(artifact.path), reference, chosen, stage.out)
    raise InputError(f"{artifact.path}: expected an asset or a clip, found a {artifact.kind}")


def _table(comparisons: list[Comparison], chosen: dict[str, Metric]) -> str:
    from orster_cli.ui.out import table

    rows = []
    for comparison in comparisons:
        means = comparison.means()
        rows.append([comparison.name, *(f"{means[name]:.4f}" for name in chosen)])
    if len(rows) > 1:
        total = [sum(c.means()[n] for c in comparisons) / len(comparisons) for n in chosen]
        rows.append(["mean", *(f"{value:.4f}" for value in total)])
    return table(rows, ["object", *chosen])


def _gates(texts: list[str], chosen: dict[str, Metric]) -> dict[str, float]:
    from orster_cli.core.errors import ConfigError

    gates = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            gates[name] = float(value)
        except ValueError as error:
            raise ConfigError(f"--fail-under {text!r}: expected metric=number") from error
        if not equals or name not in chosen:
            raise ConfigError(f"--fail-under {text!r}: {name!r} is not among --metrics")
    return gates


def _check_gates(
    gates: dict[str, float], means: dict[str, float], chosen: dict[str, Metric]
) -> None:
    from orster_cli.core.errors import GateError

    for name, bound in gates.items():
        better = chosen[name].higher_is_better
        if (means[name] < bound) if better else (means[name] > bound):
            word = "under" if better else "over"
            raise GateError(f"{name} is {means[name]:.4f}, {word} the gate of {bound:g}")
