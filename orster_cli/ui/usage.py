"""What a command line that cannot be read was meant to do: the next step of the first mistakes."""

from __future__ import annotations

import re
from collections.abc import Sequence

# word in the place of a command -> what does it
COMMANDS = {
    "version": "orster --version",
    "ls": "orster show FOLDER lists the artifacts in a folder",
    "open": "open ASSET/viewer.html in a browser; orster show ASSET says what it is",
    "render": "orster export ASSET --to mp4 (or png-sequence, gif, webp)",
    "convert": "orster export ASSET --to glb (or ply-sequence, mp4, gif)",
    "train": "orster init PROJECT lays out a training; its stages are pretrain, distill, align, finetune",
    "sample": 'orster sample-video "a frog jumping" makes a clip, orster generate an asset of it',
    "clean": "orster doctor --cache lists what is cached; --clean-cache removes it",
}
# (command, option) -> what does it
OPTIONS = {
    (
        "sample-video",
        "--resolution",
    ): "a model makes frames of the size that it was trained at (mini: 64 px)",
    (
        "sample-video",
        "--size",
    ): "a model makes frames of the size that it was trained at (mini: 64 px)",
    (
        "generate",
        "--resolution",
    ): "a model makes frames of the size that it was trained at (mini: 64 px); "
    "--set construct.resolution=256 is the size of the fit",
    ("construct", "--resolution"): "--set construct.resolution=256",
    ("construct", "--prompt"): 'orster generate "a frog jumping" makes an asset of a text',
    ("construct", "--text"): 'orster generate "a frog jumping" makes an asset of a text',
    ("construct", "--image"): "orster generate --image x.png makes an asset of an image",
    ("construct", "--steps"): "--preset fast, or --set construct.fine_steps=2000",
    ("construct", "--gaussians"): "--set construct.gaussians=8000",
    ("evaluate", "--metric"): "--metrics psnr,ssim",
    ("prepare-data", "--caption"): "--captions clips.csv",
}
# command -> what stands where one argument is too many
TOO_MANY = {
    "evaluate": "one subject: give a folder that holds several; what it is compared with is --reference",
    "show": "one artifact at a time: orster show FOLDER lists those in a folder",
}


def meant(command: str, arguments: Sequence[str], message: str) -> str:
    """The next step after a usage error of `command` ("" for orster itself); its help where nothing better
    is known. `message`: what typer says of it."""
    if not command:
        word = next((a for a in arguments if not a.startswith("-")), "")
        return COMMANDS.get(word, "orster --help")
    if "unexpected extra argument" in message and command in TOO_MANY:
        return TOO_MANY[command]
    option = re.search(r"No such option: (--[\w-]+)", message)
    return OPTIONS.get((command, option[1]) if option else ("", ""), f"orster {command} --help")
