"""A small model hub on loopback: the real protocol over real sockets, and every way to misbehave.

    with hub_server() as hub:
        hub.add("maker/tiny", folder)
        settings = Settings(HF_ENDPOINT=hub.url, ...)
        hub.break_off_after = 100_000      # the next answer ends early

It counts the bytes of every file that it sent, so that a test can say what was fetched twice.
"""

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_CHUNK = 16 * 1024
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """One model: its files by name, and what the hub says of them."""

    files: dict[str, bytes]
    commit: str = COMMIT
    gated_by: str = ""
    """The token that opens it."""
    licence: str = "apache-2.0"
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By file name: what the listing says instead of the truth."""
    extra: list[dict[str, Any]] = field(default_factory=list)
    """Further entries of the listing."""

    def listing(self) -> dict[str, Any]:
        siblings = [
            {**_entry(name, content), **self.changes.get(name, {})}
            for name, content in self.files.items()
        ]
        return {
            "id": "maker/model",
            "sha": self.commit,
            "cardData": {"license": self.licence},
            "siblings": [*siblings, *self.extra],
        }


class HubServer:
    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.sent: Counter[str] = Counter()
        """Bytes of content sent, by file name."""
        self.requests: list[tuple[str, str]] = []
        """Path and Authorization header of every request."""
        self.bytes_per_second = 0
        """0: as fast as it goes."""
        self.break_off_after = 0
        """Bytes after which the next file's answer ends, once."""
        self.stall_after = -1
        """Bytes after which every file's answer falls silent; -1: never."""
        self.redirect_to = ""
        """Where files are said to lie; empty: here."""
        self.ignores_ranges = False
        self.raw_listing = b""
        """Sent in place of every listing."""
        self.released = threading.Event()
        """Set to end every silence."""
        hub = self

        class Handler(_Handler):
            server_state = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def add(self, hub_id: str, source: Path | dict[str, bytes]) -> Repository:
        if isinstance(source, Path):
            files = {path.name: path.read_bytes() for path in source.iterdir() if path.is_file()}
        else:
            files = source
        self.repositories[hub_id] = Repository(files)
        return self.repositories[hub_id]

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_state: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing: a test's output is for what went wrong."""

    def do_HEAD(self) -> None:
        """What the hub's own client asks before it fetches a file."""
        hub = self.server_state
        hub.requests.append((self.path, self.headers.get("Authorization", "")))
        hub_id, _, rest = unquote(self.path).removeprefix("/").partition("/resolve/")
        commit, _, name = rest.partition("/")
        repository = hub.repositories.get(hub_id)
        content = repository.files.get(name) if repository else None
        if repository is None or content is None or commit != repository.commit:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if repository else "RepoNotFound")
            content = b""
        else:
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()

    def do_GET(self) -> None:
        hub = self.server_state
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        hub.requests.append((self.path, self.headers.get("Authorization", "")))
        if path.startswith("/api/models/"):
            self._answer_listing(path.removeprefix("/api/models/"), parse_qs(parts.query))
            return
        hub_id, found, rest = path.removeprefix("/").partition("/resolve/")
        commit, _, name = rest.partition("/")
        repository = hub.repositories.get(hub_id)
        if not found or repository is None or name not in repository.files:
            self._say(404, b"not here")
        elif repository.gated_by and self.headers.get("Authorization") != (
            f"Bearer {repository.gated_by}"
        ):
            self._say(401, b"gated")
        elif commit != repository.commit:
            self._say(404, b"no such commit")
        elif hub.redirect_to:
            self._redirect(hub.redirect_to)
        else:
            self._send_file(name, repository.files[name])

    def _answer_listing(self, rest: str, query: dict[str, list[str]]) -> None:
        hub = self.server_state
        hub_id, _, revision = rest.partition("/revision/")
        repository = hub.repositories.get(hub_id)
        if hub.raw_listing:
            self._say(200, hub.raw_listing)
        elif repository is None or revision not in {"", "main", repository.commit}:
            self._say(404, b"{}")
        else:
            listing = repository.listing()
            if query.get("blobs") != ["true"]:
                listing["siblings"] = [{"rfilename": e["rfilename"]} for e in listing["siblings"]]
            self._say(200, json.dumps(listing).encode())

    def _redirect(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_file(self, name: str, content: bytes) -> None:
        hub = self.server_state
        start = 0
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes=") and not hub.ignores_ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self._send_slowly(name, content[start:])

    def _send_slowly(self, name: str, content: bytes) -> None:
        hub = self.server_state
        sent = 0
        while sent < len(content):
            if 0 <= hub.stall_after <= sent:
                hub.released.wait()
                return
            chunk = content[sent : sent + _CHUNK]
            if hub.break_off_after and sent + len(chunk) > hub.break_off_after:
                hub.break_off_after = 0
                self.close_connection = True
                return
            try:
                self.wfile.write(chunk)
            except OSError:
                self.close_connection = True
                return
            sent += len(chunk)
            hub.sent[name] += len(chunk)
            if hub.bytes_per_second:
                time.sleep(len(chunk) / hub.bytes_per_second)


class Canary:
    """A service inside the network that nobody may be led to; it notes who comes."""

    def __init__(self) -> None:
        self.visits: list[str] = []
        canary = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                canary.visits.append(self.path)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def hub_server() -> Iterator[HubServer]:
    hub = HubServer()
    hub.start()
    try:
        yield hub
    finally:
        hub.stop()


@contextmanager
def canary() -> Iterator[Canary]:
    service = Canary()
    try:
        yield service
    finally:
        service.stop()


def _entry(name: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"rfilename": name, "size": len(content)}
    if name.endswith((".safetensors", ".bin", ".gguf")):
        entry["blobId"] = "0" * 40
        entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    else:
        header = f"blob {len(content)}\0".encode()
        entry["blobId"] = hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
    return entry
