"""A stand-in for the hub's HTTP API on loopback: enough for the real huggingface_hub client to push and
pull. Repositories, branches and commits live in memory.

Made after the requests that the client sends: create, branch, preupload, LFS batch with upload and verify,
commit (NDJSON), revision info, tree, resolve, validate-yaml.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_" + "a" * 34
LARGE = 512  # bytes from which a file goes to the large file storage
PAGE = 3  # files in one page of a listing: the client must follow the links


@dataclass
class Repo:
    """`commits`: {id: {name: bytes}}; `branches`: {name: id of its commit}."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: dict[str, bytes], message: str = "by hand") -> str:
        """A new commit with `files` at the head of `branch`."""
        self.messages.append(message)
        number = len(self.messages)
        name = hashlib.sha1(f"{number}{branch}{sorted(files)}".encode()).hexdigest()
        self.commits[name] = dict(files)
        self.branches[branch] = name
        return name

    def resolve(self, revision: str) -> str | None:
        if revision in self.branches:
            return self.branches[revision]
        full = [name for name in self.commits if len(revision) >= 7 and name.startswith(revision)]
        return full[0] if full else None

    def head(self, branch: str = "main") -> dict[str, bytes]:
        return self.commits[self.branches[branch]]


Refusal = tuple[int, dict[str, str], Any]  # status, headers, JSON


@dataclass
class Hub:
    """`repos`: {("model", "me/frog"): Repo}. `refuse`: by (method, path), an answer instead of the usual.
    `requests`: "METHOD /path" of all that came in. `storage`: {sha256: bytes}."""

    url: str = ""
    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    storage: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    refuse: Callable[[str, str], Refusal | None] = lambda method, path: None
    ignored: set[str] = field(default_factory=set)  # names that a .gitignore there keeps out
    cut: set[str] = field(default_factory=set)  # names whose download breaks off half-way

    def asked(self, method: str, part: str) -> list[str]:
        return [one for one in self.requests if one.startswith(method) and part in one]


@contextmanager
def running() -> Iterator[Hub]:
    """A hub that listens on a free port of this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


_API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/([a-z-]+)(?:/([^/]+)(?:/(.*))?)?)?")
_RESOLVE = re.compile(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_BATCH = re.compile(r"/(?:(datasets)/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch")


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        split = urlsplit(self.path)
        path = split.path
        self.hub.requests.append(f"{self.command} {unquote(path)}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.query = parse_qs(split.query)
        if (refusal := self.hub.refuse(self.command, unquote(path))) is not None:
            self._json(refusal[2], refusal[0], refusal[1])
            return
        if path == "/api/repos/create":
            self._create()
        elif path == "/api/validate-yaml":
            text = json.loads(self.body)["content"]
            ok = text.startswith("---\n") and "\n---\n" in text
            self._json({"errors": [] if ok else [{"message": "no metadata"}]}, 200 if ok else 400)
        elif path.startswith("/storage/"):
            self._store(path.rpartition("/")[2])
        elif found := _BATCH.fullmatch(path):
            self._batch()
        elif found := _RESOLVE.fullmatch(path):
            self._resolve("dataset" if found[1] else "model", found[2], found[3], found[4])
        elif found := _API.fullmatch(path):
            self._api(found[1][:-1], found[2], found[3], unquote(found[4] or ""))
        else:
            self._json({"error": "no such page"}, 404)

    # -- repositories

    @property
    def _known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _create(self) -> None:
        if not self._known:
            return self._json({"error": "Invalid username or password."}, 401)
        asked = json.loads(self.body)
        key = (asked.get("type") or "model", f"{asked['organization']}/{asked['name']}")
        if key in self.hub.repos:
            return self._json({"error": "You already created this"}, 409)
        private = asked.get("private") is True or asked.get("visibility") == "private"
        repo = self.hub.repos[key] = Repo(private)
        repo.commit("main", {".gitattributes": b"*.bin filter=lfs\n"}, "initial commit")
        url = f"{self.hub.url}/{_prefix(key[0])}{key[1]}"
        return self._json({"url": url, "name": key[1], "id": "1"})

    def _repo(self, type_: str, name: str) -> Repo | None:
        """The repository, if this visitor may see it; the answer is sent where not."""
        repo = self.hub.repos.get((type_, name))
        if repo is None or (repo.private and not self._known):
            status = 404 if self._known else 401
            self._json({"error": "Repository not found"}, status, {"X-Error-Code": "RepoNotFound"})
            return None
        return repo

    def _at(self, repo: Repo, revision: str) -> str | None:
        commit = repo.resolve(revision)
        if commit is None:
            headers = {"X-Error-Code": "RevisionNotFound"}
            self._json({"error": f"Invalid rev id: {revision}"}, 404, headers)
        return commit

    def _api(self, type_: str, name: str, what: str | None, rest: str) -> None:
        repo = self._repo(type_, name)
        if repo is None:
            return None
        if self.command == "POST" and not self._known:
            return self._json({"error": "Invalid credentials"}, 401)
        if what == "branch":
            repo.branches[rest] = repo.branches["main"]
            return self._json({})
        commit = self._at(repo, rest or "main")
        if commit is None:
            return None
        if what in (None, "revision"):
            return self._json({"id": name, "sha": commit, "private": repo.private, "tags": []})
        if what == "tree":
            return self._tree(repo.commits[commit])
        if what == "preupload":
            return self._json({"files": [self._mode(f) for f in json.loads(self.body)["files"]]})
        if what == "commit":
            return self._commit(repo, rest, _prefix(type_) + name)
        return self._json({"error": "no such page"}, 404)

    def _tree(self, files: dict[str, bytes]) -> None:
        names = sorted(files)
        start = int(self.query.get("cursor", ["0"])[0])
        rows: list[dict[str, Any]] = []
        for name in names[start : start + PAGE]:
            data = files[name]
            row = {"type": "file", "path": name, "size": len(data), "oid": _git(data)}
            if len(data) >= LARGE:
                row["lfs"] = {"oid": _sha(data), "size": len(data), "pointerSize": 134}
            rows.append(row)
        headers = {}
        if start + PAGE < len(names):
            path = urlsplit(self.path).path
            link = f"{self.hub.url}{path}?recursive=true&cursor={start + PAGE}"
            headers["Link"] = f'<{link}>; rel="next"'
        folder = {"type": "directory", "path": "frames", "oid": "0" * 40, "size": 0}
        self._json([folder, *rows], headers=headers)

    # -- writing

    def _mode(self, asked: dict[str, Any]) -> dict[str, Any]:
        mode = "lfs" if asked["size"] >= LARGE else "regular"
        skip = asked["path"] in self.hub.ignored
        return {"path": asked["path"], "uploadMode": mode, "shouldIgnore": skip, "oid": None}

    def _batch(self) -> None:
        objects = []
        for one in json.loads(self.body)["objects"]:
            row = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.hub.storage:
                place = {"href": f"{self.hub.url}/storage/{one['oid']}"}
                row["actions"] = {"upload": place, "verify": place}
            objects.append(row)
        self._json({"transfer": "basic", "objects": objects})

    def _store(self, digest: str) -> None:
        if self.command == "PUT":
            if _sha(self.body) != digest:
                return self._json({"error": "wrong hash"}, 400)
            self.hub.storage[digest] = self.body
        return self._json({}, 200 if digest in self.hub.storage else 404)

    def _commit(self, repo: Repo, branch: str, place: str) -> None:
        lines = [json.loads(line) for line in self.body.splitlines()]
        header = lines.pop(0)["value"]
        if header.get("parentCommit", repo.branches[branch]) != repo.branches[branch]:
            return self._json({"error": "the branch has moved"}, 412)
        files = dict(repo.head(branch))
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.storage[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            else:
                return self._json({"error": f"unknown key {line['key']}"}, 400)
        made = repo.commit(branch, files, header["summary"])
        return self._json({"commitUrl": f"{self.hub.url}/{place}/commit/{made}", "commitOid": made})

    # -- reading

    def _resolve(self, type_: str, name: str, revision: str, path: str) -> None:
        repo = self._repo(type_, name)
        commit = None if repo is None else self._at(repo, unquote(revision))
        if repo is None or commit is None:
            return None
        data = repo.commits[commit].get(unquote(path))
        if data is None:
            headers = {"X-Error-Code": "EntryNotFound"}
            return self._json({"error": "Entry not found"}, 404, headers)
        etag = _sha(data) if len(data) >= LARGE else _git(data)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
        if unquote(path) in self.hub.cut and self.command == "GET":
            self._send(data, 200, headers, sent=data[: len(data) // 2])
            self.close_connection = True
            return None
        return self._send(data, 200, headers)

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        found = {"Content-Type": "application/json", **(headers or {})}
        if isinstance(value, dict) and "error" in value:
            found["X-Error-Message"] = str(value["error"])
        self._send(json.dumps(value).encode(), status, found)

    def _send(
        self, data: bytes, status: int, headers: dict[str, str], *, sent: bytes | None = None
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data if sent is None else sent)


def _prefix(type_: str) -> str:
    return "" if type_ == "model" else f"{type_}s/"


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git(data: bytes) -> str:
    """The id that git gives to a blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
