"""How near a mesh moved by an asset comes to the true animation.

    python -m benchmarks.mesh_motion --glb ../shared/data/glb [--preset fast] [--orbits 1,4] [--out PAGE]

Each object gives one orbit of 24 frames of 128 pixels, or several, evenly spread, and the static orbit. The
asset constructed from them is exported onto the object's own mesh at the start of the animation. The file
is read back and played: the mean distance of its vertices to those of the true animation at the 24 times
of the frames, in per cent of the diagonal of the mesh. The baseline is the mesh at rest.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.construct_cpu import FRAMES, orbit
from benchmarks.fitting import fit
from benchmarks.timing import table, write_results
from orster_cli.config.construct import ConstructConfig
from orster_cli.config.load import resolve
from orster_cli.config.prepare import PrepareConfig
from orster_cli.construction.asset import load_asset
from orster_cli.core.reporting import Silent
from orster_cli.dataset.views import normalize_object
from orster_cli.export.cleaning import clean
from orster_cli.export.formats import FORMATS
from orster_cli.export.job import ExportJob
from orster_cli.export.options import ExportOptions
from orster_cli.export.run import export_asset
from orster_cli.export.source_mesh import SourceMesh, open_source_mesh
from orster_cli.gltf.container import read_gltf
from orster_cli.gltf.load import load_gltf, read_scene
from orster_cli.splatting.gaussians4d import Gaussians4D

OBJECTS = {
    "animal_fox": 11,  # walking
    "animal_husky": 3,  # galloping
    "critter_frog": 3,  # jumping
    "dino_trex": 4,  # running
    "sea_shark": 0,  # swimming
}
BONES = 24


def fitted(
    glb: Path, name: str, cfg: ConstructConfig, orbits: int, folder: Path
) -> tuple[Gaussians4D, str]:
    """The asset of the true clips of `name`, and what recurrence was found."""
    prepare = PrepareConfig(frames=FRAMES, resolution=cfg.resolution)
    placed = normalize_object(load_gltf(glb / f"{name}.glb"), OBJECTS[name], prepare)
    clips = [orbit(placed, prepare, 360.0 * k / orbits) for k in range(orbits)]
    content = fit(clips, orbit(placed, prepare, 0.0, still=True), cfg, folder)
    return load_asset(folder), str(content["recurrence"])


def vertex_errors(
    asset: Gaussians4D, source: SourceMesh, folder: Path, bones: int
) -> tuple[float, float]:
    """Per cent of the diagonal: of the exported mesh, and of the mesh at rest."""
    job = ExportJob(
        name="mesh",
        asset=clean(asset).asset,
        options=ExportOptions(bones=bones),
        reporter=Silent(),
        frames=FRAMES,
        mesh=source,
    )
    made = next(iter(export_asset(job, [FORMATS["glb"]], folder / f"skin{bones}", force=True)))
    played, place = read_scene(read_gltf(made.path), unweld=False), source.normalization
    original = read_scene(read_gltf(source.path), unweld=False)
    truth = normalize_object(original, source.clip, PrepareConfig(frames=FRAMES))
    timeline, whole = asset.motion.timeline, played.clips[0].end
    rest = source.mesh.vertices
    moved, still = [], []
    for moment in np.linspace(0, 1, FRAMES):
        phase = moment * timeline.cycles % 1.0 if timeline.looping else moment
        now = played.evaluate(0, phase * whole).transformed(place.scale, place.offset)
        wanted = truth.mesh(moment).vertices
        moved.append(np.linalg.norm(now.vertices - wanted, axis=1).mean())
        still.append(np.linalg.norm(rest - wanted, axis=1).mean())
    size = 100 / np.linalg.norm(np.ptp(rest, axis=0))
    return float(np.mean(moved) * size), float(np.mean(still) * size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--glb", type=Path, required=True)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--orbits", default="1,4")
    parser.add_argument("--objects", default=",".join(OBJECTS))
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    cfg = resolve(template=f"construct-{given.preset}", assignments=given.set).config.construct
    counts = [int(count) for count in given.orbits.split(",")]
    rows = []
    for name in given.objects.split(","):
        source = open_source_mesh(given.glb / f"{name}.glb", clip=OBJECTS[name], frames=FRAMES)
        cells, still = [], 0.0
        for orbits in counts:
            began = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                asset, found = fitted(given.glb, name, cfg, orbits, Path(folder))
                morph, still = vertex_errors(asset, source, Path(folder), 0)
                skin, _ = vertex_errors(asset, source, Path(folder), BONES)
            cells += [f"{morph:.2f}", f"{skin:.2f}"]
            spent = time.process_time() - began
            print(
                name, orbits, cells[-2:], f"at rest {still:.2f}; {found}; {spent:.0f} s", flush=True
            )
        rows.append([name, f"{still:.2f}", *cells])
    columns = [f"{count} orbit(s){kind}" for count in counts for kind in ("", f", skin {BONES}")]
    page = table(["object", "at rest", *columns], rows)
    print(page)
    if given.out:
        title = f"Vertices of exported meshes, % of the diagonal ({given.preset})"
        write_results(given.out, title, [page])


if __name__ == "__main__":
    main()
