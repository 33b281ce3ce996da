"""`orster demo`: assets from a static object, a text and an image, measured, on one page."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from orster_cli.ui.options import JsonOption
from orster_cli.ui.out import Out

OBJECT, IMAGE = "horse.glb", "robot.png"  # of the examples that the package carries


def demo(
    folder: Annotated[Path, typer.Argument(help="Folder of all that is made.")] = Path("demo"),
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1.")] = "auto",
    browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make three assets, and a page that plays them.

    From a static object, a text and an image. A few minutes on two CPU cores, without a network. A second
    run takes what the first has made.
    Examples: orster demo ; orster demo --open"""
    from orster_cli.artifacts.folders import make_folder
    from orster_cli.artifacts.outputs import check_collection
    from orster_cli.commands.demo_page import demo_page
    from orster_cli.ui.browser import open_in_browser

    out = Out(as_json=as_json)
    check_collection(folder, "a demo")
    make_folder(folder)
    steps = list(demo_lines(folder, device))
    lines = [f"orster {shlex.join(words)}" for words in steps]
    for number, words in enumerate(steps):
        out.info(f"step {number + 1} of {len(steps)}: {lines[number]}")
        if code := _run([*words, "--json"] if as_json else words):
            raise typer.Exit(code)
    page = folder / "index.html"
    page.write_text(demo_page(folder, lines), encoding="utf-8")
    if browser and not open_in_browser(page.resolve().as_uri()):
        out.warn(f"no display here: copy {folder} to where a browser is, it is complete")
    out.result({"path": str(folder), "page": str(page)}, f"open {page} in a browser")


def _run(words: list[str]) -> int:
    """Run a command in a process of its own, as a user starts it; returns its exit code. What it prints
    goes to stderr. Signals to stop are handed on, once each, and its end is waited for: it writes a
    checkpoint."""
    command = [sys.executable, "-m", "orster_cli", *words]
    # a session of its own: of a signal to all processes of this one it would hear twice, and stop at once
    process = subprocess.Popen(command, stdout=2, start_new_session=True)  # noqa: S603
    with _handed_on(process):
        code = process.wait()
        return code if code >= 0 else 128 - code


@contextmanager
def _handed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Signals to stop go on to `process`, which else would be left alone with its lock."""
    asked = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.signal(one, lambda number, _: process.send_signal(number)) for one in asked]
    try:
        yield
    finally:
        for number, handler in zip(asked, before, strict=True):
            signal.signal(number, handler)


def demo_lines(folder: Path, device: str) -> Iterator[list[str]]:
    """The command lines of the demo, without `orster`."""
    examples = _examples()
    made = {
        "object": ["--object", str(examples / OBJECT), "--text", "a brown horse walking"],
        "text": ["a tyrannosaurus rex running"],
        "image": ["--image", str(examples / IMAGE), "--text", "a robot walking"],
    }
    where = ["--device", device]
    for name, condition in made.items():
        yield ["generate", *condition, "-o", f"{folder / name}", *where]
    asset = f"{folder / 'object'}"
    yield ["export", asset, "--to", "glb", "-o", asset, "--force"]
    for name in made:
        here = folder / name
        yield [
            "evaluate", f"{here}/asset", "--reference", f"{here}/clip", "-o", f"{here}/report",
            "--metrics", "psnr,ssim,motion", *where,
        ]  # fmt: skip


def _examples() -> Path:
    """The example files: package data of a wheel, `examples/` of a checkout."""
    from orster_cli.config.load import shipped_folder

    return shipped_folder("examples")
