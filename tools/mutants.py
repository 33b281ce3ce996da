"""Planted faults that the fast tests must catch, one a package.

python -m tools.mutants                 # all of them, some minutes
python -m tools.mutants transfer io     # those of some packages

Each is put into a copy of the working tree, where the named tests must then fail. A fault whose lines are
gone is an error (tests/unit/test_mutants.py looks for that in every run): plant it elsewhere.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CAUGHT, SURVIVED = "caught", "SURVIVED"


@dataclass(frozen=True)
class Mutant:
    """`wrong` in place of `right` in a file of `orster_cli`; `tests` are what must notice."""

    file: str
    fault: str
    right: str
    wrong: str
    tests: str

    @property
    def package(self) -> str:
        return self.file.split("/")[0]

    def planted_in(self, text: str) -> str:
        """The file's text with the fault. ValueError: the line is not there exactly once."""
        if text.count(self.right) != 1:
            raise ValueError(
                f"{self.file}: {text.count(self.right)} times {self.right!r}, expected 1"
            )
        return text.replace(self.right, self.wrong)


MUTANTS = (
    Mutant(
        "geometry/orbit.py", "the camera turns clockwise",
        "[horizontal * torch.sin(az), -horizontal", "[-horizontal * torch.sin(az), -horizontal",
        "tests/unit/test_conventions.py",
    ),
    Mutant(
        "gltf/keyframes.py", "a spline takes the out-tangent of its second key for the in-tangent",
        "+ step * (u3 - u2) * values[after, 0]", "+ step * (u3 - u2) * values[after, 2]",
        "tests/unit/test_animation.py tests/unit/test_scene.py",
    ),
    Mutant(
        "mesh_render/near_plane.py", "half a sample off: pixels count from their corners",
        "return pixels * s - 0.5, inv_z", "return pixels * s, inv_z",
        "tests/unit/test_render_mesh.py tests/parity/test_raster_parity.py",
    ),
    Mutant(
        "splatting/hexplane_reference.py", "a looping motion has a seam: the last cell meets itself",
        "return first, (first + 1) % cells,", "return first, min(first + 1, cells - 1),",
        "tests/unit/test_hexplane.py tests/parity/test_hexplane_parity.py",
    ),
    Mutant(
        "diffusion/schedule.py", "the sign in v = a e - s x_0",
        "return a * noise - s * clean", "return a * noise + s * clean",
        "tests/parity/test_schedule_parity.py",
    ),
    Mutant(
        "transfer/attention.py", "temporal attention swaps height and width",
        "return video.permute(0, 3, 4, 1, 2)", "return video.permute(0, 3, 4, 2, 1)",
        "tests/unit/test_transfer.py",
    ),
    Mutant(
        "sampling/denoise.py", "guidance starts from the full prediction, not from the bare one",
        "prediction = out[-1]", "prediction = out[0]",
        "tests/unit/test_sampling.py tests/parity/test_pipeline_parity.py",
    ),
    Mutant(
        "construction/trainable_asset.py", "a missing detach: isometry moves the Gaussians at rest",
        'means = self.params["means"].detach()\n            isometry',
        'means = self.params["means"]\n            isometry',
        "tests/unit/test_fit.py",
    ),
    Mutant(
        "training/ema.py", "averages follow the weights and forget the past",
        "weights, 1 - decay)", "weights, decay)",
        "tests/unit/test_ema.py",
    ),
    Mutant(
        "metrics/frechet.py", "the covariance is divided by N, not by N - 1",
        "return self._scatter / (self.count - 1)", "return self._scatter / self.count",
        "tests/unit/test_frechet.py",
    ),
    Mutant(
        "dataset/curation.py", "one pair of unlike frames is enough to call a motion broken",
        "if max(self.over_frame) < broken", "if min(self.over_frame) < broken",
        "tests/unit/test_curation.py",
    ),
    Mutant(
        "evaluation/gates.py", "a figure that just reaches its gate fails",
        "elif value < least:", "elif value <= least:",
        "tests/unit/test_evaluate.py tests/e2e/test_evaluate.py",
    ),
    Mutant(
        "io/transforms_json.py", "times are spread as if one more frame followed",
        "(n - low) / max(high - low, 1) for", "(n - low) / max(high - low + 1, 1) for",
        "tests/unit/test_frame_order.py tests/unit/test_clip_files.py",
    ),
    Mutant(
        "artifacts/lock.py", "a shared lock in place of an exclusive one: two may write",
        "fcntl.LOCK_EX", "fcntl.LOCK_SH",
        "tests/fault/test_store_race.py tests/unit/test_store.py",
    ),
)  # fmt: skip


def copy_of_the_tree(folder: Path) -> Path:
    """What git would commit now, in `folder`."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(
        listed, cwd=REPOSITORY, capture_output=True, check=True, text=True
    ).stdout
    for name in filter(None, names.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    return folder


def verdict(mutant: Mutant, folder: Path) -> tuple[str, str]:
    """Whether the tests caught it in the copy at `folder`, and by which. SystemExit: they did not run."""
    file = folder / "orster_cli" / mutant.file
    whole = file.read_text("utf-8")
    file.write_text(mutant.planted_in(whole), "utf-8")
    try:
        env = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, *mutant.tests.split()], cwd=folder, env=env, capture_output=True, text=True
        )
    finally:
        file.write_text(whole, "utf-8")
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode == 1 and failed:
        return CAUGHT, failed.group(1)
    if done.returncode == 0:
        return SURVIVED, mutant.tests
    raise SystemExit(f"{mutant.file}: pytest ended with {done.returncode}\n{done.stdout[-2000:]}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Plant faults; the fast tests must catch them.")
    parser.add_argument("packages", nargs="*", help="of these packages only")
    chosen = parser.parse_args().packages
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_of_the_tree(Path(folder))
        for mutant in MUTANTS:
            if chosen and mutant.package not in chosen:
                continue
            found, by = verdict(mutant, copy)
            survived += found == SURVIVED
            print(f"{found}: {mutant.file}: {mutant.fault}\n    {by}", flush=True)
    print(f"{survived} survived" if survived else "all were caught")
    return min(survived, 1)


if __name__ == "__main__":
    sys.exit(main())
