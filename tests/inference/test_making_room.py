"""Before a training, the chat's models are really gone, not only asked to go."""

import httpx
import pytest

from tests.support.inference import TOKEN, Home, running_inference
from tests.support.serving import free_port
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


def test_a_chat_server_that_is_away_is_said() -> None:
    with pytest.raises(httpx.HTTPError):
        unload_chat_models(f"http://127.0.0.1:{free_port()}", TOKEN)
