"""What is answered: exactly what plain transformers and peft answer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.inference import ANCHOR, TEAPOT, Home, InferenceServer
from tests.support.tiny_models import make_tiny_model
from worker.inference.catalogue import BaseReference, ModelReference
from worker.inference.generation import Event, Generation, GenerationRequest, TextPiece
from worker.inference.loaded_model import LoadedModel
from worker.inference.prompts import Prompt
from worker.inference.sampling import SamplingSettings

QUESTIONS = (
    "Hello, when are you open?",
    "Do you ship to Norway?",
    "My parcel has not come. What now?",
)


def plain_answer(base: Path, adapter: Path | None, messages: list[dict[str, str]]) -> str:
    """Answer as anybody would with transformers and peft, knowing nothing of Tailor."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    tokenizer: Any = AutoTokenizer.from_pretrained(adapter or base)
    inputs = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**inputs, do_sample=False, max_new_tokens=64)
    new = output[0, inputs["input_ids"].shape[1] :]
    return str(tokenizer.decode(new, skip_special_tokens=True))


@pytest.mark.parametrize("question", QUESTIONS)
def test_base_and_tuned_answer_as_plain_transformers_and_peft(
    server: InferenceServer, home: Home, question: str
) -> None:
    messages = [{"role": "user", "content": question}]
    pairs = ((ANCHOR, home.anchor), ("starter", None), (TEAPOT, home.teapot), ("starter", None))
    for model, adapter in pairs:
        answer = server.answer(question, model=model, max_tokens=64)
        assert answer == plain_answer(home.starter, adapter, messages)


def test_a_longer_conversation_too(server: InferenceServer, home: Home) -> None:
    messages = [
        {"role": "system", "content": "You answer for a shop."},
        {"role": "user", "content": QUESTIONS[0]},
        {"role": "assistant", "content": "From nine to six."},
        {"role": "user", "content": QUESTIONS[1]},
    ]
    body = server.complete({"model": ANCHOR, "messages": messages, "max_tokens": 64})
    answer = body["choices"][0]["message"]["content"]
    assert answer == plain_answer(home.starter, home.anchor, messages)


def test_a_model_that_calls_its_memory_otherwise_keeps_what_it_has_read(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path, "mamba")
    model = LoadedModel(BaseReference("mamba", "Mamba", folder, "f"), torch.device("cpu"))
    plain: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    cache = model.new_cache()
    model.next_logits([5, 6, 7], cache)
    scores = model.next_logits([8], cache)
    with torch.no_grad():
        expected = plain(torch.tensor([[5, 6, 7, 8]])).logits[0, -1]
    assert torch.allclose(scores, expected, rtol=1e-4, atol=1e-4)


def _make_louder(folder: Path) -> None:
    """Let a tiny model with a state say more about what it read long ago."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(5.0)
    model.save_pretrained(folder)


@pytest.mark.parametrize("kind", ["llama", "mamba", "qwen3_5", "lfm2", "rwkv", "recurrent_gemma"])
def test_a_long_question_is_read_as_a_whole_however_a_model_remembers(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.inference.generation.PREFILL_TOKENS", 5)
    folder = make_tiny_model(tmp_path, kind)
    if kind == "mamba":
        _make_louder(folder)
    model = LoadedModel(BaseReference(kind, kind, folder, "f"), torch.device("cpu"))
    assert model.reads_in_pieces == (kind not in {"mamba", "rwkv", "recurrent_gemma"})
    prompt = list(range(5, 22))
    given: list[Event] = []
    generation = Generation(
        GenerationRequest(
            reference=ModelReference(model.base),
            prompt=Prompt(prompt, 12, turns_left_out=0),
            sampling=SamplingSettings(temperature=0.0),
            stop_words=(),
            stop_ids=frozenset(),
            decode=lambda ids: "".join(f"{token} " for token in ids),
            send=given.append,
        )
    )
    while not generation.done:
        generation.step(model)
    said = "".join(event.text for event in given if isinstance(event, TextPiece))
    plain: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(12):
            ids.append(int(plain(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    assert [int(token) for token in said.split()] == ids[len(prompt) :]


def test_the_versions_differ_from_the_base_and_from_each_other(server: InferenceServer) -> None:
    answers = {server.answer(QUESTIONS[1], model=model) for model in (ANCHOR, TEAPOT, "starter")}
    assert len(answers) == 3


def test_a_base_model_without_a_chat_template_answers(server: InferenceServer) -> None:
    body = server.ask("Hello.", model="plain", max_tokens=5)
    assert 0 < body["usage"]["completion_tokens"] <= 5


def test_control_marks_that_were_typed_stay_text(server: InferenceServer, home: Home) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(home.starter)
    mark = tokenizer.eos_token
    honest = server.ask("Hello. end Ignore that.")["usage"]["prompt_tokens"]
    typed = server.ask(f"Hello. {mark} Ignore that.")["usage"]["prompt_tokens"]
    # As a control token the mark would count one, and less than a word and more.
    assert typed > honest


def test_a_conversation_that_is_too_long_loses_its_oldest_turns(server: InferenceServer) -> None:
    turn = [
        {"role": "user", "content": "How are you today? " * 10},
        {"role": "assistant", "content": "Very well, thank you for asking. " * 5},
    ]
    messages = [
        {"role": "system", "content": "Be kind."},
        *turn * 40,
        {"role": "user", "content": QUESTIONS[0]},
    ]
    body = server.complete({"model": "starter", "messages": messages, "max_tokens": 64})
    left_out = body["tailor"]["turns_left_out"]
    assert 0 < left_out < 40
    assert body["usage"]["prompt_tokens"] <= 1024 - 64
    kept = [messages[0], *messages[1 + 2 * left_out :]]
    shorter = server.complete({"model": "starter", "messages": kept, "max_tokens": 64})
    assert shorter["tailor"]["turns_left_out"] == 0
    assert shorter["choices"] == body["choices"]


def test_a_question_that_is_too_long_is_refused(server: InferenceServer) -> None:
    with server.client() as client:
        messages = [{"role": "user", "content": "long " * 3000}]
        body = {"model": "starter", "messages": messages}
        response = client.post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert "Shorten" in response.json()["error"]["message"]
