"""Which packages of `orster_cli` import which, read from the syntax trees.

python -m tools.import_graph                          print the packages, their imports and the layers
python -m tools.import_graph docs/architecture.md     write them between the markers of that page

`tests/unit/test_layering.py` reads the same table and trees. It fails on an import that runs up, on a
circle, and on a page that differs from what is printed here.
"""

from __future__ import annotations

import ast
import graphlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "orster_cli"

# Packages from the bottom up. A package may import those of the rows below its own and, on its own
# row, itself alone.
LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(row.split())
    for row in (
        "core",
        "geometry config artifacts ui",
        "io",
        "gltf splatting metrics diffusion",
        "mesh_render transfer viewer",
        "dataset",
        "sampling construction evaluation",
        "training report",
        "inputs export diagnosis",
        "gallery hub fanout",
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
EDGE = {"app", "commands", "ui", "__main__"}  # where talking to the terminal is the task
KNOWN = set().union(*LAYERS) | {""}

LONG = 350  # lines of a file; those in LONG_FILES have more, and the reason
LONG_FILES: dict[str, str] = {}

START, END = "<!-- tools.import_graph: start -->", "<!-- tools.import_graph: end -->"


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


def sources(package: Path = PACKAGE) -> dict[str, Path]:
    """{module: file} of a package; a folder's `__init__.py` is the folder's module."""
    files = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module_imports(package: Path = PACKAGE) -> dict[str, set[str]]:
    """{module: modules of the package that it imports}, imports inside functions included.

    The top module has no entry: it holds the version and the public names, imported lazily.
    """
    files = sources(package)
    graph: dict[str, set[str]] = {}
    for module, path in files.items():
        if module == package.name:
            continue
        tree = _parsed(path)
        names = {name for _, name in imported(tree)}
        for node in ast.walk(tree):  # `from a.b import c`, where c is a module
            if isinstance(node, ast.ImportFrom):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
        graph[module] = (names & files.keys()) - {module, package.name}
    return graph


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, the first one repeated at the end; [] if none do."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def package_imports(package: Path = PACKAGE) -> dict[str, set[str]]:
    """{package: other packages that it imports}, in the order of the layers."""
    files = sources(package)
    graph: dict[str, set[str]] = {}
    for module, path in files.items():
        layer = layer_of(module)
        found = {
            layer_of(name)
            for _, name in imported(_parsed(path))
            if name.split(".")[0] == package.name
        }
        graph.setdefault(layer, set()).update(found - {layer, ""})
    order = [name for row in LAYERS for name in sorted(row)]
    return {name: graph[name] for name in order if name in graph}


def summary(name: str) -> str:
    """The first paragraph of a package's docstring."""
    folder = PACKAGE / name / "__init__.py"
    path = folder if folder.is_file() else PACKAGE / f"{name}.py"
    docstring = ast.get_docstring(_parsed(path)) or ""
    return " ".join(docstring.split("\n\n")[0].split())


def long_files() -> list[str]:
    """Files of more than `LONG` lines, relative to the package."""
    return [
        path.relative_to(PACKAGE).as_posix()
        for path in sources().values()
        if len(path.read_text(encoding="utf-8").splitlines()) > LONG
    ]


def page() -> str:
    """Markdown: the layers, the table of packages, circles, long files."""
    graph = package_imports()
    rows = [" ".join(name for name in sorted(row) if name in graph) for row in LAYERS]
    lines = ["```text", *(row for row in reversed(rows) if row), "```", ""]
    lines += ["| package | what it does | imports |", "|---|---|---|"]
    rank = {name: i for i, name in enumerate(graph)}
    for name, packages in graph.items():
        imports = ", ".join(f"`{other}`" for other in sorted(packages, key=lambda p: rank[p]))
        lines.append(f"| `{name}` | {summary(name)} | {imports} |")
    found = circle(module_imports())
    lines += ["", f"Circle: {' -> '.join(found)}." if found else "No modules import in a circle."]
    if not (long := sorted(long_files())):
        return "\n".join([*lines, "", f"No file has more than {LONG} lines."])
    lines += ["", f"Files of more than {LONG} lines:", "", "| file | why |", "|---|---|"]
    lines += [f"| `{name}` | {LONG_FILES.get(name, '')} |" for name in long]
    return "\n".join(lines)


def between_markers(text: str, content: str) -> str:
    """`text` with `content` between the two markers, which must be there."""
    before, _, rest = text.partition(START)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"no {START} ... {END}")
    return f"{before}{START}\n{content}\n{END}{after}"


def main(arguments: list[str]) -> None:
    if not arguments:
        print(page())
    for name in arguments:
        path = Path(name)
        path.write_text(between_markers(path.read_text(encoding="utf-8"), page()), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
