"""Imports run down the layers of the design only; libraries do not print, exit or look outside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools.import_graph import (
    EDGE,
    KNOWN,
    LONG,
    LONG_FILES,
    PACKAGE,
    REPOSITORY,
    allowed,
    between_markers,
    circle,
    imported,
    layer_of,
    long_files,
    module_imports,
    package_imports,
    page,
    summary,
)

READS_ENVIRONMENT = {"diagnosis"}  # `orster doctor` lists the variables that are set
LONGEST = 500  # lines of a file, those in LONG_FILES too


@dataclass(frozen=True)
class Found:
    line: int
    text: str


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


def test_long_files_are_those_with_a_reason() -> None:
    assert LONG < LONGEST
    assert sorted(long_files()) == sorted(LONG_FILES)


def test_no_modules_import_in_a_circle() -> None:
    graph = module_imports()
    assert len(graph) > 100
    assert sum(map(len, graph.values())) > 400
    assert circle(graph) == []


@pytest.mark.parametrize(
    "second",
    [
        "from thing.one import f",
        "from thing import one",
        "def f():\n    import thing.one",
        "if TYPE_CHECKING:\n    from thing.one import f",
    ],
)
def test_a_circle_is_found(tmp_path: Path, second: str) -> None:
    package = tmp_path / "thing"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "zero.py").write_text("import thing.one\n")
    (package / "one.py").write_text("from thing.two import g\n")
    (package / "two.py").write_text("g = 1\n")
    assert circle(module_imports(package)) == []
    (package / "two.py").write_text(second + "\n")
    found = circle(module_imports(package))
    assert set(found) == {"thing.one", "thing.two"}
    assert found[0] == found[-1]


def test_packages_import_what_the_trees_say() -> None:
    graph = package_imports()
    assert next(iter(graph)) == "core"
    assert graph["core"] == set()
    assert {"core", "geometry"} <= graph["io"]
    assert "io" not in graph["geometry"]
    for name, packages in graph.items():
        assert packages <= allowed(name)
        assert summary(name).endswith("."), f"{name}: its __init__ says in a line what it does"


def test_the_page_is_what_the_tool_prints() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    again = "run python -m tools.import_graph docs/architecture.md"
    assert between_markers(text, page()) == text, again
    with pytest.raises(ValueError, match="no <!-- tools"):
        between_markers("a page without markers", page())


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
