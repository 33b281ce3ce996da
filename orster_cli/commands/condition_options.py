"""Options that say what a clip shows and which model samples it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from orster_cli.core.file_kinds import IMAGES, OBJECTS
from orster_cli.core.seeding import MOST_SEED
from orster_cli.ui.options import DeviceOption

CONDITION_PANEL = "What the video shows"
OptionalOut = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Folder to write; by default named after the condition."),
]
# the option of each kind of file that may be mistaken for a text
FILES = dict.fromkeys(IMAGES, "--image") | dict.fromkeys(OBJECTS, "--object")


@dataclass(frozen=True, kw_only=True)
class ConditionOptions:
    """What is sampled, by which model."""

    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]", help='A caption, as "a frog jumping".'),
    ] = None
    text: Annotated[
        str | None,
        typer.Option("--text", "--prompt", "-t", help="The same.", rich_help_panel=CONDITION_PANEL),
    ] = None
    image: Annotated[
        Path | None,
        typer.Option(
            "--image",
            help="A picture of the object, on a plain or transparent background: the first view.",
            rich_help_panel=CONDITION_PANEL,
        ),
    ] = None
    object_: Annotated[
        str | None,
        typer.Option(
            "--object",
            help="A static object: .glb, .gltf, .ply, clip/ or dataset#key.",
            rich_help_panel=CONDITION_PANEL,
        ),
    ] = None
    motion: Annotated[
        float | None,
        typer.Option(
            help="Strength of the motion: 0 at rest; 0.01 to 0.03 is usual.",
            rich_help_panel=CONDITION_PANEL,
        ),
    ] = None
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway",
            help="Also where the model knows no word of the text, or the image is blank.",
            rich_help_panel=CONDITION_PANEL,
        ),
    ] = False
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="Model: a folder, or one that orster ships: mini-object (for --object, --image, and "
            "texts with words that mini does not know), or mini.",
        ),
    ] = None
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of the noise.")] = 0
    device: DeviceOption = "auto"

    def with_text(self) -> ConditionOptions:
        """The same, with the words given as an argument as the text. ConfigError: both are given, or the
        argument is a file."""
        from orster_cli.core.errors import ConfigError

        for word in [*(self.words or []), *([self.text] if self.text is not None else [])]:
            _refuse_file(word, alone=len(self.words or []) <= 1)
        if not self.words:
            return self
        if self.text is not None:
            raise ConfigError(
                f"two texts are given: {self.words[0]!r} and --text {self.text!r}",
                hint="give one of them",
            )
        return replace(self, text=" ".join(self.words), words=None)

    def model_folder(self) -> Path:
        """Of the model that is named, or of the shipped one."""
        from orster_cli.inputs.models import model_folder

        return model_folder(self.model)

    def folder(self, suffix: str = "", start: str | None = None) -> Path:
        """A folder's name from the text, the image, the object or the `start`, and the seed if it is not
        0."""
        from orster_cli.inputs.prompts import folder_of

        seed = f"-seed-{self.seed}" if self.seed else ""
        return Path(f"{folder_of(self.text, self.image, self.object_ or start)}{suffix}{seed}")


def _refuse_file(word: str, *, alone: bool) -> None:
    """ConfigError: a word of the text is a file; `alone`: it is the whole text."""
    from orster_cli.core.errors import ConfigError

    path, named = Path(word), shlex.quote(word)
    option = FILES.get(path.suffix.lower())
    try:
        there = path.is_file()
    except (OSError, ValueError):  # a text may be longer than a name, or hold what none can
        return
    if option is not None and (there or alone):
        hint = f"give it as {option} {named}"
    elif there and path.suffix.lower() == ".txt":
        hint = f"orster sample-video --texts {named} makes a clip of each of its lines"
    else:
        return
    raise ConfigError(f"{word}: expected a text, got a file", hint=hint)
