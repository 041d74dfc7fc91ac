"""Memory stays bounded, however large the file: in the web process and in the reader."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.settings import REPOSITORY_ROOT
from tests.support.plain_http import is_healthy
from tests.support.services import free_port
from tests.support.waiting import wait_until
from tests.support.web import OWNER, Web

pytestmark = pytest.mark.one_database

MEGABYTE = 1_000_000
# Not ru_maxrss: that one begins with the size of the process that started the child.
_MEASURED_CHILD = """
import sys
from pathlib import Path
from app.datasets.readers.child import main

main(sys.argv[1:])
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM:")), file=sys.stderr)
"""


def _table(megabytes: int) -> Iterator[bytes]:
    yield b"question,answer\n"
    row = b"Where is my order number %d?," + b"It is on its way to you. " * 36 + b"\n"
    for block in range(megabytes):
        yield b"".join(row % (block * 1_100 + i) for i in range(1_100))


def _peak_megabytes(path: Path, purpose: str, request: dict[str, object]) -> float:
    result = subprocess.run(
        [sys.executable, "-c", _MEASURED_CHILD, purpose, str(path)],
        input=json.dumps(request).encode(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY_ROOT,
        check=True,
    )
    return int(result.stderr) * 1024 / MEGABYTE


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["table", "json", "text"])
def test_the_reader_of_200_megabytes(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "source"
    plan: dict[str, object] = {"format": "delimited", "columns": ["question", "answer"]}
    roles = ["question", "answer"]
    with path.open("wb") as file:
        if kind == "json":
            file.write(b"[" + b'{"question":"q","answer":"a"},' * 100)
            part = json.dumps({"question": "q" * 300, "answer": "a" * 600}).encode() + b",\n"
            for _ in range(200):
                file.write(part * 1_080)
            plan["format"] = "json"
        elif kind == "text":
            for _ in range(200):
                file.write(b"A sentence of plain text, again and again. " * 23_000)
            plan, roles = {"format": "text", "columns": ["Text"]}, ["passage"]
        else:
            file.writelines(_table(200))
    assert path.stat().st_size > 190 * MEGABYTE
    assert _peak_megabytes(path, "inspect", {"encoding": ""}) < 150
    mapping = {"roles": roles, "has_header": True, "strips_html": False}
    assert _peak_megabytes(path, "read", {"plan": plan, "mapping": mapping}) < 150


def _memory_megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / MEGABYTE
    raise AssertionError("the process has no memory")


@pytest.fixture
def served(web: Web) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The same Tailor, served by a real web process."""
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "uvicorn",
            "--factory",
            "app.main:create_app",
            "--port",
            str(port),
            "--log-level",
            "warning",
        ],
        cwd=REPOSITORY_ROOT,
        env={**os.environ, "TAILOR_PORT": str(port), "TAILOR_DATA_DIR": str(web.settings.data_dir)},
    )
    base = f"http://127.0.0.1:{port}"
    wait_until(lambda: is_healthy(base), timeout=60, what="the web process")
    yield process, base
    process.terminate()
    process.wait()


def test_uploads_leave_the_web_process_small(
    web: Web, served: tuple[subprocess.Popen[bytes], str]
) -> None:
    process, base = served
    project = web.project()
    owner = web.client_for(OWNER)
    before = _memory_megabytes(process.pid)
    response = httpx.post(
        f"{base}/projects/{project.id}/examples/upload",
        content=_table(200),
        headers={
            "accept": "application/json",
            "x-csrf-token": owner.csrf_token,
            "x-file-name": "big.csv",
        },
        cookies=dict(owner.cookies),
        timeout=120,
    )
    assert response.status_code == 200, response.text
    form = httpx.post(
        f"{base}/projects/{project.id}/examples/upload",
        data={"csrf_token": owner.csrf_token},
        files={"file": ("big.csv", b"x" * 50 * MEGABYTE)},
        headers={"accept": "text/html"},
        cookies=dict(owner.cookies),
        timeout=120,
    )
    assert form.status_code == 303
    after = _memory_megabytes(process.pid)
    assert after < 300
    assert after - before < 50


def test_an_upload_that_breaks_off_leaves_nothing(
    web: Web, served: tuple[subprocess.Popen[bytes], str]
) -> None:
    _, base = served
    project = web.project()
    owner = web.client_for(OWNER)
    cookies = "; ".join(f"{name}={value}" for name, value in owner.cookies.items())
    port = int(base.rsplit(":", 1)[1])
    temporary = web.storage.path("tmp")
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            f"POST /projects/{project.id}/examples/upload HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{port}\r\nCookie: {cookies}\r\nX-CSRF-Token: {owner.csrf_token}\r\n"
            "Content-Length: 50000000\r\n\r\n".encode()
        )
        connection.sendall(b"question,answer\n" + b"a,b\n" * 1_000_000)
        wait_until(
            lambda: list(temporary.glob("upload-*")), timeout=10, what="the beginning of the file"
        )
    wait_until(lambda: not list(temporary.glob("upload-*")), timeout=10, what="the file to be gone")
    assert list(web.storage.path("uploads").iterdir()) == []
    assert "No examples yet" in owner.page(f"/projects/{project.id}/examples")
