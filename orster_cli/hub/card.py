"""The README.md of an artifact's repository: what it is, how to use it, its licences and its lineage."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

from orster_cli.artifacts.manifest import Manifest
from orster_cli.artifacts.outputs import with_article
from orster_cli.core.names import printable
from orster_cli.hub.repository import Repository

CARD = "README.md"
# a card without this line was written by its owner, and `orster push` leaves it alone
MARK = "<!-- `orster push` writes this page anew; remove this line to keep your own text -->"
MOST_LICENCES = 50
_TITLE = 120  # characters

# words in a licence's name -> the hub's identifier
_LICENCES = (
    (r"\bcc0\b|creativecommons\.org/publicdomain/zero", "cc0-1.0"),
    (r"\bcc[ -]by[ -]nc[ -]sa[ -]4\.0\b|licenses/by-nc-sa/4\.0", "cc-by-nc-sa-4.0"),
    (r"\bcc[ -]by[ -]nc[ -]nd[ -]4\.0\b|licenses/by-nc-nd/4\.0", "cc-by-nc-nd-4.0"),
    (r"\bcc[ -]by[ -]nc[ -]4\.0\b|licenses/by-nc/4\.0", "cc-by-nc-4.0"),
    (r"\bcc[ -]by[ -]sa[ -]4\.0\b|licenses/by-sa/4\.0", "cc-by-sa-4.0"),
    (r"\bcc[ -]by[ -]nd[ -]4\.0\b|licenses/by-nd/4\.0", "cc-by-nd-4.0"),
    (r"\bcc[ -]by[ -]4\.0\b|licenses/by/4\.0", "cc-by-4.0"),
    (r"\bapache[ -](license )?(version )?2(\.0)?\b", "apache-2.0"),
    (r"^\s*(the )?mit\b(?!-)", "mit"),
    (r"\b[al]?gpl", "other"),
)
# kind of artifact -> the command that uses the folder {folder}
_USE = {
    "model": 'orster generate -m {folder} --text "..." -o out/',
    "dataset": "orster show {folder}",
    "clip": "orster construct {folder} -o asset/",
    "asset": "orster export {folder} --to glb,mp4",
    "report": "orster view {folder}",
}
# roles of a model that makes no clips by itself
_PARTS = {"vae", "encoder", "3d", "video"}
_TASK = {"asset": ["text-to-3d"], "clip": ["text-to-video"], "dataset": ["text-to-3d"]}


def card(manifest: Manifest, repository: Repository, *, name: str, about: str) -> str:
    """The page. `name`: of the folder, the title where there is no prompt; `about`: one line of facts."""
    folder = repository.name.partition("/")[2]
    lines = [
        "---",
        _header(manifest),
        "---",
        "",
        f"# {_escaped(_title(manifest, name))}",
        "",
        MARK,
        "",
        f"{with_article(manifest.kind).capitalize()} made by orster {_escaped(manifest.orster_version)}: "
        f"{_escaped(about)}.",
        "",
        f"    orster pull {repository} -o {folder} && {_use(manifest).format(folder=folder)}",
        "",
        "This downloads it, compares every file with the hash in `manifest.json`, and uses it.",
        "",
        "## Licences",
        "",
        *_licence_lines(manifest.licences),
        "",
        "## Lineage",
        "",
        "| what | kind | id |",
        "|---|---|---|",
        f"| this | {manifest.kind} | `{manifest.id}` |",
        *(f"| made from {_escaped(p.name)} | {p.kind} | `{p.id}` |" for p in manifest.parents),
        *(
            f"| made from {_escaped(i.name)} | file, SHA-256 | `{i.sha256}` |"
            for i in manifest.inputs
        ),
        "",
        f"Made by `orster {_code(manifest.command)}` on {_escaped(manifest.created)}. Settings, seeds and "
        "versions are in `manifest.json`.",
        "",
    ]
    return "\n".join(lines)


def is_generated(text: str) -> bool:
    """Whether a repository's README.md is a card of ours, and not its owner's text."""
    return MARK in text


def licence_identifiers(licences: Sequence[str]) -> list[str]:
    """The hub's identifiers of `licences`, each once; "other" for one that it does not know."""
    return list(dict.fromkeys(name for text in licences for name in _identifiers(text)))


def _identifiers(text: str) -> list[str]:
    """All that `text` names: what has parts under several licences must not pass for the freest of them."""
    found = [name for pattern, name in _LICENCES if re.search(pattern, text, re.IGNORECASE)]
    return found or ["other"]


def _header(manifest: Manifest) -> str:
    """The YAML that the hub reads."""
    from huggingface_hub import CardData

    found = licence_identifiers(manifest.licences)
    values: dict[str, Any] = {}
    if found:
        values["license"] = found[0] if len(found) == 1 else found
    if found == ["other"]:
        values["license_name"] = "see-below"
    values["library_name"] = "orster"
    values["tags"] = ["orster", f"orster-{manifest.kind}", "4d", "gaussian-splatting"]
    if manifest.kind == "dataset":
        values["pretty_name"] = "orster dataset"
    if tasks := _TASK.get(manifest.kind):
        values["task_categories"] = tasks
    elif manifest.kind == "model" and _makes_clips(manifest):
        values["pipeline_tag"] = "text-to-3d"
    return CardData(**values).to_yaml()


def _makes_clips(manifest: Manifest) -> bool:
    return manifest.content.get("role") not in _PARTS


def _use(manifest: Manifest) -> str:
    if manifest.kind == "model" and not _makes_clips(manifest):
        return "orster show {folder}"
    return _USE[manifest.kind]


def _title(manifest: Manifest, name: str) -> str:
    prompt = manifest.content.get("prompt")
    title = prompt if isinstance(prompt, str) and prompt.strip() else name
    return title if len(title) <= _TITLE else title[: _TITLE - 3] + "..."


def _licence_lines(licences: Sequence[str]) -> list[str]:
    if not licences:
        return ["None is recorded for what it was made of."]
    lines = ["What it was made of is under:", ""]
    lines += [f"- {_escaped(text)}" for text in licences[:MOST_LICENCES]]
    if len(licences) > MOST_LICENCES:
        lines.append(f"- and {len(licences) - MOST_LICENCES} more, in `manifest.json`")
    return lines


def _escaped(text: str) -> str:
    """`text` from outside on one line of Markdown, where nothing in it is markup."""
    plain = html.escape(" ".join(printable(text).split()), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", plain)


def _code(text: str) -> str:
    """`text` inside backticks."""
    return printable(text).replace("`", "'")
