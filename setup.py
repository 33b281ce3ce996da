"""Ships `templates/` and the example object inside the wheel as `orster_cli/_templates` and `_examples`;
all else is in pyproject.toml."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# folder -> its files that a wheel carries
SHIPPED = {"templates": "**/*", "examples": "creature.glb"}


class BuildWithFolders(build_py):
    """Copies them beside the modules (an editable install reads them where they are)."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for folder, pattern in SHIPPED.items():
            target = Path(self.build_lib) / "orster_cli" / f"_{folder}"
            for file in sorted(p for p in Path(folder).glob(pattern) if p.is_file()):
                copy = target / file.relative_to(folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                self.copy_file(str(file), str(copy))


setup(cmdclass={"build_py": BuildWithFolders})
