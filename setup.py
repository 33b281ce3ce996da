"""Ships `templates/` and the example files inside the wheel, as `orster_cli/_templates`
and `orster_cli/_examples`; all else is in pyproject.toml."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# folder -> patterns of its files that a wheel carries
SHIPPED = {
    "templates": ["**/*"],
    "examples": ["creature.glb", "clips.csv", "horse.glb", "robot.png"],
}


class BuildWithFolders(build_py):
    """Copies them beside the modules (an editable install reads them where they are)."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for folder, patterns in SHIPPED.items():
            target = Path(self.build_lib) / "orster_cli" / f"_{folder}"
            found = {p for pattern in patterns for p in Path(folder).glob(pattern)}
            for file in sorted(p for p in found if p.is_file()):
                copy = target / file.relative_to(folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                self.copy_file(str(file), str(copy))


setup(cmdclass={"build_py": BuildWithFolders})
