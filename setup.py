"""Ships `templates/` inside the wheel as `orster_cli/_templates`; all else is in pyproject.toml."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithTemplates(build_py):
    """Copies the presets beside the modules (an editable install reads them where they are)."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "orster_cli" / "_templates"
            for file in sorted(p for p in Path("templates").rglob("*") if p.is_file()):
                copy = target / file.relative_to("templates")
                copy.parent.mkdir(parents=True, exist_ok=True)
                self.copy_file(str(file), str(copy))


setup(cmdclass={"build_py": BuildWithTemplates})
