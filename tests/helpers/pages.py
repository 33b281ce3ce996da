"""Code in documentation and notebooks, executed in order in one namespace."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any


def python_blocks(page: Path) -> list[str]:
    """The ```python blocks of a Markdown page."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def code_cells(notebook: Path) -> list[str]:
    """The sources of a notebook's code cells. Checks the structure that nbformat 4 prescribes."""
    value = json.loads(notebook.read_text("utf-8"))
    assert value["nbformat"] == 4
    assert value["nbformat_minor"] >= 5
    assert value["metadata"]["language_info"]["name"] == "python"
    assert len({cell["id"] for cell in value["cells"]}) == len(value["cells"])
    for cell in value["cells"]:
        code = {"outputs", "execution_count"} if cell["cell_type"] == "code" else set()
        assert set(cell) == {"cell_type", "id", "metadata", "source"} | code
        assert cell["cell_type"] in ("code", "markdown")
    return ["".join(c["source"]) for c in value["cells"] if c["cell_type"] == "code"]


def execute(blocks: list[str], smaller: dict[str, str]) -> dict[str, Any]:
    """Run `blocks`; returns their namespace. `smaller`: texts of the blocks and what replaces them, each of
    which must occur."""
    text = "\n".join(blocks)
    for old, new in smaller.items():
        assert old in text, f"no longer in the code: {old}"
        blocks = [block.replace(old, new) for block in blocks]
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"<block {number}>", "exec"), names)
    return names
