"""What examples with thumbs become: their own row, and one to tell how far the model has moved."""

from tests.support.tiny_models import make_tokenizer
from worker.training.chat_templates import ChatFormat
from worker.training.encoders import ThumbEncoder
from worker.training.examples import Example, Message


def thumbs(number: int) -> list[Example]:
    """A pair, as it comes when thumbs are learned: both answers to one question."""
    question = (Message(role="user", content=f"What is {number}?"),)
    return [
        Example(messages=question, answer=f"Yes {number}.", is_liked=True),
        Example(messages=question, answer=f"Hello {number}."),
    ]


def crossed_answers(examples: list[Example]) -> list[str]:
    chat = ChatFormat(make_tokenizer())
    found = []
    for encoded in ThumbEncoder(chat).encode(examples, 256):
        ((_, crossed),) = encoded.items
        learned = [i for i, mask in zip(crossed.ids, crossed.mask, strict=True) if mask]
        found.append(str(chat.tokenizer.decode(learned)).removesuffix("<|end|>"))
    return found


def test_a_question_is_crossed_with_an_answer_to_another_one() -> None:
    examples = [*thumbs(1), *thumbs(2), *thumbs(3)[:1]]
    assert crossed_answers(examples) == ["Yes 2.", "Yes 2.", "Yes 3.", "Yes 3.", "Yes 1."]


def test_where_nothing_else_is_asked_it_is_its_own_answer() -> None:
    assert crossed_answers(thumbs(1)) == ["Yes 1.", "Hello 1."]
