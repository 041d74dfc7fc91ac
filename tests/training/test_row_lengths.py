"""Too long examples: the history goes first, then the question's beginning, never the answer."""

from tests.support.tiny_models import UNMARKED_TEMPLATE, make_tokenizer
from worker.training.chat_templates import ChatFormat, EncodedRow
from worker.training.examples import Message
from worker.training.row_lengths import divide_passage, fit_conversation

LIMIT = 120
LONG = " ".join(f"word{i}" for i in range(200))


def user(text: str) -> Message:
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    return Message(role="assistant", content=text)


def chat() -> ChatFormat:
    return ChatFormat(make_tokenizer(template=UNMARKED_TEMPLATE))


def text_of(format_: ChatFormat, row: EncodedRow | None) -> str:
    assert row is not None
    assert len(row.ids) <= LIMIT
    return str(format_.tokenizer.decode(row.ids))


def test_the_oldest_turns_go_first_and_the_system_message_stays() -> None:
    format_ = chat()
    talk = [
        Message(role="system", content="Be kind."),
        user(LONG),
        assistant("Old answer."),
        user("What is 3 and 4?"),
        assistant("It is 7."),
    ]
    assert text_of(format_, fit_conversation(format_, talk, LIMIT)) == (
        "<|system|>\nBe kind.<|end|>\n<|user|>\nWhat is 3 and 4?<|end|>\n"
        "<|assistant|>\nIt is 7.<|end|>\n"
    )


def test_a_long_question_loses_its_beginning_and_keeps_its_answer() -> None:
    format_ = chat()
    text = text_of(format_, fit_conversation(format_, [user(LONG), assistant("It is 7.")], LIMIT))
    assert text.startswith("<|user|>\n")
    assert text.endswith("word199<|end|>\n<|assistant|>\nIt is 7.<|end|>\n")
    assert "word0 " not in text


def test_an_example_whose_answer_does_not_fit_is_left_out() -> None:
    format_ = chat()
    awkward = [Message(role="system", content="Be kind."), user("a " * 200), assistant(LONG)]
    for limit in (1, 20, LIMIT):
        assert fit_conversation(format_, awkward, limit) is None
        assert fit_conversation(format_, [user("Hello?"), assistant(LONG)], limit) is None


def test_an_answer_is_never_cut_at_all() -> None:
    format_ = chat()
    for limit in range(10, 60):
        row = fit_conversation(format_, [user(LONG), assistant("It is 7.")], limit)
        whole = fit_conversation(format_, [user(""), assistant("It is 7.")], 1000)
        assert whole is not None
        assert row is None or row.answer_tokens == whole.answer_tokens


def test_a_long_passage_is_divided_without_loss() -> None:
    for length in (2, 99, 100, 101, 199, 200, 250, 397, 398):
        rows = divide_passage(list(range(length)), 100)
        assert all(len(row.ids) <= 100 for row in rows)
        learned = [
            token
            for row in rows
            for token, is_learned in zip(row.ids, row.mask, strict=True)
            if is_learned
        ]
        assert learned == list(range(1, length)), "each token but the first is learned once"
