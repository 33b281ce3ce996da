"""Imports run down the layers of the design only; libraries do not print, exit or look outside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "orster_cli"

# Packages from the bottom up. A package may import those of the rows below its own and, on its own
# row, itself alone: so there is no circle. docs/architecture.md prints what is really imported.
LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(row.split())
    for row in (
        "core",
        "geometry config artifacts ui",
        "io",
        "gltf splatting metrics diffusion",
        "mesh_render transfer",
        "dataset",
        "sampling construction evaluation",
        "training report",
        "inputs export viewer diagnosis",
        "api commands",
        "app",
        "__main__",
    )
)
# what only some may use: the terminal is for commands, settings and artifacts are not for
# libraries of numbers
TERMINAL = {"ui"}
RECORDS = {"config", "artifacts"}
NUMBERS = {
    "geometry", "io", "gltf", "splatting", "metrics", "diffusion", "mesh_render", "transfer",
}  # fmt: skip


def allowed(layer: str) -> set[str]:
    """Packages that `layer` may import; "" is the package itself: its version, and lazily its public
    names."""
    if not layer:
        return {"api", "core"}
    rank = next(i for i, row in enumerate(LAYERS) if layer in row)
    below = set().union(*LAYERS[:rank]) | {layer, ""}
    if layer in NUMBERS:
        below -= RECORDS
    if layer not in EDGE:
        below -= TERMINAL
    if layer == "app":  # starts commands, and needs nothing that they need
        below &= {"", "app", "commands", "core", "ui"}
    return below


KNOWN = set().union(*LAYERS) | {""}
EDGE = {"app", "commands", "ui", "__main__"}  # where talking to the terminal is the task
READS_ENVIRONMENT = {"diagnosis"}  # `orster doctor` lists the variables that are set
LONGEST = 500  # lines of a file


@dataclass(frozen=True)
class Found:
    line: int
    text: str


def layer_of(module: str) -> str:
    """ "splatting" of "orster_cli.splatting.rasterize"."""
    return module.split(".")[1] if "." in module else ""


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and module of every import, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            if module == "orster_cli":  # from orster_cli import x: a layer, or a name in __init__
                for alias in node.names:
                    if alias.name == "__version__":
                        yield node.lineno, module
                    else:  # a layer, or a public name, which comes from the interface at the top
                        name = alias.name if alias.name in KNOWN else "api"
                        yield node.lineno, f"{module}.{name}"
            else:
                yield node.lineno, module


def upward(tree: ast.AST, layer: str) -> list[Found]:
    """Imports that `layer` must not make."""
    out = []
    for line, module in imported(tree):
        if module.startswith("."):
            out.append(Found(line, f"imports {module}: write the full name"))
        elif module.split(".")[0] == "orster_cli" and layer_of(module) not in allowed(layer):
            may = ", ".join(sorted(allowed(layer) - {""}))
            out.append(Found(line, f"imports {module}: {layer} may import only {may}"))
    return out


def name_of(node: ast.AST) -> str:
    """Dotted name of an expression, "" where it has none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return ""


def _keyword(call: ast.Call, name: str) -> object:
    """The constant given for a keyword; None where it is not given or no constant."""
    for keyword in call.keywords:
        if keyword.arg == name and isinstance(keyword.value, ast.Constant):
            return keyword.value.value
    return None


ALWAYS = {
    "os.system", "os.popen", "eval", "exec", "yaml.load", "pickle.load", "pickle.loads",
    "torch.hub.load", "joblib.load", "marshal.loads", "shelve.open",
}  # fmt: skip
LIBRARY = {"print", "input", "exit", "quit", "sys.exit", "os.getenv", "breakpoint"}
# the restricted unpickler may import pickle, and still not call its load
UNPICKLER = "io/numpy_pickles.py"
MODULES = {"click", "pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "yaml"}


def forbidden(tree: ast.AST, layer: str) -> list[Found]:
    """Calls and imports that have no place in `layer`, or anywhere."""
    out = [
        Found(line, f"imports {module}")
        for line, module in imported(tree)
        if module.split(".")[0] in MODULES or module.startswith("typer._")
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and name_of(node) in ("os.environ", "os.environb"):
            if layer not in EDGE | READS_ENVIRONMENT:
                out.append(Found(node.lineno, "reads the environment"))
        elif isinstance(node, ast.Call):
            out += [Found(node.lineno, text) for text in _bad_call(node, layer)]
    return out


def _bad_call(call: ast.Call, layer: str) -> Iterator[str]:
    name = name_of(call.func)
    if name in ALWAYS or (name in LIBRARY and layer not in EDGE):
        yield f"calls {name}"
    if name == "print":
        yield "prints: ui.out is the only sink"
    if name == "torch.load" and _keyword(call, "weights_only") is not True:
        yield "torch.load without weights_only=True"
    if name.endswith(".extractall"):
        yield "extractall trusts the archive"
    if _keyword(call, "shell") is True:
        yield "shell=True"
    if _keyword(call, "allow_pickle") is True or _keyword(call, "trust_remote_code") is True:
        yield "runs code from a file"


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_there_is_something_to_look_at() -> None:
    assert len(sources()) > 50
    layers = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in sources()}
    assert layers - {"__init__"} <= KNOWN, "a new package needs its place in LAYERS"


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_file(path: Path) -> None:
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    layer = "" if first == "__init__" else first
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    found = upward(tree, layer) + forbidden(tree, layer)
    if path.relative_to(PACKAGE).as_posix() == UNPICKLER:
        found = [one for one in found if one.text != "imports pickle"]
    assert found == [], "\n" + "\n".join(f"{path}:{f.line} {f.text}" for f in found)
    assert len(text.splitlines()) <= LONGEST


@pytest.mark.parametrize(
    ("layer", "code", "says"),
    [
        ("core", "from orster_cli.ui.out import Out", "core may import only core"),
        ("core", "def f():\n    import orster_cli.config.load", "orster_cli.config.load"),
        ("splatting", "from orster_cli import construction", "orster_cli.construction"),
        ("splatting", "from orster_cli import construct", "orster_cli.api"),
        ("commands", "from orster_cli.api.clips import Clip", "commands may import only"),
        ("", "from orster_cli.inputs.clips import open_clip", "orster_cli.inputs"),
        ("splatting", "from orster_cli.artifacts.store import begin", "splatting may import only"),
        ("dataset", "from orster_cli.commands import stage", "orster_cli.commands"),
        ("ui", "from orster_cli.config.schema import Config", "ui may import only core, ui"),
        ("app", "from orster_cli.construction.fit import fit", "app may import only"),
        ("io", "from ..core import types", "write the full name"),
        ("io", "from orster_cli.metrics.psnr import psnr", "io may import only"),
    ],
)
def test_an_edge_that_runs_up_is_named(layer: str, code: str, says: str) -> None:
    found = upward(ast.parse(code), layer)
    assert len(found) == 1
    assert says in found[0].text


@pytest.mark.parametrize(
    ("layer", "code"),
    [
        ("core", "from orster_cli.core.errors import InputError"),
        ("io", "from orster_cli.geometry.orbit import orbit"),
        ("construction", "from orster_cli.artifacts.store import begin"),
        ("construction", "from orster_cli import __version__"),
        ("commands", "from orster_cli.ui.out import Out"),
    ],
)
def test_an_edge_that_runs_down_is_fine(layer: str, code: str) -> None:
    assert upward(ast.parse(code), layer) == []


@pytest.mark.parametrize(
    ("layer", "code"),
    [
        ("dataset", "print('x')"),
        ("ui", "print('x')"),
        ("dataset", "import sys\nsys.exit(1)"),
        ("dataset", "import os\nx = os.environ['A']"),
        ("dataset", "import os\nos.getenv('A')"),
        ("ui", "import os\nos.system('ls')"),
        ("commands", "import subprocess\nsubprocess.run('ls', shell=True)"),
        ("io", "import torch\ntorch.load('x')"),
        ("io", "import torch\ntorch.load('x', weights_only=False)"),
        ("io", "import numpy as np\nnp.load('x', allow_pickle=True)"),
        ("io", "import pickle"),
        ("io", "import yaml"),
        ("app", "import click"),
        ("app", "from typer._click import Context"),
        ("dataset", "t.extractall('x')"),
        ("diffusion", "Model.from_pretrained('x', trust_remote_code=True)"),
    ],
)
def test_what_has_no_place_is_found(layer: str, code: str) -> None:
    assert forbidden(ast.parse(code), layer)


@pytest.mark.parametrize(
    ("layer", "code"),
    [
        ("ui", "import os\nos.environ.get('NO_COLOR')"),
        ("diagnosis", "import os\nsorted(os.environ)"),
        ("io", "import torch\ntorch.load('x', weights_only=True)"),
        ("dataset", "import subprocess\nsubprocess.run(['ls'], shell=False)"),
        ("dataset", "reporter.print_later()"),
        ("construction", "network.to(device).eval()"),
    ],
)
def test_what_has_its_place_is_left_alone(layer: str, code: str) -> None:
    assert forbidden(ast.parse(code), layer) == []
