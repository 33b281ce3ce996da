"""The page of `orster demo`: three viewers, what each was made from, and what to expect of it."""

from __future__ import annotations

from pathlib import Path

# folder, title, what it is; the best comes first
SHOWN = (
    (
        "object",
        "From your object",
        "A static GLB file and a sentence. The model never saw this horse: it comes back as itself, and "
        "walks as a horse does that the model knows.",
    ),
    (
        "text",
        "From a text",
        "The model makes one of the 217 objects that it learned from, a little soft, and moves it as its "
        "kind moves.",
    ),
    (
        "image",
        "From an image",
        "One picture of the front; the model adds the other sides, which it guesses, and the motion.",
    ),
)


def demo_page(folder: Path, lines: list[str]) -> str:
    """The HTML of the demo in `folder`, made by the command lines `lines`. Links are relative, and the page
    asks for nothing outside of the folder."""
    from orster_cli import __version__
    from orster_cli.report.html import render

    assets = [
        {"name": name, "title": title, "about": about, "links": _links(folder, name)}
        for name, title, about in SHOWN
    ]
    return render("demo.html.j2", version=__version__, assets=assets, commands=lines)


def _links(folder: Path, name: str) -> list[tuple[str, str]]:
    """Addresses and texts of what else was made."""
    meshes = sorted(path.name for path in (folder / name).glob("*.glb"))
    return [
        *((f"{name}/{mesh}", f"{mesh}: its own mesh, animated") for mesh in meshes),
        (f"{name}/asset/viewer.html", "this viewer alone"),
        (f"{name}/clip/sheet.png", "the sampled clip"),
        (f"{name}/report/report.html", "asset and clip, frame by frame"),
    ]
