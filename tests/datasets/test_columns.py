"""What a column is for is proposed from its name and, where names leave it open, its contents."""

from pathlib import Path

import pytest

from app.datasets.readers.records import ColumnRole
from tests.support.uploads import json_lines, read

_QUESTION = "Where is my parcel with the green lamp?"
_ANSWER = "It left our house yesterday and arrives tomorrow before noon."
_CELLS = {
    "question_id": "1{i}",
    "question": f"{_QUESTION} {{i}}",
    "answer_id": "2{i}",
    "answer": f"{_ANSWER} {{i}}",
    "Customer ID": "K-10{i}",
    "Ticket ID": "T-20{i}",
    "Customer name": "Maria Sommer{i}",
    "Customer": "Maria Sommer{i}",
    "Kunde": "Maria Sommer{i}",
    "Kundenname": "Maria Sommer{i}",
    "Customer email": "maria.sommer.{i}@a-long-company-name-in-a-long-address.example.com",
    "E-Mail des Kunden": "maria.sommer.{i}@a-long-company-name-in-a-long-address.example.com",
    "Subject": "A parcel {i}",
    "Betreff": "Ein Paket {i}",
    "First response time": "00:1{i}:00",
    "Antwort am": "2026-11-1{i}",
    "Answered by": "Paul Winter{i}",
    "Agent": "Paul Winter{i}",
    "Bearbeiter": "Paul Winter{i}",
    "Reply date": "2026-11-1{i}",
    "Datum der Anfrage": "1{i}.11.2026",
    "Question level": "easy{i}",
    "Answer url": "https://example.com/help/articles/about-parcels-and-lamps/{i}",
}
_ASKED = ("Message", "Question", "Customer message", "Description", "Nachricht", "Anliegen")
_SAID = ("Answer", "Support reply", "Resolution", "Agent reply", "Reply", "Antwort", "Lösung")


def _cell(name: str, number: int) -> str:
    given = dict.fromkeys(_ASKED, f"{_QUESTION} {{i}}")
    given |= dict.fromkeys(_SAID, f"{_ANSWER} {{i}}")
    return (_CELLS | given)[name].format(i=number)


@pytest.mark.parametrize(
    ("names", "question", "answer"),
    [
        ("question_id,question,answer_id,answer", "question", "answer"),
        ("Customer ID,Message,Answer", "Message", "Answer"),
        ("Customer email,Customer message,Support reply", "Customer message", "Support reply"),
        (
            "Ticket ID,Customer name,Subject,Description,Agent,Resolution",
            "Description",
            "Resolution",
        ),
        ("Ticket ID,Customer,Subject,Description,Agent,Resolution", "Description", "Resolution"),
        ("Subject,Message,First response time,Agent reply", "Message", "Agent reply"),
        ("Question,Answered by,Reply date,Reply", "Question", "Reply"),
        ("Customer,Customer message,Agent,Agent reply", "Customer message", "Agent reply"),
        ("Customer,Message,Answer", "Message", "Answer"),
        ("Question level,Question,Answer url,Answer", "Question", "Answer"),
        ("Kunde,Nachricht,Antwort", "Nachricht", "Antwort"),
        ("Kundenname,E-Mail des Kunden,Nachricht,Antwort", "Nachricht", "Antwort"),
        ("Datum der Anfrage,Kunde,Betreff,Anliegen,Bearbeiter,Lösung", "Anliegen", "Lösung"),
        ("Nachricht,Antwort am,Antwort", "Nachricht", "Antwort"),
    ],
)
def test_texts_are_chosen_before_what_is_told_about_them(
    tmp_path: Path, names: str, question: str, answer: str
) -> None:
    header = names.split(",")
    rows = [",".join(_cell(name, number) for name in header) for number in range(8)]
    result = read(tmp_path, "\n".join([names, *rows]))
    roles = dict(zip(header, result.roles, strict=True))
    expected = {question: ColumnRole.QUESTION, answer: ColumnRole.ANSWER}
    assert roles == dict.fromkeys(header, ColumnRole.IGNORE) | expected
    assert result.pairs == [(_cell(question, n), _cell(answer, n)) for n in range(8)]


def test_numbers_are_answers_where_the_name_says_so(tmp_path: Path) -> None:
    rows = "".join(f"What is {i} and {i}?,We add {i} to itself.,{i + i}\n" for i in range(8))
    result = read(tmp_path, "question,explanation,answer\n" + rows)
    assert result.roles == ["question", "ignore", "answer"]


def test_the_name_of_a_kind_is_the_kind(tmp_path: Path) -> None:
    rows = "".join(f"Where is my order {i}?,{('parcels', 'prices')[i % 2]}\n" for i in range(6))
    assert read(tmp_path, "text,category name\n" + rows).roles == ["question", "kind"]


def test_short_turns_of_persons_are_still_questions_and_answers(tmp_path: Path) -> None:
    result = read(tmp_path, "user,assistant\nHello,Hi there\n2+2,4\nBye,See you\n")
    assert result.roles == ["question", "answer"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sentiment", ("positive", "negative")),
        ("type", ("yes", "no")),
        ("category", ("good", "bad")),
        ("class", ("1", "0")),
        ("label", ("true", "false")),
    ],
)
def test_what_sorts_customers_is_no_thumb_for_the_answer(
    tmp_path: Path, name: str, values: tuple[str, str]
) -> None:
    rows = "".join(f"Where is it {i}?,It is here {i}.,{values[i % 2]}\n" for i in range(8))
    result = read(tmp_path, f"question,answer,{name}\n" + rows)
    assert result.roles == ["question", "answer", "ignore"]
    assert "thumbs" not in result.notes
    assert all(example["is_liked"] is None for example in result.examples)


def test_only_trl_calls_thumbs_a_label(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{i}", "completion": f"a{i}", "label": i % 2 == 0} for i in range(4)]
    assert read(tmp_path, json_lines(rows)).roles == ["question", "answer", "thumb"]
    rows = [{**row, "type": "yes"} for row in rows]
    assert read(tmp_path, json_lines(rows)).roles == ["question", "answer", "thumb", "ignore"]


@pytest.mark.parametrize("name", ["feedback", "Thumbs", "helpful", "Bewertung"])
def test_a_column_that_is_named_for_thumbs_holds_them(tmp_path: Path, name: str) -> None:
    result = read(tmp_path, f"question,answer,{name}\nHi?,Hello.,yes\nYo?,What?,no\n")
    assert result.roles == ["question", "answer", "thumb"]
