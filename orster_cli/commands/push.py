"""`orster push`: an artifact to a repository of the Hugging Face hub."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from orster_cli.ui.options import DryRunOption, JsonOption, QuietOption
from orster_cli.ui.out import Out


def push(
    artifact: Annotated[Path, typer.Argument(help="The artifact's folder.")],
    repository: Annotated[
        str, typer.Argument(metavar="REPO", help="OWNER/NAME; it is made if it is missing.")
    ],
    revision: Annotated[
        str, typer.Option(help="Branch to write to; it is made if it is missing.")
    ] = "main",
    private: Annotated[
        bool, typer.Option("--private", help="A new repository is private.")
    ] = False,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Upload an artifact to the Hugging Face hub.

    Models go to a model repository, all others to a dataset repository: the files that the manifest lists,
    and a card. Log in with `hf auth login`, or set HF_TOKEN.
    Examples: orster push model/ me/frogs ; orster push asset/ me/frog --private"""
    from orster_cli.artifacts.store import open_artifact
    from orster_cli.commands.describe import headline, size
    from orster_cli.core.errors import ConfigError
    from orster_cli.core.names import counted
    from orster_cli.hub.card import card
    from orster_cli.hub.push import push as upload
    from orster_cli.hub.push import repo_type
    from orster_cli.hub.repository import Repository, parse_address

    out = Out(as_json=as_json, quiet=quiet)
    address = parse_address(repository)
    if address.revision is not None:
        raise ConfigError(
            f"{repository}: the branch to write to is an option",
            hint=f"--revision {address.revision}",
        )
    found = open_artifact(artifact)
    target = Repository(address.name, repo_type(found.kind))
    if address.type not in (None, target.type):
        raise ConfigError(
            f"{repository}: an artifact of kind {found.kind} goes to a {target.type} repository",
            hint=f"orster push {shlex.quote(str(artifact))} {address.name}",
        )
    name, about = artifact.absolute().name, headline(found.manifest)
    if not found.manifest.licences:
        out.warn("no licence is recorded for what it was made of: the card says so")
    if dry_run:
        names = ["manifest.json", *(entry.path for entry in found.manifest.files)]
        total = sum(entry.size for entry in found.manifest.files)
        text = card(found.manifest, target, name=name, about=about)
        values = {"status": "dry run", "repository": str(target), "revision": revision}
        lines = [
            f"would push {counted(len(names), 'file')}, {size(total)}, and this card to {target}:",
            "",
            text,
        ]
        out.result({**values, "files": names, "bytes": total, "card": text}, "\n".join(lines))
        return
    out.status("asking the hub ...")
    done = upload(
        found,
        target,
        lambda manifest, where: card(manifest, where, name=name, about=about),
        branch=revision,
        private=private,
        message=message,
        reporter=out,
    )
    values = {
        "status": "pushed" if done.new else "up to date",
        "repository": str(target),
        "revision": revision,
        "commit": done.commit,
        "id": found.id,
        "files": done.files,
        "bytes": done.bytes,
        "removed": done.removed,
    }
    removed = f", {counted(done.removed, 'old file')} removed" if done.removed else ""
    said = "pushed to" if done.new else "up to date:"
    out.report(
        values,
        f"{artifact}: {said} {target}, commit {done.commit}{removed}\n"
        f"next: orster pull {target}@{done.commit[:12]} -o {shlex.quote(name)}",
    )
