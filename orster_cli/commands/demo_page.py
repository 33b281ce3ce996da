"""The page of `orster demo`: three viewers, what each was made from, and what to expect of it."""

from __future__ import annotations

from pathlib import Path

# folder, title, what it is; the best comes first
SHOWN = (
    (
        "object",
        "From your object",
        "A static GLB file, a sentence and how much it should move. The model never saw this horse: it "
        "comes back as itself, nods and shifts, and does not walk yet.",
    ),
    (
        "text",
        "From a text",
        "The model for this text is tiny: it knows 12 objects and draws them with 64 pixels. Shapes are "
        "soft, and thin parts blur.",
    ),
    (
        "image",
        "From an image",
        "One picture of the front; the model adds the other sides and the motion. It knows the same 12 "
        "objects, and is as soft.",
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
