"""Several people at once: everybody gets their own answer, in turn, and nobody can take all."""

import json
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from threading import Semaphore
from urllib.parse import urlsplit

import httpx

from tests.support.inference import ANCHOR, TEAPOT, InferenceServer
from tests.support.waiting import wait_until
from worker.inference.engine import MOST_RUNNING

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
    server.ask("Warm up.", model="endless", max_tokens=1)
    with server.long_answers(3):
        assert server.health()["answers"] == 3
        assert server.answer("Tell me.", model="endless", max_tokens=5)
        assert server.health()["answers"] == 3, "the long ones are still being written"


def test_fifty_at_once_are_answered_or_told_to_wait(server: InferenceServer) -> None:
    sent = Semaphore(0)

    def note(event: str, _: object) -> None:
        if event == "http11.send_request_body.complete":
            sent.release()

    def ask(number: int) -> httpx.Response:
        messages = [{"role": "user", "content": f"Question {number}."}]
        body = {"model": "plain", "messages": messages, "max_tokens": 40}
        with server.client() as client:
            path, extensions = "/v1/chat/completions", {"trace": note}
            return client.post(path, json=body, extensions=extensions)

    with ThreadPoolExecutor(50) as pool:
        # Were the first answered while the last are still being sent, nobody would have to wait.
        with server.held_up():
            asked = [pool.submit(ask, number) for number in range(50)]
            assert all(sent.acquire(timeout=30) for _ in asked)
        responses = [one.result() for one in asked]
    statuses = [response.status_code for response in responses]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 24
    refused = next(response for response in responses if response.status_code == 429)
    assert int(refused.headers["retry-after"]) > 0
    assert refused.json()["error"]["code"] == "too_many_requests"
    assert server.health()["answers"] == 0


def wait_for_places(server: InferenceServer, taken: int) -> None:
    """Wait until so many places are taken; far shorter than an endless answer in their midst."""
    wait_until(
        lambda: server.health()["answers"] == taken, timeout=30, what=f"{taken} places to be taken"
    )


def test_who_leaves_frees_the_place_within_two_seconds(server: InferenceServer) -> None:
    """A machine that has much else to do may take some times longer."""
    server.ask("Warm up.", model="endless", max_tokens=1)
    messages = [{"role": "user", "content": "Go on."}]
    body = {"model": "endless", "messages": messages, "max_tokens": 2048, "temperature": 0}
    path, streamed = "/v1/chat/completions", {**body, "stream": True}
    with server.long_answers(MOST_RUNNING - 1), server.client() as client:
        with client.stream("POST", path, json=streamed) as response:
            # Kept, because a reader that is thrown away closes what it reads.
            lines = response.iter_lines()
            next(lines)
            in_line = HTTPConnection(urlsplit(server.url).netloc)
            in_line.request("POST", path, json.dumps(body), dict(client.headers))
            wait_for_places(server, MOST_RUNNING + 1)
            in_line.close()
            wait_for_places(server, MOST_RUNNING)
        wait_for_places(server, MOST_RUNNING - 1)
        unseen = HTTPConnection(urlsplit(server.url).netloc)
        unseen.request("POST", path, json.dumps(body), dict(client.headers))
        wait_for_places(server, MOST_RUNNING)
        unseen.close()
        wait_for_places(server, MOST_RUNNING - 1)
