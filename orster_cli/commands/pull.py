"""`orster pull`: an artifact from a repository of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orster_cli.ui.options import DryRunOption, ForceOption, JsonOption, QuietOption
from orster_cli.ui.out import Out


def pull(
    repository: Annotated[
        str,
        typer.Argument(
            metavar="REPO", help="OWNER/NAME, or OWNER/NAME@REVISION (a branch, tag or commit)."
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to write; by default NAME of the repository."),
    ] = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Download an artifact from the Hugging Face hub.

    Every file is compared with its hash in the manifest before the folder appears. The commit is recorded:
    `orster show` prints it.
    Examples: orster pull me/frog -o frog/ ; orster pull me/frogs@v1.0 -o model/"""
    from orster_cli.artifacts.outputs import check_output, what_for
    from orster_cli.commands.describe import headline
    from orster_cli.core.names import counted
    from orster_cli.hub.pull import find
    from orster_cli.hub.pull import pull as download
    from orster_cli.hub.repository import parse_address

    out = Out(as_json=as_json, quiet=quiet)
    address = parse_address(repository)
    target = folder or Path(address.name.partition("/")[2])
    out.status("asking the hub ...")
    found = find(address)
    remote, manifest = found.remote, found.manifest
    check_output(target, kind=manifest.kind)
    if found.ignored:
        first = found.ignored[0] + (", ..." if len(found.ignored) > 1 else "")
        out.warn(
            f"{counted(len(found.ignored), 'file')} of {remote.repository} not in the manifest: "
            f"ignored ({first})"
        )
    values = {
        "repository": str(remote.repository),
        "revision": remote.revision,
        "commit": remote.commit,
        "kind": manifest.kind,
        "id": manifest.id,
        "files": len(manifest.files),
        "bytes": found.size,
        "ignored": len(found.ignored),
        "path": str(target),
    }
    about = f"{manifest.kind}, {headline(manifest)}"
    if dry_run:
        values["status"] = "dry run"
        out.result(values, f"would pull {remote.repository}, commit {remote.commit}: {about}")
        return
    made = download(found, target, force=force, reporter=out)
    values["status"] = "up to date" if made is None else "pulled"
    said = "up to date with" if made is None else "pulled from"
    out.report(
        values,
        f"{target}: {said} {remote.repository}, commit {remote.commit}: {about}\n"
        f"next: {what_for(target, manifest.kind)}",
    )
