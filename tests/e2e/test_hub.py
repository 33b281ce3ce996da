"""`orster push` and `orster pull` against a stand-in of the hub's HTTP API, through the real client."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orster_cli.artifacts.manifest import MANIFEST, ORIGIN, InputFile, Parent
from orster_cli.artifacts.store import begin, open_artifact
from orster_cli.core.errors import ConfigError, OrsterError
from orster_cli.diffusion.hub import locate
from orster_cli.hub.card import CARD, MARK, card, licence_identifiers
from orster_cli.hub.repository import Repository, parse_address
from tests.helpers.artifacts import FILES, damage, make, manifest_values, resign
from tests.helpers.cli import Said, orster
from tests.helpers.hub import TOKEN, Hub, Refusal, Repo, running

Capture = pytest.CaptureFixture[str]
DATASET = ("dataset", "me/frog")
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, and a client that is logged in and reads these settings as from the environment."""
    import huggingface_hub.constants as settings

    home = tmp_path / "home"
    with running() as found:
        serve_at(monkeypatch, found.url)
        monkeypatch.setattr(settings, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(settings, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(settings, "HF_HUB_CACHE", str(home / "cache"))
        monkeypatch.setattr(settings, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found


def serve_at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The client's hub is at `url`, as HF_ENDPOINT says it to a new process."""
    import huggingface_hub.constants as settings

    monkeypatch.setattr(settings, "ENDPOINT", url)
    path = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(settings, "HUGGINGFACE_CO_URL_TEMPLATE", url + path)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the note on where it was pulled from."""
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != ORIGIN}


def pushed(capsys: Capture, name: str = "clip", repo: str = "me/frog") -> Said:
    """A small clip in the folder `name`, and in the hub."""
    if not Path(name).exists():
        make(Path(name), content={"frames": 2, "prompt": "a frog jumping"})
    said = orster(capsys, "push", name, repo, "--json")
    assert said.code == 0, said.err
    return said


def nothing_else(folder: Path, *names: str) -> None:
    """No draft, lock or half-made folder is left beside `names`."""
    assert sorted(p.name for p in folder.iterdir()) == sorted(names)


def test_there_and_back_to_the_byte(hub: Hub, here: Path, capsys: Capture) -> None:
    said = pushed(capsys)
    repo = hub.repos[DATASET]
    assert not repo.private
    assert set(repo.head()) == {*FILES, MANIFEST, CARD, ".gitattributes"}
    assert said.data["commit"] == repo.branches["main"]
    assert said.data["status"] == "pushed"
    assert len(hub.asked("PUT", "/storage/")) == 3  # manifest, card and a frame are large
    back = orster(capsys, "pull", "me/frog", "-o", "back", "--json")
    assert back.code == 0, back.err
    assert contents(Path("back")) == contents(Path("clip"))
    one, other = open_artifact(Path("clip")), open_artifact(Path("back"))
    assert other.id == one.id == back.data["id"]
    assert damage(other) == []
    nothing_else(here, "clip", "back")


def test_the_commit_is_pinned_and_recorded(hub: Hub, here: Path, capsys: Capture) -> None:
    first = pushed(capsys).data["commit"]
    make(Path("other"), config={"seed": 1}, content={"frames": 2, "prompt": "a toad"})
    assert pushed(capsys, "other").data["commit"] != first
    assert orster(capsys, "pull", f"me/frog@{first[:12]}", "-o", "back").code == 0
    assert open_artifact(Path("back")).id == open_artifact(Path("clip")).id
    shown = orster(capsys, "show", "back", "--json").data["origin"]
    assert shown == {
        "repository": "datasets/me/frog",
        "revision": first[:12],
        "commit": first,
    }
    assert first in orster(capsys, "show", "back").out
    # the files come from that commit, whatever the branch holds by then
    assert all(f"/resolve/{first}/" in one for one in hub.asked("GET", "/resolve/")[-4:])
    assert orster(capsys, "verify", "back").code == 0


def test_a_branch_private_and_a_message(hub: Hub, here: Path, capsys: Capture) -> None:
    make(Path("clip"))
    words = ("--revision", "trial", "--private", "--message", "first try")
    assert orster(capsys, "push", "clip", "me/frog", *words).code == 0
    repo = hub.repos[DATASET]
    assert repo.private
    assert repo.messages[-1] == "first try"
    assert MANIFEST in repo.head("trial")
    assert MANIFEST not in repo.head("main")
    assert orster(capsys, "pull", "me/frog@trial", "-o", "back").code == 0
    none = orster(capsys, "pull", "me/frog", "-o", "main", "--json")
    assert (none.code, none.failure["code"]) == (3, "E-ARTIFACT")


def test_twice_is_up_to_date(hub: Hub, here: Path, capsys: Capture) -> None:
    commit = pushed(capsys).data["commit"]
    again = pushed(capsys)
    assert (again.data["status"], again.data["commit"]) == ("up to date", commit)
    for status in ("pulled", "up to date"):
        assert orster(capsys, "pull", "me/frog", "--json").data["status"] == status
    assert damage(open_artifact(here / "frog")) == []  # the repository's own name


def test_a_new_version_replaces_what_the_old_one_listed(
    hub: Hub, here: Path, capsys: Capture
) -> None:
    pushed(capsys)
    repo = hub.repos[DATASET]
    repo.commit("main", {**repo.head(), "photo.jpg": b"of somebody else"})
    make(Path("new"), files={"cameras.json": b"{}"}, config={"seed": 3})
    said = pushed(capsys, "new")
    assert said.data["removed"] == len(FILES) - 1
    assert set(repo.head()) == {MANIFEST, CARD, ".gitattributes", "cameras.json", "photo.jpg"}
    back = orster(capsys, "pull", "me/frog", "-o", "back")
    assert "1 file of datasets/me/frog not in the manifest: ignored (photo.jpg)" in back.err
    assert not (here / "back" / "photo.jpg").exists()


def test_a_page_written_by_hand_stays(hub: Hub, here: Path, capsys: Capture) -> None:
    pushed(capsys)
    repo = hub.repos[DATASET]
    assert MARK.encode() in repo.head()[CARD]
    repo.commit("main", {**repo.head(), CARD: b"# My frogs\n"})
    make(Path("new"), config={"seed": 3})
    assert "by hand" in pushed(capsys, "new").err
    assert repo.head()[CARD] == b"# My frogs\n"


def test_a_dry_run_asks_nobody(hub: Hub, here: Path, capsys: Capture) -> None:
    make(Path("clip"))
    said = orster(capsys, "push", "clip", "me/frog", "-n", "--json")
    assert said.code == 0
    assert set(said.data["files"]) == {*FILES, MANIFEST}
    assert said.data["card"].startswith("---\n")
    assert hub.requests == []
    pushed(capsys)
    said = orster(capsys, "pull", "me/frog", "-o", "back", "-n", "--json")
    assert said.data["id"] == open_artifact(Path("clip")).id
    nothing_else(here, "clip")


@pytest.mark.parametrize("name", ["frames/0000.png", "cameras.json"])
def test_a_tampered_file_is_refused(hub: Hub, here: Path, capsys: Capture, name: str) -> None:
    """Of the same size, in the large file storage (whose listing has hashes) and outside of it."""
    pushed(capsys)
    repo = hub.repos[DATASET]
    old = repo.head()[name]
    repo.commit("main", {**repo.head(), name: old[:-1] + bytes([old[-1] ^ 1])})
    said = orster(capsys, "pull", "me/frog", "-o", "back", "--json")
    assert (said.code, said.failure["code"]) == (3, "E-INTEGRITY")
    assert name in said.failure["error"]
    nothing_else(here, "clip")


def test_a_missing_file_and_another_size_are_refused(hub: Hub, here: Path, capsys: Capture) -> None:
    pushed(capsys)
    repo = hub.repos[DATASET]
    whole = dict(repo.head())
    less = {key: data for key, data in whole.items() if key != "cameras.json"}
    for files, what in ((less, "missing"), ({**whole, "cameras.json": b"{}"}, "expected 15 bytes")):
        repo.commit("main", files)
        before = len(hub.asked("GET", "/resolve/"))
        said = orster(capsys, "pull", "me/frog", "-o", "back", "--json")
        assert (said.code, said.failure["code"]) == (3, "E-INTEGRITY")
        assert f"cameras.json: {what}" in said.failure["error"]
        assert len(hub.asked("GET", "/resolve/")) == before + 1  # the manifest alone
    nothing_else(here, "clip")


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/outside", "a/../../outside", "a\\b"])
def test_names_outside_the_folder_are_refused(
    hub: Hub, here: Path, capsys: Capture, name: str
) -> None:
    pushed(capsys)
    values = manifest_values(Path("clip"))
    values["files"][0]["path"] = name
    forged = here.parent / "forged"
    forged.mkdir()
    resign(forged, values)
    repo = hub.repos[DATASET]
    data = (forged / MANIFEST).read_bytes()
    repo.commit("main", {**repo.head(), MANIFEST: data, name: FILES["cameras.json"]})
    said = orster(capsys, "pull", "me/frog", "-o", "back", "--json")
    assert (said.code, said.failure["code"]) == (3, "E-MANIFEST")
    nothing_else(here, "clip")
    assert not (here.parent / "outside.txt").exists()


def test_an_edited_manifest_is_refused(hub: Hub, here: Path, capsys: Capture) -> None:
    pushed(capsys)
    repo = hub.repos[DATASET]
    edited = repo.head()[MANIFEST].replace(b"CC0 1.0", b"MIT    ")
    repo.commit("main", {**repo.head(), MANIFEST: edited})
    said = orster(capsys, "pull", "me/frog", "-o", "back", "--json")
    assert (said.code, said.failure["code"]) == (3, "E-MANIFEST")
    assert "tmp" not in said.failure["error"]
    nothing_else(here, "clip")


def test_a_repository_without_an_artifact(hub: Hub, here: Path, capsys: Capture) -> None:
    repo = hub.repos["model", "me/unet"] = Repo(private=False)
    repo.commit("main", {"config.json": b"{}"})
    said = orster(capsys, "pull", "me/unet", "--json")
    assert (said.code, said.failure["code"]) == (3, "E-ARTIFACT")
    repo.commit("main", {MANIFEST: b'{"name": "a web app"}'})
    said = orster(capsys, "pull", "me/unet", "--json")
    assert (said.code, said.failure["code"]) == (3, "E-MANIFEST")
    nothing_else(here)


def test_existing_outputs_are_refused(hub: Hub, here: Path, capsys: Capture) -> None:
    pushed(capsys)
    make(Path("other"), config={"seed": 1})
    make(Path("asset"), kind="asset")
    shutil.copytree("clip", "same")
    Path("folder").mkdir()
    Path("folder/notes.txt").write_text("mine")
    Path("link").symlink_to("folder")
    for name, code in (("other", "E-CONFLICT"), ("asset", "E-OUTPUT"), ("folder", "E-CONFLICT")):
        said = orster(capsys, "pull", "me/frog", "-o", name, "--json")
        assert (said.code, said.failure["code"]) == (6, code), name
    for name in ("asset", "folder", "link"):  # never, not by force
        said = orster(capsys, "pull", "me/frog", "-o", name, "--force", "--json")
        assert said.code == 6, name
    assert Path("folder/notes.txt").read_text() == "mine"
    assert orster(capsys, "pull", "me/frog", "-o", "same", "--json").data["status"] == "up to date"
    assert orster(capsys, "pull", "me/frog", "-o", "other", "--force").code == 0
    assert open_artifact(Path("other")).id == open_artifact(Path("clip")).id


def test_other_bytes_of_the_same_request_are_no_match(
    hub: Hub, here: Path, capsys: Capture
) -> None:
    pushed(capsys)
    make(Path("again"), files={"cameras.json": b"[1]"}, content={"frames": 2})
    said = orster(capsys, "pull", "me/frog", "-o", "again", "--json")
    assert (said.code, said.failure["code"]) == (6, "E-CONFLICT")
    assert "other bytes" in said.failure["error"]


def test_links_and_damage_are_not_pushed(hub: Hub, here: Path, capsys: Capture) -> None:
    make(Path("clip"))
    secret = here.parent / "secret"
    secret.write_bytes(FILES["cameras.json"])
    Path("clip/cameras.json").unlink()
    Path("clip/cameras.json").symlink_to(secret)
    said = orster(capsys, "push", "clip", "me/frog", "--json")
    assert (said.code, said.failure["code"]) == (3, "E-INTEGRITY")
    Path("clip/cameras.json").unlink()
    Path("clip/cameras.json").write_bytes(FILES["cameras.json"].upper())
    said = orster(capsys, "push", "clip", "me/frog", "--json")
    assert (said.code, said.failure["code"]) == (3, "E-INTEGRITY")
    assert hub.repos == {}


def test_files_beside_the_manifest_stay_here(hub: Hub, here: Path, capsys: Capture) -> None:
    make(Path("clip"))
    Path("clip/private.txt").write_text("a note")
    assert "1 file not in the manifest: not uploaded (private.txt)" in pushed(capsys).err
    assert "private.txt" not in hub.repos[DATASET].head()


def test_another_kind_is_not_replaced(hub: Hub, here: Path, capsys: Capture) -> None:
    pushed(capsys)
    make(Path("asset"), kind="asset")
    said = orster(capsys, "push", "asset", "me/frog", "--json")
    assert (said.code, said.failure["code"]) == (6, "E-CONFLICT")
    assert said.failure["hint"]


def test_what_a_gitignore_keeps_out_is_an_error(hub: Hub, here: Path, capsys: Capture) -> None:
    make(Path("clip"))
    hub.ignored = {"cameras.json"}
    said = orster(capsys, "push", "clip", "me/frog", "--json")
    assert said.code == 4
    assert "cameras.json" in said.failure["error"]


def test_a_model_has_its_own_kind_of_repository(hub: Hub, here: Path, capsys: Capture) -> None:
    make(Path("model"), kind="model", content={"role": "4d", "parameters": 1000})
    assert orster(capsys, "push", "model", "me/frog").code == 0
    assert list(hub.repos) == [("model", "me/frog")]
    text = hub.repos["model", "me/frog"].head()[CARD].decode()
    assert "orster generate -m frog" in text
    assert orster(capsys, "pull", "me/frog", "-o", "one").code == 0
    pushed(capsys)  # a clip under the same name, in a dataset repository
    said = orster(capsys, "pull", "me/frog", "-o", "two", "--json")
    assert said.code == 2
    assert "datasets/me/frog" in said.failure["hint"]
    assert orster(capsys, "pull", "datasets/me/frog", "-o", "two").code == 0
    assert open_artifact(Path("two")).kind == "clip"


def test_no_token_and_a_wrong_one(
    hub: Hub, here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(Path("clip"))
    monkeypatch.delenv("HF_TOKEN")
    said = orster(capsys, "push", "clip", "me/frog", "--json")
    assert (said.code, said.failure["code"]) == (4, "E-HUB-TOKEN")
    assert "hf auth login" in said.failure["hint"]
    assert hub.requests == []
    monkeypatch.setenv("HF_TOKEN", "hf_" + "b" * 34)
    said = orster(capsys, "push", "clip", "me/frog", "--json")
    assert (said.code, said.failure["code"]) == (4, "E-HUB-TOKEN")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert orster(capsys, "push", "clip", "me/frog", "--private").code == 0
    monkeypatch.delenv("HF_TOKEN")
    said = orster(capsys, "pull", "me/frog", "-o", "back", "--json")
    assert (said.code, said.failure["code"]) == (4, "E-HUB-REPO")
    assert "private" in said.failure["hint"]


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [(403, "E-HUB-REFUSED", "token"), (429, "E-HUB", "wait"), (418, "E-HUB", "later")],
)
def test_refusals_of_the_hub(
    hub: Hub, here: Path, capsys: Capture, status: int, code: str, hint: str
) -> None:
    make(Path("clip"))

    def refuse(method: str, path: str) -> Refusal | None:
        return (status, {}, {"error": "no, because"}) if "/commit/" in path else None

    hub.refuse = refuse
    said = orster(capsys, "push", "clip", "me/frog", "--json")
    assert (said.code, said.failure["code"]) == (4, code)
    assert hint in said.failure["hint"]
    assert str(status) in said.failure["error"]


def test_a_gated_repository_and_an_unknown_revision(hub: Hub, here: Path, capsys: Capture) -> None:
    pushed(capsys)
    said = orster(capsys, "pull", "me/frog@v9", "--json")
    assert (said.code, said.failure["code"]) == (4, "E-HUB-REVISION")

    def refuse(method: str, path: str) -> Refusal | None:
        gated = (403, {"X-Error-Code": "GatedRepo"}, {"error": "Access is restricted"})
        return gated if "/resolve/" in path else None

    hub.refuse = refuse
    said = orster(capsys, "pull", "me/frog", "--json")
    assert (said.code, said.failure["code"]) == (4, "E-HUB-REFUSED")
    nothing_else(here, "clip")


def test_no_network(hub: Hub, here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as settings

    make(Path("clip"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve_at(monkeypatch, f"http://127.0.0.1:{port}")
    for words in (("push", "clip", "me/frog"), ("pull", "me/frog")):
        said = orster(capsys, *words, "--json")
        assert (said.code, said.failure["code"]) == (4, "E-HUB-NETWORK"), words
        assert "network" in said.failure["hint"]
    monkeypatch.setattr(settings, "HF_HUB_OFFLINE", True)
    said = orster(capsys, "pull", "me/frog", "--json")
    assert (said.code, said.failure["code"]) == (4, "E-HUB-NETWORK")
    assert "HF_HUB_OFFLINE" in said.failure["hint"]
    nothing_else(here, "clip")


def test_a_push_that_meets_another_one(hub: Hub, here: Path, capsys: Capture) -> None:
    pushed(capsys)
    repo = hub.repos[DATASET]
    make(Path("new"), config={"seed": 3})

    def refuse(method: str, path: str) -> Refusal | None:
        if "/preupload/" in path:  # somebody commits between our look and our commit
            repo.commit("main", {**repo.head(), "theirs": b"1"})
        return None

    hub.refuse = refuse
    said = orster(capsys, "push", "new", "me/frog", "--json")
    assert said.code == 4
    assert "run the same command again" in said.failure["hint"]


def test_an_interrupted_pull_leaves_nothing(hub: Hub, here: Path, capsys: Capture) -> None:
    """Ctrl-C in a process of its own while a file arrives, with HF_ENDPOINT in the environment."""
    make(Path("clip"), files={**FILES, "large.bin": os.urandom(300_000)})
    pushed(capsys)

    def slow(method: str, path: str) -> Refusal | None:
        if method == "GET" and path.endswith("large.bin"):
            time.sleep(120)
        return None

    hub.refuse = slow
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(here.parent / "hf"),
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [sys.executable, "-m", "orster_cli", "pull", "me/frog", "-o", "back"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not hub.asked("GET", "large.bin"):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.wait(timeout=60) == 130
    assert time.monotonic() - began < 30  # it does not wait for the file
    nothing_else(here, "clip")
    hub.refuse = lambda method, path: None
    assert orster(capsys, "pull", "me/frog", "-o", "back").code == 0
    assert contents(Path("back")) == contents(Path("clip"))


def test_a_broken_download_leaves_nothing(
    hub: Hub, here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed(capsys)
    repo = hub.repos[DATASET]
    files = dict(repo.head())

    def gone(method: str, path: str) -> Refusal | None:  # the file vanishes after the listing
        if path.endswith("0000.png"):
            return 404, {"X-Error-Code": "EntryNotFound"}, {"error": "gone"}
        return None

    hub.refuse = gone
    said = orster(capsys, "pull", "me/frog", "-o", "back", "--json")
    assert said.code == 4, said.err
    nothing_else(here, "clip")
    assert repo.head() == files


@pytest.mark.parametrize(
    "text", ["frog", "me/frog/x", "me/", "/frog", "me/fr og", "spaces/me/frog/x", "me/a--b", "../x"]
)
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address(text)
    assert caught.value.hint


def test_names() -> None:
    assert parse_address("me/frog").name == "me/frog"
    found = parse_address("datasets/me/frog@refs/pr/1")
    assert (found.name, found.type, found.revision) == ("me/frog", "dataset", "refs/pr/1")
    assert parse_address("models/me/frog.v1").type == "model"


def test_options_of_a_push_that_contradict(here: Path, capsys: Capture) -> None:
    make(Path("clip"))
    for repo in ("me/frog@main", "models/me/frog"):
        said = orster(capsys, "push", "clip", repo, "--json")
        assert said.code == 2
        assert said.failure["hint"]


def test_the_card(tmp_path: Path) -> None:
    draft = begin(
        tmp_path / "clip",
        kind="clip",
        command="sample-video",
        config={},
        parents=[Parent(kind="model", id="ab" * 32, name="mini | model")],
        inputs=[InputFile(name="photo.png", size=3, sha256="cd" * 32)],
    )
    assert draft is not None
    prompt = "a <script>alert(1)</script> [frog](http://x) `jumping`\n---\nlicense: mit"
    with draft:
        made = draft.commit({"prompt": prompt, "frames": 2}, licences=["CC BY 4.0, by *me*"])
    text = card(made.manifest, Repository("me/frog", "dataset"), name="clip", about="2 frames")
    _, header, page = text.split("---\n", 2)
    assert header.splitlines()[:2] == ["license: cc-by-4.0", "library_name: orster"]
    assert "- orster\n" in header
    assert "<script>" not in page
    assert "](http" not in page
    assert "\n---" not in page
    assert "orster pull datasets/me/frog -o frog && orster construct frog" in page
    assert "CC BY 4.0, by \\*me\\*" in page
    for one in (made.id, "ab" * 32, "cd" * 32):
        assert f"`{one}`" in page
    assert "mini \\| model" in page  # the table keeps its columns


def test_licences_as_the_hub_names_them() -> None:
    texts = {
        "CC0 1.0": "cc0-1.0",
        "CC0-1.0 (the objects it was trained on)": "cc0-1.0",
        "CC BY 4.0": "cc-by-4.0",
        "CC-BY-NC-SA-4.0": "cc-by-nc-sa-4.0",
        "https://creativecommons.org/licenses/by-sa/4.0/": "cc-by-sa-4.0",
        "Apache License 2.0": "apache-2.0",
        "MIT": "mit",
        "Permitted for friends": "other",
    }
    for text, identifier in texts.items():
        assert licence_identifiers([text]) == [identifier], text
    assert licence_identifiers(["MIT", "mit license", "CC0"]) == ["mit", "cc0-1.0"]
    # of parts under several licences none may be lost
    assert set(licence_identifiers(["CC0 model; CC-BY-4.0 rigging"])) == {"cc0-1.0", "cc-by-4.0"}
    assert set(licence_identifiers(["GPL or Apache 2.0"])) == {"apache-2.0", "other"}
    assert licence_identifiers(["MIT-0"]) == ["other"]


def test_the_origin_is_no_part_of_the_artifact(hub: Hub, here: Path, capsys: Capture) -> None:
    pushed(capsys)
    assert orster(capsys, "pull", "me/frog", "-o", "back").code == 0
    assert (
        json.loads(Path("back", ORIGIN).read_text())["commit"]
        == hub.repos[DATASET].branches["main"]
    )
    assert orster(capsys, "push", "back", "me/toad").code == 0
    assert ORIGIN not in hub.repos["dataset", "me/toad"].head()
    assert issubclass(ConfigError, OrsterError)


def test_weights_in_torchs_own_format_are_fetched_where_there_are_no_safetensors(hub: Hub) -> None:
    files = {"config.json": b"{}", "pytorch_model.bin": b"0", "flax_model.msgpack": b"0"}
    for name, more in (("old", {}), ("new", {"model.safetensors": b"0"})):
        repo = hub.repos["model", f"them/{name}"] = Repo(private=False)
        repo.commit("main", files | more)
    fetched = {
        name: {path.name for path in locate(f"them/{name}", fetch=True).folder.iterdir()}
        for name in ("old", "new")
    }
    assert fetched["old"] == {"config.json", "pytorch_model.bin"}
    assert fetched["new"] == {"config.json", "model.safetensors"}
