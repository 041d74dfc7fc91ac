"""Advice from the data, in plain sentences."""

from sqlalchemy.orm import Session

from app.datasets import service
from app.datasets.advice import advise
from app.datasets.content import NewExample
from app.datasets.shapes import Turn
from app.projects.tables import Project


def _advice(session: Session, examples: list[NewExample]) -> str:
    project = Project(name="p")
    session.add(project)
    session.flush()
    service.add_examples(session, project.id, examples)
    return " ".join(f"{item.what} {item.text}" for item in advise(session, project.id))


def _examples(count: int, answer: str = "answer {}") -> list[NewExample]:
    return [NewExample(answer.format(i), f"question {i}") for i in range(count)]


def test_amounts(session: Session) -> None:
    assert _advice(session, []) == ""
    assert "only 1 example" in _advice(session, _examples(1))
    assert "only 3 examples" in _advice(session, _examples(3))
    assert "none are held out" in _advice(session, _examples(19))
    assert "About 5 of them are held out" in _advice(session, _examples(20))
    assert "enough to learn from" in _advice(session, _examples(50))


def test_what_stands_in_them(session: Session) -> None:
    assert "All answers are the same." in _advice(session, _examples(30, "yes"))
    kinds = [NewExample(f"kind {i % 3}", f"question {i}") for i in range(60)]
    assert "sorting into 3 kinds" in _advice(session, kinds)
    pairs = [NewExample(f"good {i % 8}", f"question {i}", rejected="bad") for i in range(40)]
    assert "sorting" not in _advice(session, pairs)
    assert "sorting" not in _advice(session, pairs + kinds[:30])
    assert "sorting into 3 kinds" in _advice(session, pairs + kinds)
    assert "longer than 8,192" in _advice(session, _examples(3, "{} " + "long " * 2_000))
    assert "HTML marks stand in 30 answers." in _advice(session, _examples(30, "<p>{}</p>"))
    one = [*_examples(10), NewExample("<p>one</p>", "question")]
    assert "HTML marks stand in 1 answer." in _advice(session, one)


def test_letters_of_every_alphabet_count_once_in_earlier_turns(session: Session) -> None:
    project = Project(name="p")
    session.add(project)
    session.flush()
    earlier: list[Turn] = [{"role": "user", "content": "Где чайник? " * 100}]
    service.add_examples(session, project.id, [NewExample("А?", "Б.", earlier_turns=earlier)])
    said = [item.what for item in advise(session, project.id, characters_at_once=3_000)]
    assert not any("longer" in what for what in said)


def test_all_texts_of_an_example_count_and_the_model_says_what_is_long(session: Session) -> None:
    project = Project(name="p")
    session.add(project)
    session.flush()
    examples = [
        NewExample("Yes.", "word " * 700),
        NewExample("No.", "word " * 100),
        NewExample("So?", "Hm?", instructions="word " * 700),
    ]
    service.add_examples(session, project.id, examples)
    said = [item.what for item in advise(session, project.id, characters_at_once=3_000)]
    assert "2 examples are longer than 3,000 characters." in said
    assert not any("longer" in item.what for item in advise(session, project.id))
