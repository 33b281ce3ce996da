"""The gallery answers its own page on this machine, with listed files, and nobody else with anything."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orster_cli.core.errors import ConfigError
from orster_cli.gallery import server as server_module
from orster_cli.gallery.server import GalleryServer
from tests.helpers.cli import orster
from tests.helpers.gallery import (
    PAGE,
    SECRET,
    VIDEO,
    ask,
    entries,
    fill,
    parsed,
    raw,
    serving,
)
from tests.helpers.starts import ended, start_orster

TOKEN = "a-token-of-thirty-two-characters"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery") / "runs"
    fill(folder)
    return folder


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[GalleryServer]:
    with serving(root) as running:
        yield running


@pytest.fixture(scope="module")
def keys(root: Path) -> dict[str, str]:
    return {name: entry.key for name, entry in entries(root).items()}


def test_the_page_the_cards_and_the_files(server: GalleryServer, keys: dict[str, str]) -> None:
    page = ask(server, "/")
    assert page.status == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    cards = json.loads(ask(server, "/api/artifacts").body)["artifacts"]
    assert {card["name"] for card in cards} == {"frog/clip", "frog/asset", "report"}
    full = json.loads(ask(server, f"/api/artifact/{keys['frog/asset']}").body)
    assert [file["path"] for file in full["files"]] == [
        "quality.json",
        "viewer.html",
        "weights.bin",
    ]
    viewer = ask(server, f"/file/{keys['frog/asset']}/viewer.html")
    assert (viewer.status, viewer.body) == (200, PAGE)
    policy = viewer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts allow-downloads; default-src 'none'")
    assert "allow-same-origin" not in policy
    frame = ask(server, f"/file/{keys['frog/clip']}/frames%2F0000.png")
    assert frame.body == b"png", "decoded once, it is a listed name"
    binary = ask(server, f"/file/{keys['frog/asset']}/weights.bin")
    assert binary.headers["content-disposition"] == "attachment"
    for answer in (page, viewer, binary):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["server"] == "orster"
    assert ask(server, "/favicon.ico").status == 204


def test_parts_of_a_video_and_files_that_are_known(
    server: GalleryServer, keys: dict[str, str]
) -> None:
    path = f"/file/{keys['frog/clip']}/preview.mp4"
    whole = ask(server, path)
    assert (whole.status, whole.body) == (200, VIDEO)
    assert (whole.headers["accept-ranges"], whole.headers["content-type"]) == ("bytes", "video/mp4")
    part = ask(server, path, "Range: bytes=100-199")
    assert (part.status, part.body) == (206, VIDEO[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(VIDEO)}"
    assert ask(server, path, "Range: bytes=-10").body == VIDEO[-10:]
    beyond = ask(server, path, f"Range: bytes={len(VIDEO)}-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{len(VIDEO)}")
    tag = whole.headers["etag"]
    assert ask(server, path, "Range: bytes=0-9", f"If-Range: {tag}").status == 206
    assert ask(server, path, "Range: bytes=0-9", 'If-Range: "older"').body == VIDEO
    known = ask(server, path, f"If-None-Match: {tag}")
    assert (known.status, known.body) == (304, b"")
    head = ask(server, path, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(VIDEO))


PATHS = [
    "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/%2e%2e%2fsecret.txt", "/..%5csecret.txt",
    "//etc/passwd", "/etc/passwd", "/file/../secret.txt", "/secret.txt", "/.git/config",
    "/file/KEY/../../secret.txt", "/file/KEY/%2e%2e/%2e%2e/secret.txt", "/file/KEY/..%2f..%2fsecret.txt",
    "/file/KEY/%252e%252e%252fsecret.txt", "/file/KEY/../asset/viewer.html", "/file/KEY//viewer.html",
    "/file/KEY/./viewer.html", "/file/KEY/%2fetc%2fpasswd", "/file/KEY//etc/passwd",
    "/file/KEY/unlisted.txt",
    "/file/KEY/manifest.json", "/file/KEY/viewer.html%00", "/file/KEY/viewer.html%00.png",
    "/file/KEY/viewer.html/", "/file/KEY/VIEWER.HTML", "/file/KEY/", "/file/KEY", "/file//viewer.html",
    "/file/0000/viewer.html", "/live/KEY/latest.png", "/live/KEY/progress.json", "/api/artifact/", "/api/",
    "/file/KEY/..%c0%afsecret.txt", "/file/KEY/%ff", "/file/KEY/viewer.html?x=/../..", "/api/artifact/..",
    "http://127.0.0.1/file/KEY/viewer.html", "*", "/file/KEY/%C0%AE%C0%AE/secret.txt", "/a" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_other_paths_lead_nowhere(server: GalleryServer, keys: dict[str, str], path: str) -> None:
    answer = ask(server, path.replace("KEY", keys["frog/asset"]))
    assert answer.status in (400, 404)
    assert SECRET not in answer.body
    assert PAGE not in answer.body


@pytest.mark.parametrize(
    ("lines", "host", "status"),
    [
        ((), "localhost:1", 200),
        ((), "LOCALHOST", 200),
        ((), "[::1]:8765", 200),
        ((), "127.0.0.1", 200),
        ((), "evil.example", 421),
        ((), "evil.example:8765", 421),
        ((), "127.0.0.1.evil.example", 421),
        ((), "localhost.evil.example", 421),
        ((), "0.0.0.0:8765", 421),
        ((), "192.168.0.1", 421),
        ((), "localhost:80:80", 421),
        ((), "localhost@evil.example", 421),
        (("Host: localhost",), "localhost", 421),
        (("Origin: http://localhost:1",), "localhost:1", 200),
        (("Origin: http://localhost:2",), "localhost:1", 403),
        (("Origin: https://localhost:1",), "localhost:1", 403),
        (("Origin: null",), "localhost:1", 403),
        (("Origin: http://evil.example",), "localhost:1", 403),
        (("Sec-Fetch-Site: same-origin",), "localhost", 200),
        (("Sec-Fetch-Site: none",), "localhost", 200),
        (("Sec-Fetch-Site: same-site",), "localhost", 403),
        (("Sec-Fetch-Site: cross-site",), "localhost", 403),
        (("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"), "localhost", 403),
        (("Content-Length: 5",), "localhost", 400),
        (("Transfer-Encoding: chunked",), "localhost", 400),
    ],
)
def test_foreign_hosts_and_origins(
    server: GalleryServer, lines: tuple[str, ...], host: str, status: int
) -> None:
    assert ask(server, "/api/artifacts", *lines, host=host).status == status


def test_a_link_on_another_site_may_open_the_page_and_nothing_else(server: GalleryServer) -> None:
    link = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
    assert ask(server, "/", *link).status == 200
    assert ask(server, "/", *link[:2], "Sec-Fetch-Dest: iframe").status == 403
    assert ask(server, "/api/artifacts", *link).status == 403


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"DELETE /file HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\n\r\n", 421),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_other_methods_and_malformed_requests(
    server: GalleryServer, data: bytes, status: int
) -> None:
    answer = parsed(raw(server, data))
    assert answer.status == status
    assert answer.headers["connection"] == "close"


def test_versions_without_headers_get_none(server: GalleryServer) -> None:
    assert raw(server, b"GET /\r\n\r\n").startswith(b"421 ")
    assert raw(server, b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n").startswith(b"505 ")


def test_a_second_request_behind_a_body_is_not_read(server: GalleryServer) -> None:
    hidden = b"GET /api/artifacts HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = f"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(hidden)}\r\n\r\n".encode()
    assert raw(server, head + hidden).count(b"HTTP/1.1 ") == 1


def test_links_are_not_followed_whenever_they_are_planted(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    fill(root)
    with serving(root) as server:
        key = entries(root)["frog/asset"].key
        asset = root / "frog" / "asset"
        secret = tmp_path / "secret.txt"
        secret.write_bytes(PAGE)  # of the size that the manifest says
        assert ask(server, f"/file/{key}/viewer.html").status == 200
        (asset / "viewer.html").unlink()
        (asset / "viewer.html").symlink_to(secret)
        assert ask(server, f"/file/{key}/viewer.html").status == 404
        (asset / "viewer.html").unlink()
        os.mkfifo(asset / "viewer.html")
        assert ask(server, f"/file/{key}/viewer.html").status == 404
        clip = root / "frog" / "clip"
        (clip / "frames").rename(tmp_path / "frames")
        (clip / "frames").symlink_to(tmp_path / "frames")
        key = entries(root)["frog/clip"].key
        assert ask(server, f"/file/{key}/frames/0000.png").status == 404
        assert ask(server, f"/file/{key}/preview.mp4").status == 200
        (clip / "preview.mp4").write_bytes(VIDEO + b"more")
        assert ask(server, f"/file/{key}/preview.mp4").status == 404
        (root / "frog").rename(tmp_path / "frog")
        (root / "frog").symlink_to(tmp_path / "frog")
        assert ask(server, f"/file/{key}/preview.mp4").status == 404


def test_a_draft_shows_its_latest_picture_alone(tmp_path: Path) -> None:
    from orster_cli.artifacts.store import begin

    draft = begin(tmp_path / "asset", kind="asset", command="construct", config={})
    assert draft is not None
    with draft, serving(tmp_path) as server:
        key = entries(tmp_path)["asset"].key
        assert ask(server, f"/live/{key}/latest.png").status == 404
        (draft.scratch / "step-00000001.safetensors").write_bytes(SECRET)
        (draft.scratch / "latest.png").write_bytes(b"a picture")
        shown = ask(server, f"/live/{key}/latest.png?at=1.5")
        assert (shown.status, shown.body) == (200, b"a picture")
        assert shown.headers["cache-control"] == "no-store"
        for name in ("progress.json", "step-00000001.safetensors", "../scratch/latest.png"):
            assert ask(server, f"/live/{key}/{name}").status == 404
            assert ask(server, f"/file/{key}/{name}").status == 404
        (draft.scratch / "latest.png").unlink()
        (draft.scratch / "latest.png").symlink_to(draft.scratch / "step-00000001.safetensors")
        assert ask(server, f"/live/{key}/latest.png").status == 404


def test_many_connections_are_turned_away_and_the_server_goes_on(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 6)
    monkeypatch.setattr(server_module, "MAX_STREAMS", 2)
    monkeypatch.setattr(server_module._Handler, "timeout", 1.0)
    with serving(root) as server:
        place = ("127.0.0.1", server.port)
        request = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"
        streams = [socket.create_connection(place, timeout=5) for _ in range(2)]
        for stream in streams:
            stream.sendall(request)
            assert b"text/event-stream" in stream.recv(4096)
        assert ask(server, "/events").status == 503
        silent = [socket.create_connection(place, timeout=5) for _ in range(4)]
        time.sleep(0.2)
        assert raw(server, request) == b"", "no thread is left for it"
        begun = time.monotonic()
        while raw(server, b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n") == b"":
            assert time.monotonic() - begun < 10, "silent connections are closed in time"
            time.sleep(0.1)
        for connection in (*silent, *streams):
            connection.close()


def test_with_a_token_only_who_has_it_is_answered(root: Path) -> None:
    with serving(root, token=TOKEN) as server:
        assert server.address("me.example") == f"http://me.example:{server.port}/?token={TOKEN}"
        for target in (
            "/",
            "/api/artifacts",
            "/events",
            "/favicon.ico",
            "/?token=wrong",
            "/?token=",
        ):
            answer = ask(server, target, host="me.example")
            assert answer.status == 401
            assert TOKEN.encode() not in answer.body
        assert ask(server, f"/api/artifacts?token={TOKEN}").status == 401
        welcome = ask(server, f"/?token={TOKEN}", host="me.example")
        assert (welcome.status, welcome.headers["location"]) == (303, "/")
        cookie = welcome.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        bring = f"Cookie: other=1; {cookie.partition(';')[0]}"
        assert ask(server, "/api/artifacts", bring, host="me.example").status == 200
        assert ask(server, "/api/artifacts", f"Authorization: Bearer {TOKEN}").status == 200
        assert ask(server, "/api/artifacts", f"Authorization: Bearer {TOKEN}x").status == 401
        foreign = ask(server, "/api/artifacts", bring, "Origin: http://evil.example")
        assert foreign.status == 403


def test_hosts_ports_and_tokens_of_the_command_line(
    root: Path, server: GalleryServer, capsys: pytest.CaptureFixture[str]
) -> None:
    said = orster(capsys, "view", root, "--host", "0.0.0.0", "--no-open")
    assert said.code == 2
    assert "--token" in said.err.splitlines()[0]
    said = orster(capsys, "view", root, "--host", "0.0.0.0", "--token", "short", "--no-open")
    assert (said.code, "16 to 256" in said.err) == (2, True)
    said = orster(capsys, "view", root, "--port", str(server.port), "--no-open")
    assert said.code == 4
    assert f"error[E-PORT]: 127.0.0.1:{server.port}" in said.err
    assert "--port 0" in said.err
    assert orster(capsys, "view", root / "none", "--no-open").code == 3
    with pytest.raises(ConfigError, match="needs a --token"):
        GalleryServer(server.feed, "0.0.0.0", 0, reporter=server.reporter)


def test_ctrl_c_ends_it_cleanly(root: Path, tmp_path: Path) -> None:
    talk = tmp_path / "talk"
    process = start_orster(talk, "view", root, "--port", "0", "--no-open")
    try:
        begun = time.monotonic()
        while not talk.exists() or "http://127.0.0.1:" not in talk.read_text():
            assert time.monotonic() - begun < 60
            time.sleep(0.05)
        port = int(talk.read_text().split("http://127.0.0.1:")[1].split("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=5) as stream:
            stream.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" in stream.recv(4096)  # a page is open
            assert process.pid is not None
            os.kill(process.pid, signal.SIGINT)
            assert ended(process, talk, 20) == 0
    finally:
        process.kill()
    assert "3 artifacts" in talk.read_text()
    assert "Traceback" not in talk.read_text()
    assert talk.read_text().endswith("ended\n")
