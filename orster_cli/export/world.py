"""The world of exported files: that of the cameras from which an asset was made, or ours."""

from __future__ import annotations

from collections.abc import Sequence

from orster_cli.core.reporting import Reporter
from orster_cli.export.formats import Format
from orster_cli.export.options import ExportOptions
from orster_cli.geometry.similarity import Similarity


def world_of_files(
    similarity: object,
    formats: Sequence[Format],
    options: ExportOptions,
    reporter: Reporter,
    *,
    own_mesh: bool,
    where: str,
) -> Similarity:
    """What brings the world of the files to ours: no change, unless the asset was made from cameras of
    another scale or centre and `options.frame` is "input". Says so. `similarity`: as the manifest of the
    asset `where` keeps it; `own_mesh`: a `glb` holds a mesh file in its own coordinates. InputError: the
    manifest is damaged."""
    found = Similarity.of(similarity, where=where)
    if found == Similarity() or options.frame != "input":
        return Similarity()
    placed = [one.name for one in formats if one.placed and not (own_mesh and one.name == "glb")]
    if placed:
        center = ", ".join(f"{value:.3g}" for value in found.center)
        reporter.info(
            f"{', '.join(placed)}: in the world of the cameras that were given, the object at ({center}) "
            f"and {1 / found.scale:.3g} long; --frame orster puts it at the origin, 1 long"
        )
    return found
