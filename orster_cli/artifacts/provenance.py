"""The versions and the machine that made an artifact, found without importing the libraries."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "numpy", "numba", "gsplat", "diffusers", "transformers", "imageio-ffmpeg")


def package_versions() -> dict[str, str]:
    """Installed version of each package that results depend on, or "absent"."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


@cache
def source_revision() -> str | None:
    """Git commit of a source checkout, with "-dirty" where files are changed; None for a wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("-dirty" if _git(root, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    return done.stdout.strip()


def environment() -> dict[str, str]:
    """Python, system, processor, package versions and source revision."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "revision": source_revision() or "release",
        **package_versions(),
    }
