"""Files that vanish or change under a running server: plain sentences, never another answer."""

import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from app.storage.folders import Storage
from tests.support.inference import (
    InferenceServer,
    add_random_model,
    add_starter,
    add_version,
    running_inference,
)

RUN = "c" * 16


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    storage = Storage(folder / "data")
    storage.prepare()
    add_version(storage, RUN, add_starter(storage, folder / "starter"), "Ahoy.")
    return folder


@pytest.fixture(scope="module")
def server(originals: Path) -> Iterator[InferenceServer]:
    with running_inference(Storage(originals / "data")) as server:
        yield server


@pytest.fixture(autouse=True)
def untouched(originals: Path, tmp_path: Path) -> Iterator[None]:
    """Put everything back after a test, times included."""
    shutil.copytree(originals, tmp_path / "copy")
    yield
    shutil.rmtree(originals)
    shutil.copytree(tmp_path / "copy", originals)


def refusal(server: InferenceServer, model: str) -> tuple[int, str]:
    with server.client() as client:
        messages = [{"role": "user", "content": "Hello."}]
        response: httpx.Response = client.post(
            "/v1/chat/completions", json={"model": model, "messages": messages}
        )
    return response.status_code, response.json()["error"]["message"]


def test_a_base_model_that_vanished(server: InferenceServer, originals: Path) -> None:
    server.answer("Hello.", model=RUN)
    shutil.rmtree(originals / "starter")
    for model in ("starter", RUN):
        status, sentence = refusal(server, model)
        assert status == 404
        assert "Starter are not on this machine any more" in sentence


def test_a_base_model_with_another_byte(server: InferenceServer, originals: Path) -> None:
    server.answer("Hello.")
    weights = originals / "starter" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for model in ("starter", RUN):
        status, sentence = refusal(server, model)
        assert status == 409
        assert "changed" in sentence


def test_a_base_model_that_was_cut_off_takes_no_other_model_with_it(
    server: InferenceServer, originals: Path
) -> None:
    add_random_model(Storage(originals / "data"), "cut", originals / "cut")
    weights = originals / "cut" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert refusal(server, "cut")[0] == 409
    # Its tokenizer is known by now, so that the engine itself is the first to meet the damage.
    weights.write_bytes(content[:40])
    status, sentence = refusal(server, "cut")
    assert status == 500
    assert "Cut could not be loaded" in sentence
    assert server.answer("Hello.")
    assert server.health()["status"] == "ok"


def test_a_version_whose_files_vanished(server: InferenceServer, originals: Path) -> None:
    shutil.rmtree(originals / "data" / "runs" / RUN / "adapter")
    status, sentence = refusal(server, RUN)
    assert status == 404
    assert "not on this machine" in sentence
    assert server.answer("Hello.")


def test_a_version_that_is_only_a_pickle(server: InferenceServer, originals: Path) -> None:
    adapter = originals / "data" / "runs" / RUN / "adapter"
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    assert refusal(server, RUN)[0] == 404


def test_a_version_whose_files_were_exchanged_is_stamped_so(
    server: InferenceServer, originals: Path, tmp_path: Path
) -> None:
    before = server.ask("Hello.", model=RUN)
    other = Storage(tmp_path / "other")
    other.prepare()
    adapter = add_version(other, RUN, originals / "starter", "Warm cups.")
    place = originals / "data" / "runs" / RUN / "adapter"
    shutil.rmtree(place)
    shutil.copytree(adapter, place)
    after = server.ask("Hello.", model=RUN)
    digest = sha256((place / "adapter_model.safetensors").read_bytes()).hexdigest()
    assert after["tailor"]["adapter_digest"] == digest != before["tailor"]["adapter_digest"]
    assert after["choices"] != before["choices"]


def test_a_damaged_version_is_refused_and_spoils_nothing(
    server: InferenceServer, originals: Path
) -> None:
    before = server.answer("Hello.")
    weights = originals / "data" / "runs" / RUN / "adapter" / "adapter_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    status, sentence = refusal(server, RUN)
    assert status == 409
    assert "damaged" in sentence
    assert server.answer("Hello.") == before
