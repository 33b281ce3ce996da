"""Khronos' glTF validator (npm `gltf-validator`), where node and the package are at hand.

`NODE_PATH` names the folder node_modules that holds it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

_SEVERITIES = ("error", "warning", "info", "hint")
_SCRIPT = """
const fs = require('fs');
require('gltf-validator').validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))
  .then((report) => console.log(JSON.stringify(report.issues.messages)));
"""


def validate(path: Path) -> list[tuple[str, str, str]]:
    """(severity, code, pointer) of each message; skips the test where the validator is missing."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine")
    found = subprocess.run(
        [node, "-e", "require('gltf-validator')"], capture_output=True, env=os.environ
    )
    if found.returncode:
        pytest.skip("no gltf-validator: npm i gltf-validator, and NODE_PATH=.../node_modules")
    done = subprocess.run(
        [node, "-e", _SCRIPT, str(path)], capture_output=True, text=True, check=True
    )
    messages = json.loads(done.stdout)
    return [(_SEVERITIES[m["severity"]], m["code"], m.get("pointer", "")) for m in messages]
