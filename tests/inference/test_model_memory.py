"""Models come into memory when asked for and really leave it again."""

from pathlib import Path

import pytest

from app.storage.folders import Storage
from tests.support.inference import InferenceServer, add_random_model, running_inference
from tests.support.waiting import wait_until

BODY = {
    "model": "large",
    "messages": [{"role": "user", "content": "Hello."}],
    "max_tokens": 30,
    "temperature": 0,
    "stream": True,
}
_NUMBERS_BYTES = 100_000_000


@pytest.fixture
def large(tmp_path: Path) -> Storage:
    """A data folder with a model that is large enough to be seen in the process's memory."""
    storage = Storage(tmp_path / "data")
    storage.prepare()
    add_random_model(storage, "large", tmp_path / "large", hidden_size=1024, layers=4)
    return storage


def stream_lines(server: InferenceServer) -> list[str]:
    with (
        server.client() as client,
        client.stream("POST", "/v1/chat/completions", json=BODY) as response,
    ):
        return [line for line in response.iter_lines() if line]


def wait_for_the_memory(server: InferenceServer, empty: int) -> None:
    """Wait until a process is about as small as before; it says that a model left a bit sooner."""
    wait_until(
        lambda: server.memory_bytes() - empty < _NUMBERS_BYTES // 2,
        timeout=30,
        what="the memory of the process to shrink",
    )


def test_loading_is_said_and_release_gives_the_memory_back(large: Storage) -> None:
    with running_inference(large) as server:
        empty = server.memory_bytes()
        assert stream_lines(server)[0] == ": loading"
        assert server.memory_bytes() - empty > _NUMBERS_BYTES
        assert not stream_lines(server)[0].startswith(":")
        with server.client() as client:
            assert client.post("/v1/release").json() == {"released": True, "releases": 0}
        wait_until(lambda: server.health()["releases"] == 1, timeout=30, what="the release")
        assert server.health()["loaded"] == []
        wait_for_the_memory(server, empty)
        assert stream_lines(server)[0] == ": loading"


def test_release_lets_a_running_answer_end_first(large: Storage) -> None:
    with running_inference(large) as server:
        stream_lines(server)
        # So many that the release comes while they are written.
        body = {**BODY, "max_tokens": 200}
        with (
            server.client() as training,
            server.client() as client,
            client.stream("POST", "/v1/chat/completions", json=body) as response,
        ):
            lines = response.iter_lines()
            next(lines)
            released = training.post("/v1/release")
            assert released.status_code == 202
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert '"finish_reason": "length"' in "".join(rest)
        wait_until(lambda: server.health()["loaded"] == [], timeout=30, what="an empty memory")


@pytest.mark.slow
def test_an_idle_model_leaves_by_itself(large: Storage) -> None:
    with running_inference(large, inference_idle_seconds="5") as server:
        empty = server.memory_bytes()
        stream_lines(server)
        wait_until(lambda: server.health()["loaded"] == [], timeout=15, what="the model to leave")
        wait_for_the_memory(server, empty)
