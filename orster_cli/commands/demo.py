"""`orster demo`: assets from a text and from an animated object, measured, on one page."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from orster_cli.ui.options import JsonOption
from orster_cli.ui.out import Out


def demo(
    folder: Annotated[Path, typer.Argument(help="Folder of all that is made.")] = Path("demo"),
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Make two assets, and a page that shows them.

    One from a text, one from an animated object; both are measured. About three minutes on two CPU cores,
    without a network. A second run takes what the first has made.
    Example: orster demo"""
    from orster_cli.artifacts.folders import make_folder
    from orster_cli.artifacts.outputs import check_collection

    out = Out(as_json=as_json)
    check_collection(folder, "a demo")
    make_folder(folder)
    for words in demo_lines(folder, device):
        out.info(f"$ orster {shlex.join(words)}")
        if code := _run(words):
            raise typer.Exit(code)
    page = folder / "index.html"
    page.write_text(_page(folder), encoding="utf-8")
    out.result({"path": str(folder), "page": str(page)}, f"open {page} in a browser")


def _run(words: list[str]) -> int:
    """Run a command in a process of its own, as a user starts it; returns its exit code. What it prints
    goes to stderr. Ctrl-C reaches it too, and its end is waited for: it writes a checkpoint."""
    process = subprocess.Popen([sys.executable, "-m", "orster_cli", *words], stdout=2)  # noqa: S603
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            continue
        return code if code >= 0 else 128 - code


def demo_lines(folder: Path, device: str) -> Iterator[list[str]]:
    """The command lines of the demo, without `orster`."""
    creature, captions = (str(_examples() / name) for name in ("creature.glb", "clips.csv"))
    where = ["--device", device]
    frog, walk = folder / "frog", folder / "walk"
    yield ["generate", "a frog jumping", "--preset", "fast", "-o", f"{frog}", *where]
    yield [
        "evaluate", f"{frog}/asset", "--reference", f"{frog}/clip", "-o", f"{frog}/report",
        "--metrics", "psnr,ssim,motion,clip-o[mini]", *where,
    ]  # fmt: skip
    size = ["--resolution", "128", "--eval-views", "36"]
    yield ["prepare-data", creature, "--captions", captions, *size, "-o", f"{walk}/dataset"]
    clip = f"{walk}/dataset#creature-00"
    yield ["construct", clip, "--preset", "fast", "-o", f"{walk}/asset", *where]
    yield [
        "evaluate", f"{walk}/asset", "--reference", f"{clip}:eval", "-o", f"{walk}/report", *where,
    ]  # fmt: skip
    yield ["export", f"{walk}/asset", "--to", "glb", "--mesh", creature, "-o", f"{walk}", "--force"]


def _examples() -> Path:
    """The example object and its captions: package data of a wheel, `examples/` of a checkout."""
    from orster_cli.config.load import shipped_folder

    return shipped_folder("examples")


def _page(folder: Path) -> str:
    """The page: both viewers, and what else was made."""
    from orster_cli import __version__

    meshes = sorted(path.name for path in (folder / "walk").glob("*.glb"))
    mesh = "".join(f'<a href="walk/{name}">{name}</a>, its own mesh, animated; ' for name in meshes)
    return _HTML.format(version=__version__, mesh=mesh)


_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline';
 frame-src 'self' file:; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="orster {version}">
<title>orster demo</title>
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 0 auto; max-width: 72rem; padding: 1.5rem; font: 1rem/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.5rem; margin: 0 0 .5rem; }}
main {{ display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); }}
figure {{ margin: 0; }}
iframe {{ width: 100%; aspect-ratio: 1; border: 1px solid #8886; border-radius: .5rem; }}
h2 {{ font-size: 1.1rem; margin: .5rem 0 0; }}
p {{ margin: .25rem 0; }}
</style>
</head>
<body>
<h1>orster demo</h1>
<p>Drag to turn, scroll to zoom, Space plays. Every file here works without a network.</p>
<main>
<figure>
<iframe src="frog/asset/viewer.html" title="Viewer: a frog jumping, made from a text"></iframe>
<figcaption><h2>From a text: a frog jumping</h2>
<p><a href="frog/clip/sheet.png">the sampled clip</a>, <a href="frog/report/report.html">how close the asset
is to it</a>, <a href="frog/asset/viewer.html">the viewer alone</a></p></figcaption>
</figure>
<figure>
<iframe src="walk/asset/viewer.html" title="Viewer: the example creature, walking"></iframe>
<figcaption><h2>From an animated object: creature.glb</h2>
<p>{mesh}<a href="walk/report/report.html">views that the fit never saw</a>,
<a href="walk/asset/viewer.html">the viewer alone</a></p></figcaption>
</figure>
</main>
</body>
</html>
"""
