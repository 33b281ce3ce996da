"""A hook of mkdocs (mkdocs.yml): files of the repository that a page links to become part of the site.

A link from docs/x.md to ../benchmarks/results/y.md leads to repository/benchmarks/results/y.html in the
site; what that page links to comes too. A link to a folder leads to its README.md, or becomes plain text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
PLACE = "repository"  # folder of the site
LOG = DOCS / "LOG.md"  # not a page of the site: it is shown as a file
LINK = re.compile(r"(!?\[[^\]]*\])\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add what pages link to outside of docs/."""
    from mkdocs.structure.files import File

    todo = [DOCS / file.src_uri for file in files.documentation_pages()]
    added: set[Path] = set()
    while todo:
        page = todo.pop()
        for path in _outside(page, page.read_text(encoding="utf-8")):
            if path not in added:
                added.add(path)
                files.append(File.generated(config, _uri(path), abs_src_path=str(path)))
                todo += [path] if _is_page(path) else []
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links to where their targets are in the site."""
    source = _source(page.file.src_uri)

    def pointed(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        path = _target(source, target)
        if path is None:
            is_folder = (source.parent / target).is_dir()
            return text[1:-1] if is_folder else match[0]
        if path != LOG and DOCS in path.parents:
            uri = path.relative_to(DOCS).as_posix()
        else:
            uri = _uri(path)
        here = PurePosixPath(page.file.src_uri).parent
        return f"{text}({os.path.relpath(uri, here)}{anchor})"

    return LINK.sub(pointed, markdown)


def _source(uri: str) -> Path:
    """The file that a page of the site is made from."""
    inside = PurePosixPath(uri)
    if inside.parts[0] == PLACE:
        return REPOSITORY / inside.relative_to(PLACE)
    return DOCS / uri


def _target(page: Path, link: str) -> Path | None:
    """The file that a link of `page` leads to; None: an address, or nothing that is there."""
    if re.match(r"[a-z]+:", link):
        return None
    path = Path(os.path.normpath(page.parent / link))
    if path.is_dir():
        path /= "README.md"
    return path if path.is_file() and REPOSITORY in path.parents else None


def _outside(page: Path, text: str) -> Iterator[Path]:
    for _, link, _ in LINK.findall(text):
        path = _target(page, link)
        if path is not None and (path == LOG or DOCS not in path.parents):
            yield path


def _is_page(path: Path) -> bool:
    return path.suffix == ".md" and path != LOG


def _uri(path: Path) -> str:
    name = path.relative_to(REPOSITORY).as_posix()
    return f"{PLACE}/{name.removesuffix('.md')}.txt" if path == LOG else f"{PLACE}/{name}"
