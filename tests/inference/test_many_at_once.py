"""Several people at once: everybody gets their own answer, in turn, and nobody can take all."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.support.inference import ANCHOR, TEAPOT, InferenceServer
from tests.support.waiting import wait_until

QUESTIONS = [
    "Hello.",
    "Do you ship to Norway?",
    "When are you open?",
    "My parcel has not come.",
    "What does the blue cup cost?",
    "Can I bring it back?",
    "Who made this?",
    "Thank you, goodbye.",
]
MODELS = ["starter", ANCHOR, TEAPOT]


def test_eight_at_once_get_what_they_would_get_alone(server: InferenceServer) -> None:
    asked = [(question, MODELS[i % 3]) for i, question in enumerate(QUESTIONS)]
    alone = [server.answer(question, model) for question, model in asked]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda pair: server.answer(*pair), asked))
    assert together == alone


def test_a_short_answer_does_not_wait_for_a_long_one(server: InferenceServer) -> None:
    """The plain model never ends by itself, so its answers are as long as they may be."""
    ended: dict[str, float] = {}

    def ask(name: str, most: int) -> None:
        server.ask("Tell me.", model="plain", max_tokens=most)
        ended[name] = time.monotonic()

    server.ask("Warm up.", model="plain", max_tokens=1)
    long_ones = [threading.Thread(target=ask, args=(f"long {i}", 200)) for i in range(3)]
    for thread in long_ones:
        thread.start()
    wait_until(lambda: server.health()["answers"] == 3, timeout=20, what="three long answers")
    ask("short", 5)
    for thread in long_ones:
        thread.join()
    assert min(ended, key=lambda name: ended[name]) == "short"


def test_fifty_at_once_are_answered_or_told_to_wait(server: InferenceServer) -> None:
    def ask(number: int) -> httpx.Response:
        messages = [{"role": "user", "content": f"Question {number}."}]
        body = {"model": "plain", "messages": messages, "max_tokens": 40}
        with server.client() as client:
            return client.post("/v1/chat/completions", json=body)

    with ThreadPoolExecutor(50) as pool:
        responses = list(pool.map(ask, range(50)))
    statuses = [response.status_code for response in responses]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 24
    refused = next(response for response in responses if response.status_code == 429)
    assert int(refused.headers["retry-after"]) > 0
    assert refused.json()["error"]["code"] == "too_many_requests"
    assert server.health()["answers"] == 0


def test_who_leaves_frees_the_place_within_two_seconds(server: InferenceServer) -> None:
    body = {
        "model": "plain",
        "messages": [{"role": "user", "content": "Go on."}],
        "max_tokens": 128,
    }
    for stream in (True, False):
        client = server.client()
        request = client.build_request(
            "POST", "/v1/chat/completions", json={**body, "stream": stream}
        )
        if stream:
            response = client.send(request, stream=True)
            next(response.iter_lines())
            response.close()
        else:
            client.timeout = httpx.Timeout(0.05)
            try:
                client.send(request)
            except httpx.ReadTimeout:
                assert server.health()["answers"] <= 1
        client.close()
        wait_until(lambda: server.health()["answers"] == 0, timeout=2.0, what="a free place")
