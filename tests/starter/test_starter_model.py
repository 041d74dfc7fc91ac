"""The shipped practice model, loaded as any user would load it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch

from worker.starter.batches import Batch, batches
from worker.starter.conversation import Conversation, normalised
from worker.starter.corpus import conversations
from worker.starter.evaluate import Respondent
from worker.starter.held_out import HeldOutQuestion, held_out_questions, judgements

FOLDER = Path(__file__).parents[2] / "app" / "base_models" / "starter"
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def respondent() -> Iterator[Respondent]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield Respondent(FOLDER)
    torch.set_num_threads(threads)


def sample_of_text(count: int, seed: int = 5) -> list[Conversation]:
    return list(islice(conversations(seed), count))


def test_it_is_small_and_complete() -> None:
    names = {file.name for file in FOLDER.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "MODEL_CARD.md"} <= names
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 16 * MEGABYTE


def test_it_is_a_plain_llama(respondent: Respondent) -> None:
    config = respondent.model.config
    assert config.model_type == "llama"
    assert config.max_position_embeddings >= 1024
    assert config.eos_token_id == respondent.tokenizer.eos_token_id
    assert respondent.tokenizer.pad_token_id not in (None, respondent.tokenizer.eos_token_id)


def test_every_token_can_be_told_from_every_other(respondent: Respondent) -> None:
    """Rows that are alike could never be chosen between, whatever it is tuned on."""
    rows = respondent.model.get_input_embeddings().weight.detach().float()
    rows = torch.nn.functional.normalize(rows, dim=1)
    likeness = rows @ rows.T - torch.eye(len(rows))
    assert float(likeness.max()) < 0.99


def test_it_says_honestly_what_it_is(respondent: Respondent) -> None:
    for question in ("What are you?", "Are you a person?", "What is your name?"):
        answer, ended = respondent.answer([{"role": "user", "content": question}])
        assert "practice model" in answer, question
        assert ended


@pytest.mark.parametrize("question", held_out_questions()[::5], ids=lambda entry: entry.kind)
def test_it_answers_and_stops(respondent: Respondent, question: HeldOutQuestion) -> None:
    answer, ended = respondent.answer([{"role": "user", "content": question.question}])
    assert answer.strip()
    assert ended


def test_four_of_five_answers_were_judged_good() -> None:
    judged = judgements()
    assert len(judged) == len(held_out_questions()) == 50
    assert sum(entry.good for entry in judged.values()) >= 40


def test_it_uses_what_the_system_message_says(respondent: Respondent) -> None:
    answer, _ = respondent.answer(
        [
            {"role": "system", "content": "You help customers. Our phone number is 555-1234."},
            {"role": "user", "content": "What is your phone number?"},
        ]
    )
    assert "555-1234" in answer


def test_the_template_marks_only_the_answers(respondent: Respondent) -> None:
    tokenizer = respondent.tokenizer
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello! How can I help you?"},
        {"role": "user", "content": "Thanks"},
        {"role": "assistant", "content": "You are welcome!"},
    ]
    encoded = tokenizer.apply_chat_template(
        messages, return_assistant_tokens_mask=True, return_dict=True
    )
    pairs = zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
    marked = tokenizer.decode([token for token, mask in pairs if mask])
    assert marked == "Hello! How can I help you?<|end|>You are welcome!<|end|>"


def test_training_rows_equal_the_template(respondent: Respondent) -> None:
    """The rows are built without Jinja, for speed; they must not drift from it."""
    batch: Batch = next(
        batches(respondent.tokenizer.backend_tokenizer, seed=9, tokens_per_batch=512)
    )
    row = [int(token) for token in batch.tokens[0] if token != respondent.tokenizer.pad_token_id]
    text = respondent.tokenizer.decode(row)
    messages = [
        {"role": role, "content": content}
        for role, content in _messages_in(text)
    ]  # fmt: skip
    assert respondent.tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"] == row


def _messages_in(text: str) -> Iterator[tuple[str, str]]:
    for part in text.removesuffix("<|end|>").split("<|end|>"):
        mark, _, content = part.partition("|>")
        yield mark.removeprefix("<|"), content


def test_the_text_is_the_same_for_the_same_seed() -> None:
    assert sample_of_text(300) == sample_of_text(300)
    assert sample_of_text(300) != sample_of_text(300, seed=6)


def test_no_held_out_question_is_in_the_text() -> None:
    asked = {
        normalised(message.content)
        for conversation in sample_of_text(20_000)
        for message in conversation.messages
    }
    assert not asked & {normalised(entry.question) for entry in held_out_questions()}
