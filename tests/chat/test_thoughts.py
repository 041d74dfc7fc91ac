import pytest

from app.chat.thoughts import Thoughts, split_thoughts


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("Hello.", "", "Hello."),
        ("<think>\n\n</think>\n\nHello.", "", "Hello."),
        ("<think>\nWell.\n</think>\n\nHello.", "Well.", "Hello."),
        ("Well.\n</think>\n\nHello.", "Well.", "Hello."),
        ("<thi", "", ""),
        ("<think>\nWe", "We", ""),
        (" 2 < 3", "", " 2 < 3"),
        ("", "", ""),
    ],
)
def test_thoughts_and_answer_are_told_apart(text: str, thought: str, answer: str) -> None:
    assert split_thoughts(text) == Thoughts(thought, answer)
