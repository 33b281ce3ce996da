"""What a command line that cannot be read was meant to do: the next step of the first mistakes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from orster_cli.core.file_kinds import IMAGES, OBJECTS, VIDEOS

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
    ("generate", "--frames"): "--set sample.frames=24; a model's motion may fall apart beyond the "
    "frames that it was trained with (mini: 16), and orster export --fps 6 plays them slower",
    ("construct", "--resolution"): "--set construct.resolution=256",
    ("construct", "--prompt"): 'orster generate "a frog jumping" makes an asset of a text',
    ("construct", "--text"): 'orster generate "a frog jumping" makes an asset of a text',
    ("construct", "--image"): "orster generate --image x.png makes an asset of an image",
    ("construct", "--steps"): "--preset balanced, or --set construct.fine_steps=2000",
    ("construct", "--gaussians"): "--set construct.gaussians=8000",
    ("evaluate", "--metric"): "--metrics psnr,ssim",
    ("prepare-data", "--caption"): "--captions clips.csv",
}
# command -> an output of it
OUTPUTS = {
    "construct": "-o asset/",
    "sample-video": "-o clip/, or leave -o out for a folder named after the text",
    "generate": "-o frog/, or leave -o out for a folder named after the text",
    "evaluate": "-o report/, or leave -o out",
    "prepare-data": "-o dataset/",
    "export": "-o files/, or leave -o out",
    "run": "-o out/, a folder for all items",
}
# command -> a whole command line, where an argument is missing
MISSING = {
    "construct": "orster construct video.mp4 -o asset/",
    "prepare-data": "orster prepare-data objects/ -o dataset/",
    "show": "orster show asset/",
    "verify": "orster verify asset/",
    "push": "orster push asset/ NAME/REPO",
    "pull": "orster pull NAME/REPO",
    "init": "orster init project/",
    "run": "orster run construct --over clips/ -o assets/",
}
# ending of a file -> what to do with it, {} its name
FILES = {
    OBJECTS: 'orster generate --object {} "walking" animates it',
    IMAGES: "orster generate --image {} makes an asset of it",
    VIDEOS: "orster construct {} -o asset/ makes an asset of it",
    (".toml",): "orster COMMAND --config {} reads settings from it",
    (".csv",): "orster prepare-data objects/ --captions {} -o dataset/ reads captions from it",
}
# command -> what stands where one argument is too many
TOO_MANY = {
    "evaluate": "one subject: give a folder that holds several; what it is compared with is --reference",
    "show": "one artifact at a time: orster show FOLDER lists those in a folder",
}


def meant(command: str, arguments: Sequence[str], message: str) -> str:
    """The next step after a usage error of `command` ("" for orster itself); its help where nothing better
    is known. `message`: what typer says of it."""
    word = next((a for a in arguments if not a.startswith("-")), "")
    if not command and "No such command" in message:
        return COMMANDS.get(word) or _for_word(word, arguments, message)
    command = command or (word if word in OUTPUTS else "")
    if re.search(r"Missing option .*'-o'|Option '(--out|-o)' requires", message):
        return f"say where to write: {OUTPUTS.get(command, '-o out/')}"
    if "Missing argument" in message and command in MISSING:
        return MISSING[command]
    if not command:
        return "orster --help"
    if "unexpected extra argument" in message and command in TOO_MANY:
        return TOO_MANY[command]
    option = re.search(r"No such option: (--[\w-]+)", message)
    return OPTIONS.get((command, option[1]) if option else ("", ""), f"orster {command} --help")


def _for_word(word: str, arguments: Sequence[str], message: str) -> str:
    """What may be meant by `word` in the place of a command."""
    if near := re.search(r"Did you mean '([\w-]+)'", message):
        meant_words = [near[1] if a == word else a for a in arguments]
        return f"orster {shlex.join(meant_words)}"
    for endings, advice in FILES.items():
        if word.lower().endswith(endings):
            return advice.format(shlex.quote(word))
    if Path(word).is_dir():
        return f"orster show {shlex.quote(word)} says what is in it"
    return f"orster generate {shlex.quote(word)} makes an asset of a text; orster --help lists the commands"
