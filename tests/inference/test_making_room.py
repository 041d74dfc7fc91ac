"""Before a training, the chat's models are really gone, not only asked to go."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.support.inference import TOKEN, Home, InferenceServer, running_inference
from tests.support.serving import free_port
from tests.support.waiting import wait_until
from worker.making_room import unload_chat_models


def test_it_waits_for_the_models_to_be_gone_and_not_for_ever(home: Home) -> None:
    body = {
        "model": "starter",
        "messages": [{"role": "user", "content": "Hello."}],
        "stream": True,
    }
    with running_inference(home.storage) as server:
        with (
            server.client() as client,
            client.stream("POST", "/v1/chat/completions", json=body) as response,
        ):
            next(response.iter_lines())
            unload_chat_models(server.url, TOKEN, longest_wait=0)
        assert unload_chat_models(server.url, TOKEN)
        assert server.health()["loaded"] == []


@contextmanager
def asking(server: InferenceServer, most_tokens: int) -> Iterator[Iterator[str]]:
    """The lines of an answer by a model that never ends by itself."""
    messages = [{"role": "user", "content": "Go on."}]
    body = {"model": "endless", "messages": messages, "max_tokens": most_tokens, "stream": True}
    body["temperature"] = 0  # so that chance does not end it
    with (
        server.client() as client,
        client.stream("POST", "/v1/chat/completions", json=body) as response,
    ):
        yield (line for line in response.iter_lines() if line)


def test_who_waits_for_an_answer_does_not_take_the_memory_back(home: Home) -> None:
    with running_inference(home.storage) as server:
        server.ask("Hello.", model="endless", max_tokens=1)
        with server.client() as training, asking(server, 1024) as first:
            next(first)
            asked = training.post("/v1/release", json={"hold_seconds": 5})
            assert asked.status_code == 202
            with asking(server, 1) as second:
                assert next(second) == ": held"
                assert [*first][-1] == "data: [DONE]"
                wait_until(lambda: server.health()["releases"] == 1, timeout=30, what="the release")
                assert server.health()["loaded"] == []
                with asking(server, 1) as third:
                    assert next(third) == ": held", "the memory stays free for a while"
                # A sign of life comes every second meanwhile.
                assert [next(second), next(second)] == [": held", ": held"]
                assert [*second][-1] == "data: [DONE]"


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"hold_seconds": "long"}'])
def test_a_hold_that_is_no_number_is_refused(server: InferenceServer, body: bytes) -> None:
    with server.client() as client:
        refused = client.post("/v1/release", content=body)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "hold_seconds"


def test_a_chat_server_that_is_away_is_said() -> None:
    with pytest.raises(httpx.HTTPError):
        unload_chat_models(f"http://127.0.0.1:{free_port()}", TOKEN)
