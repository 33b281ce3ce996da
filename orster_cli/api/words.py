"""What errors and warnings call things: libraries name options of the command line, Python has arguments.

`in_python` is applied once, at the boundary (`api.arguments.public`, `api.calls.Messages`), so that the
command line and what manifests keep have one wording.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from re import Match
from weakref import WeakSet

from orster_cli.core.errors import OrsterError

Replacement = str | Callable[[Match[str]], str]

COMMANDS = (
    "align|config|construct|demo|distill|doctor|evaluate|export|finetune|generate|import|init|list|prepare-data"
    "|pretrain|pull|push|run|sample-video|show|verify|view"
)
ARGUMENTS = (
    "anyway|azimuth-start|cache|captions|device|elevation|force|fov|image|metrics|model|object|out|preset"
    "|protocol|radius|reference|seed|start|static-orbit|template|text|turns|workers"
)
SETTINGS = {"motion": "sample.motion", "renderer": "prepare.renderer"}  # they have no argument

_QUOTED = r"""(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
_NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]*\w)"
_PART = r"[\w.@%+=:,#-]"  # of a path that a shell need not quote
_NAME = rf"{_PART}*/(?:{_PART}|/)*(?<=[\w/])|[\w-]+\.\w+|[A-Z]{{2,}}\b"  # of a file; FOLDER for one
_VALUE = rf"{_QUOTED}|{_NUMBER}|{_NAME}"
_BEFORE, _AFTER = r"(?<![^\s(\[`])", r"(?![\w/#=-]|\.\w)"  # an option is a word of its own
_COMMAND_END = r"[`\n;)]|[,:]\s|(?<=\w)\.\s|\sor\s-"
_OTHERS = r"pip install|hf download|npx|ffmpeg|python -c|chmod"  # they have options of their own


def _literal(text: str) -> str:
    """`text` as a value of Python."""
    if re.fullmatch(r"true|false|none", text):
        return text.capitalize()
    return text if re.fullmatch(rf"{_QUOTED}|{_NUMBER}", text) else f'"{text}"'


def _given(match: Match[str]) -> str:
    return f"{match['name'].replace('-', '_')}={_literal(match['value'])}"


def _setting(match: Match[str]) -> str:
    key = SETTINGS.get(match["name"], match["name"])
    return f'config={{"{key}": {_literal(match["value"]) if match["value"] else "..."}}}'


# the first that fits at a place decides, and reading goes on behind it
RULES: tuple[tuple[re.Pattern[str], Replacement], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # what stays: the file that a message begins with, commands to be typed
        (r"\A(?!-)(?:[^\s:]*/[^\n]*?|[^\n:]*\.\w{1,5}(?:#\S*)?):(?=\s)", r"\g<0>"),
        (
            rf"(?<![\w./-])(?:orster (?:{COMMANDS})|{_OTHERS})(?![\w-])"
            rf"(?:{_QUOTED}|(?!{_COMMAND_END})[\s\S])*",
            r"\g<0>",
        ),
        # phrases
        (r"; for training, the same command with --dry-run [^;]*", ""),
        (r"\brun the (?:same )?command again\b", "make the same call again"),
        (r"\Acommand line: (?:construct|evaluate)\.(?=\w)", ""),
        (rf"{_BEFORE}--up z, y or -y", "sample.up or evaluate.up in config: z, y or -y"),
        # options: with values, then alone
        (rf"{_BEFORE}--set (?P<name>\w+\.\w+)=(?P<value>{_QUOTED}|[\w./#-]*\w/?)", _setting),
        (rf"{_BEFORE}--(?P<name>motion) (?P<value>{_NUMBER})", _setting),
        (rf"{_BEFORE}--(?P<name>renderer) (?P<value>\w+)", _setting),
        (rf"{_BEFORE}--(?P<name>{'|'.join(SETTINGS)}){_AFTER}(?P<value>)", _setting),
        (
            rf"{_BEFORE}--(?P<name>azimuth-start|elevation|fov|radius|turns) (?P<value>{_NUMBER})",
            lambda match: f"open_clip(..., {_given(match)})",
        ),
        (rf"{_BEFORE}--(?P<name>device) (?P<value>auto|cpu|cuda(?::\d+)?){_AFTER}", _given),
        (rf"{_BEFORE}--(?P<name>metrics) (?P<value>(?!and\b|or\b)[\w,-]+)", _given),
        (rf"{_BEFORE}--(?P<name>{ARGUMENTS}) (?P<value>{_VALUE})", _given),
        (rf"{_BEFORE}-o (?P<value>{_VALUE})", lambda match: f"out={_literal(match['value'])}"),
        (
            rf"{_BEFORE}-m (?P<value>{_VALUE}|{_PART}*\w)",
            lambda match: f"model={_literal(match['value'])}",
        ),
        (rf"{_BEFORE}--(anyway|force)(?!:){_AFTER}", r"\1=True"),
        (rf"{_BEFORE}--({ARGUMENTS}){_AFTER}", lambda match: match[1].replace("-", "_")),
        (rf"{_BEFORE}-o{_AFTER}", "out"),
        (rf"{_BEFORE}-m{_AFTER}", "model"),
        # what stays too: other quoted parts, also one that was cut off
        (r"(?<!\w)b?(?:\"(?:[^\"\\\n]|\\.)*(?:\"|\Z)|'(?:[^'\\\n]|\\.)*(?:'|\Z))", r"\g<0>"),
    )
)

_said: WeakSet[OrsterError] = WeakSet()  # errors that are in Python's words


def in_python(text: str) -> str:
    """`text` of an error, a hint or a warning with Python's arguments and settings for the options in it:
    ``--force`` is ``force=True``, ``--set a.b=1`` is ``config={"a.b": 1}``. Unchanged: commands to be
    typed, what stands in quotes, and the path that it begins with."""
    parts, at = [], 0
    while at < len(text):
        for pattern, new in RULES:
            if found := pattern.match(text, at):
                parts.append(found.expand(new) if isinstance(new, str) else new(found))
                at = found.end()
                break
        else:
            parts.append(text[at])
            at += 1
    return "".join(parts)


def say_in_python(error: OrsterError) -> None:
    """Put the message and the hint of `error` into Python's words, and let a traceback show the hint. Once:
    a second call changes nothing."""
    if error in _said:
        return
    _said.add(error)
    error.args = (in_python(str(error)),)
    if error.hint:
        error.hint = in_python(error.hint)
        error.add_note(error.hint)
