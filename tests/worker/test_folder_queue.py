"""The job queue in a folder: whole messages, claimed once, garbage set aside."""

import base64
import json
import os
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kombu.connection import Connection

from app.broker.filesystem import QueueFolder
from app.broker.options import broker_options
from tests.support.waiting import wait_until


def message(entity_id: str = "1234") -> dict[str, Any]:
    body = json.dumps([[entity_id], {}, {"callbacks": None}])
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"id": str(uuid4()), "task": "runs.execute", "lang": "py"},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
            "delivery_info": {"exchange": "", "routing_key": "runs"},
        },
    }


@pytest.fixture
def folder(tmp_path: Path) -> QueueFolder:
    return QueueFolder(tmp_path / "queue")


def test_messages_come_in_their_order_and_once(folder: QueueFolder) -> None:
    sent = [message(str(number)) for number in range(3)]
    for one in sent:
        folder.put("runs", one)
    assert folder.size("runs") == 3
    assert folder.size("light") == 0
    assert [folder.take("runs") for _ in range(4)] == [*sent, None]


def test_only_this_user_can_enter(folder: QueueFolder) -> None:
    folder.put("runs", message())
    for path in [folder.root, *folder.root.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_many_workers_share_a_message_once(folder: QueueFolder) -> None:
    for number in range(200):
        folder.put("runs", message(str(number)))

    def take_all(_: int) -> list[str]:
        mine = QueueFolder(folder.root)
        taken = []
        while (one := mine.take("runs")) is not None:
            taken.append(one["headers"]["id"])
        return taken

    with ThreadPoolExecutor(16) as pool:
        taken = [one for part in pool.map(take_all, range(16)) for one in part]
    assert len(taken) == len(set(taken)) == 200


def _garbage() -> dict[str, bytes]:
    whole = json.dumps(message()).encode()

    def without(**changes: object) -> bytes:
        return json.dumps(message() | changes).encode()

    other_body = base64.b64encode(b'[["a"], 5]').decode()
    no_id = base64.b64encode(b'[[{"__reduce__": 1}], {}, {}]').decode()
    return {
        "empty": b"",
        "torn": whole[: len(whole) // 2],
        "pickle": b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94",
        "binary": os.urandom(500),
        "no object": b"[1, 2]",
        "deep": b"[" * 50_000,
        "too long": b'"' + b"x" * 100_000 + b'"',
        "no headers": without(headers=None),
        "no task": without(headers={"id": "1"}),
        "no properties": without(properties=7),
        "pickled content": without(**{"content-type": "application/x-python-serialize"}),
        "other encoding": without(**{"content-encoding": "binary"}),
        "plain body": without(body="{}"),
        "no body": without(body=None),
        "strange call": without(body=other_body),
        "strange argument": without(body=no_id),
    }


@pytest.mark.parametrize("kind", _garbage())
def test_garbage_is_set_aside_and_the_next_message_comes(folder: QueueFolder, kind: str) -> None:
    waiting = folder.root / "waiting" / "runs"
    waiting.mkdir(parents=True)
    (waiting / "0-garbage.json").write_bytes(_garbage()[kind])
    good = message()
    folder.put("runs", good)
    assert folder.take("runs") == good
    assert folder.take("runs") is None
    assert [path.name for path in (folder.root / "dead").iterdir()] == ["0-garbage.json"]


def test_links_folders_and_pipes_are_set_aside(folder: QueueFolder, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps(message()))
    waiting = folder.root / "waiting" / "runs"
    waiting.mkdir(parents=True)
    (waiting / "0-link.json").symlink_to(secret)
    (waiting / "1-folder.json").mkdir()
    os.mkfifo(waiting / "2-pipe.json")
    assert folder.take("runs") is None
    assert len(list((folder.root / "dead").iterdir())) == 3
    assert secret.exists()


def test_dead_letters_do_not_pile_up(folder: QueueFolder) -> None:
    waiting = folder.root / "waiting" / "runs"
    waiting.mkdir(parents=True)
    for number in range(150):
        (waiting / f"{number:03d}.json").write_text("garbage")
    assert folder.take("runs") is None
    assert len(list((folder.root / "dead").iterdir())) == 100


def test_a_half_written_file_is_never_seen_and_goes_away(folder: QueueFolder) -> None:
    folder.put("runs", message())
    waiting = folder.root / "waiting" / "runs"
    half = waiting / ".00001-x.json.tmp"
    half.write_text("half")
    assert folder.size("runs") == 1
    long_ago = time.time() - 3600
    os.utime(half, (long_ago, long_ago))
    folder.clean("runs")
    assert not half.exists()
    assert folder.size("runs") == 1


def test_an_emptied_folder_is_made_anew(folder: QueueFolder) -> None:
    folder.put("runs", message())
    subprocess.run(["rm", "-rf", str(folder.root)], check=True)
    assert folder.take("runs") is None
    folder.put("runs", message())
    assert folder.take("runs") is not None


def test_a_name_never_leaves_the_folder(folder: QueueFolder) -> None:
    for name in ("../runs", "a/b", "", ".", "a\x00b"):
        with pytest.raises(Exception, match="cannot be the name"):
            folder.put(name, message())


_PUBLISHER = """
import sys
from pathlib import Path
from app.broker.filesystem import QueueFolder
from tests.worker.test_folder_queue import message
folder = QueueFolder(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    folder.put("runs", message())
"""


def test_killed_publishers_leave_only_whole_messages(folder: QueueFolder) -> None:
    for _ in range(3):
        publisher = subprocess.Popen(
            [sys.executable, "-c", _PUBLISHER, str(folder.root)], stdout=subprocess.PIPE
        )
        before = folder.size("runs")
        try:
            wait_until(
                lambda before=before: folder.size("runs") > before + 5,  # type: ignore[misc]
                timeout=30,
                what="messages",
            )
        finally:
            publisher.send_signal(signal.SIGKILL)
            publisher.wait()
    expected = folder.size("runs")
    taken = 0
    while folder.take("runs") is not None:
        taken += 1
    assert taken == expected > 15
    assert not (folder.root / "dead").exists()


def test_kombu_speaks_through_it(tmp_path: Path) -> None:
    options = broker_options(f"filesystem://{tmp_path}/with%20space")
    with Connection(options.url, transport_options=options.transport_options) as connection:
        queue = connection.SimpleQueue("runs", serializer="json")
        waiting = tmp_path / "with space" / "waiting" / "runs"
        assert queue.qsize() == 0
        folder = QueueFolder(tmp_path / "with space")
        folder.put("runs", message("1234"))
        assert queue.qsize() == 1
        received = queue.get(timeout=5)
        assert received.payload[0] == ["1234"]
        received.ack()
        queue.close()
    assert list(waiting.iterdir()) == []
