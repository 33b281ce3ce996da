"""docs/notices.md: every notice that a command can give, read from the syntax trees of the package.

python -m tools.notices           write the page; cells of notices that it has already stay as they are
python -m tools.notices --check   exit code 1 where it differs from the code, or a cell is empty

The first column comes from the code, with ... for each value; cause and advice are written by hand, in
the page. `tests/unit/test_notices.py` fails where a notice of the code is not there, or one of the page
is gone.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tools.import_graph import REPOSITORY, sources

PAGE = REPOSITORY / "docs" / "notices.md"
LEVELS = {"warn": "warning", "note": "note", "info": "message"}
SPEAKERS = {"reporter", "_reporter", "out", "sink"}  # what `info` and `note` are called on
COLLECTED = {"warnings", "notes", "repairs", "_warned"}  # lists of texts that are warned of later
SAYS = re.compile(rf"\.(?:_?warn|note|info)\(|(?:{'|'.join(COLLECTED)})(?:\.append\(| = \[)")
VALUE = "..."
NOWHERE = ast.FunctionDef(name="", args=ast.arguments(), body=[])  # a text that no function holds

# headings, and the modules whose notices stand below each; the first that fits counts
SECTIONS: dict[str, tuple[str, ...]] = {
    "Videos, images and cameras": ("io.", "inputs.video", "inputs.frame_files", "inputs.clips",
                                   "inputs.assumed_orbit", "construction.orbit_check"),
    "Objects: GLB, glTF and PLY": ("gltf.", "sampling.objects", "inputs.subjects",
                                   "dataset.splat_placement"),
    "Datasets and captions": ("dataset.", "inputs.prepare_plan", "commands.prepare_data"),
    "Texts, pictures and models": ("inputs.sampling_plan", "inputs.sampling_request", "inputs.unlike",
                                   "inputs.pictures", "inputs.models", "inputs.starts", "diffusion.",
                                   "sampling.", "commands.sample_video", "commands.sampling",
                                   "commands.generate"),
    "The fit": ("construction.", "inputs.construct_plan", "viewer.", "splatting."),
    "Training": ("training.", "core.estimates"),
    "Evaluation": ("evaluation.", "inputs.evaluation", "commands.evaluate", "report."),
    "Export": ("export.", "commands.export"),
    "The hub": ("hub.", "commands.push", "commands.pull"),
    "Many at once": ("commands.run", "fanout."),
    "Commands, gallery and machine": ("artifacts.", "commands.", "gallery.", "core."),
}  # fmt: skip

# the functions that say what is written elsewhere -> who writes it: functions that return it, constants
# that hold it, attributes that it is put into; LISTED: the lists of `COLLECTED`
LISTED = "listed"
WRITTEN_BY: dict[str, tuple[str, ...]] = {
    "commands.export:_job": ("export.cleaning:describe", LISTED),
    "commands.list:list_artifacts": ("gallery.catalog:left_out",),
    "commands.view:view": ("gallery.catalog:left_out",),
    "commands.run_placement:budget_here": ("fanout.budget:note",),
    "construction.fit_asset:_say": ("construction.recurrence:describe",),
    "construction.fit_asset:_write_viewer": ("viewer.write:describe",),
    "core.jit:_cached": (LISTED,),
    "dataset.prepare:prepare": (LISTED,),
    "gltf.load:scene": (LISTED, "gltf.extensions:not_read"),
    "inputs.models:check_samples": ("inputs.models:TEACHERS",),
    "inputs.unlike:_say_unknown": ("diffusion.known_inputs:unknown_words",),
    "inputs.sampling_plan:plan_sampling": ("inputs.sampling_plan:NO_TEXT",),
    "inputs.subjects:_say": (LISTED,),
    "io.ply:read_ply": (LISTED,),
    "io.video:iterate_frames": ("io.video_header:_ignored", "io.video:IGNORED_ALPHA"),
    "sampling.objects:open_object": (LISTED,),
}

# functions that pass on what somebody else says, or an error of the system's
PASSED_ON = {
    "api.calls:info", "api.calls:warn", "core.live:info", "core.live:warn", "core.live:note",
    "core.stopping:info", "core.stopping:warn", "core.stopping:note", "gallery.server:_answer",
    "training.trackers:__init__", "training.trackers:log", "training.trackers:finish",
}  # fmt: skip


@dataclass(frozen=True)
class Notice:
    """`text` with ... for values, how it is said, and the module that says it."""

    text: str
    level: str
    module: str


@cache
def notices() -> list[Notice]:
    """Every notice of the package, in the order of the modules; the same text of one level once.

    ValueError: a call whose text is written elsewhere, and `WRITTEN_BY` does not say where."""
    found: dict[str, Notice] = {}
    stale = set(WRITTEN_BY)
    for module, tree in _trees().items():
        for call, function in _calls(tree):
            level, texts = _said(call, function)
            where = f"{module}:{function.name}"
            if texts is None or where in PASSED_ON:
                continue
            if not all(texts):
                if where not in WRITTEN_BY:
                    raise ValueError(
                        f"{where}: who writes {ast.unparse(call)}? add it to WRITTEN_BY"
                    )
                stale.discard(where)
                written = [text for source in WRITTEN_BY[where] for text in _written(source)]
                texts = [*filter(None, texts), *written]
            for text in texts:
                found.setdefault(text, Notice(text, level, module))
        for text in _listed(tree) if not module.startswith("report.") else ():
            found.setdefault(text, Notice(text, LEVELS["warn"], module))
    if stale:
        raise ValueError(f"WRITTEN_BY: of no call: {sorted(stale)}")
    return list(found.values())


@cache
def _trees() -> dict[str, ast.Module]:
    """{module: tree} of those modules that can say or write a notice."""
    writers = {source.split(":")[0] for row in WRITTEN_BY.values() for source in row}
    found = {}
    for name, path in sources().items():
        module, text = name.removeprefix("orster_cli").lstrip("."), path.read_text(encoding="utf-8")
        if module in writers or SAYS.search(text):
            found[module] = ast.parse(text)
    return found


def _calls(tree: ast.Module) -> Iterator[tuple[ast.Call, ast.FunctionDef]]:
    """Every call of a method with an argument, and the innermost function around it."""
    pending: list[tuple[ast.AST, ast.FunctionDef | None]] = [(tree, None)]
    while pending:
        node, function = pending.pop()
        inner = node if isinstance(node, ast.FunctionDef) else function
        if inner is not None and isinstance(node, ast.Call) and _is_method(node):
            yield node, inner
        pending += [(child, inner) for child in reversed(list(ast.iter_child_nodes(node)))]


def _is_method(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and bool(call.args)


def _said(call: ast.Call, function: ast.FunctionDef) -> tuple[str, list[str] | None]:
    """The level and the texts of a notice, "" for one that is written elsewhere; None: it is none."""
    assert isinstance(call.func, ast.Attribute)
    name, receiver = call.func.attr, ast.unparse(call.func.value).split(".")[-1]
    level = LEVELS.get(name.removeprefix("_"))
    if level is None or (name in ("info", "note") and receiver not in SPEAKERS):
        return "", None
    return level, [*_texts(call.args[0], function)]


def _texts(node: ast.expr, function: ast.FunctionDef) -> Iterator[str]:
    """The texts that an expression can have; "" for one that is made of values alone."""
    if isinstance(node, ast.IfExp):
        yield from _texts(node.body, function)
        yield from _texts(node.orelse, function)
    elif isinstance(node, ast.Name) and (given := list(_assigned(node.id, function))):
        for value in given:
            yield from _texts(value, function)
    else:
        text = " ".join(_wording(node).split())
        while VALUE * 2 in text:
            text = text.replace(VALUE * 2, VALUE)
        yield text if any(letter.isalpha() for letter in text) else ""


def _wording(node: ast.expr) -> str:
    """A text as it is printed, with ... for each value in it, and the words that `counted` counts."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_wording(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _wording(node.value) or VALUE
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (_wording(node.left) or VALUE) + (_wording(node.right) or VALUE)
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "counted":
        word = node.args[1]
        return f"{VALUE} {word.value}s" if isinstance(word, ast.Constant) else VALUE
    return VALUE


def _assigned(name: str, node: ast.AST) -> Iterator[ast.expr]:
    """What is assigned in `node` to a variable or an attribute."""
    for one in ast.walk(node):
        if isinstance(one, ast.Assign):
            targets, value = one.targets, one.value
        elif isinstance(one, ast.NamedExpr):
            targets, value = [one.target], one.value
        else:
            continue
        for target in targets:
            if name in (getattr(target, "id", None), getattr(target, "attr", None)):
                yield value


def _listed(tree: ast.Module) -> Iterator[str]:
    """Texts that are put into the lists of `COLLECTED`."""
    for call, function in _calls(tree):
        assert isinstance(call.func, ast.Attribute)
        owner = ast.unparse(call.func.value).split(".")[-1]
        if call.func.attr == "append" and owner in COLLECTED:
            yield from filter(None, _texts(call.args[0], function))
    for name in COLLECTED:
        for value in _assigned(name, tree):
            if isinstance(value, (ast.List, ast.IfExp)):
                yield from filter(None, _parts(value, NOWHERE))


def _written(source: str) -> list[str]:
    """The texts of a source of `WRITTEN_BY`. ValueError: it has none."""
    if source == LISTED:
        return []  # they are collected where they are put into the list
    module, name = source.split(":")
    tree = _trees()[module]
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            for one in ast.walk(node):
                if isinstance(one, ast.Return) and one.value is not None:
                    found += _parts(one.value, node)
    for value in _assigned(name, tree):
        found += _parts(value, NOWHERE)
    texts = [text for text in found if text]
    if not texts:
        raise ValueError(f"WRITTEN_BY: no text in {source}")
    return texts


def _parts(value: ast.expr, function: ast.FunctionDef) -> list[str]:
    """The texts of an expression, of the elements of a list or tuple, or of the values of a dict."""
    if isinstance(value, ast.IfExp):
        return [*_parts(value.body, function), *_parts(value.orelse, function)]
    if isinstance(value, ast.Dict):
        return [text for one in value.values for text in _texts(one, function)]
    if isinstance(value, (ast.Tuple, ast.List)):
        return [text for one in value.elts for text in _texts(one, function)]
    return list(_texts(value, function))


# -- the page


def section_of(notice: Notice) -> str:
    """The heading below which a notice stands."""
    for title, modules in SECTIONS.items():
        if f"{notice.module}.".startswith(modules) or notice.module.startswith(modules):
            return title
    raise ValueError(f"{notice.module}: below which heading? add it to SECTIONS")


def page(before: str) -> str:
    """The page as Markdown; the cells of cause and advice are those of the page `before`."""
    known = cells(before)
    lines = [
        "# Notices",
        "",
        "<!-- made by `python -m tools.notices`: edit the last two columns only -->",
    ]
    lines += [
        "",
        "What a command says on the way, to stderr: a `warning` begins with that word, a `note` is a guess",
        "or an omission that is in order, a `message` tells what is done. The last line of a command",
        "counts its warnings and notes and names them; with `--json` they are `warnings` and `notes`.",
        "",
        "`orster show` prints the warnings that an artifact was made with. `...` stands for a value.",
        "Messages that end a command are in [exit and error codes](reference/exit-codes.md), words in the",
        "[glossary](glossary.md).",
    ]
    for title in SECTIONS:
        rows = [one for one in notices() if section_of(one) == title]
        lines += [
            "",
            f"## {title}",
            "",
            "| notice | kind | cause | what to do |",
            "|---|---|---|---|",
        ]
        for one in rows:
            cause, advice = known.get(_cell(one.text), ("", ""))
            lines.append(f"| {_cell(one.text)} | {one.level} | {cause} | {advice} |")
    return "\n".join(lines) + "\n"


def cells(text: str) -> dict[str, tuple[str, str]]:
    """{notice: (cause, what to do)} of a page."""
    found = {}
    for line in text.splitlines():
        row = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("| ") and len(row) == 4 and row[1] in LEVELS.values():
            found[row[0]] = (row[2], row[3])
    return found


def empty(text: str) -> list[str]:
    """The notices of a page that lack a cause or an advice."""
    return [notice for notice, row in cells(text).items() if not all(row)]


def _cell(text: str) -> str:
    return text.replace("|", "&#124;").replace("<", "&lt;").replace("`", "'")


def main(arguments: list[str]) -> int:
    before = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    text = page(before)
    if arguments == ["--check"]:
        for notice in empty(text):
            print(f"{PAGE.name}: no cause or advice: {notice}")
        if text != before:
            print(f"{PAGE.name} differs from the code: python -m tools.notices")
        return int(text != before or bool(empty(text)))
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
