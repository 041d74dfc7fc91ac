"""Every format is recognised by its content and read rightly."""

import json
from datetime import date, timedelta
from pathlib import Path

import openpyxl
import pytest

from app.datasets.readers.drafts import Mapping
from app.datasets.readers.records import ColumnRole
from app.datasets.wording import format_words, note_sentences
from tests.support.uploads import ReadFile, json_lines, read, read_path

PAIRS = [("How are you?", "Fine, thanks."), ("Who is it?", "Me; and you.")]


@pytest.mark.parametrize(
    ("delimiter", "words"),
    [(",", "commas"), (";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")],
)
def test_a_table_with_any_delimiter(tmp_path: Path, delimiter: str, words: str) -> None:
    rows = [("question", "answer"), *PAIRS]
    text = "\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    result = read(tmp_path, text)
    assert result.pairs == PAIRS
    assert f"separated by {words}" in format_words(result.understood)


def test_cells_over_several_lines_count_as_one_row(tmp_path: Path) -> None:
    result = read(tmp_path, 'question,answer\n"one\ntwo","three\n\nfour"\nfive,six\n')
    assert result.pairs == [("one\ntwo", "three\n\nfour"), ("five", "six")]
    assert [example["row"] for example in result.examples] == [2, 3]


def test_names_with_blanks_returns_marks_and_case(tmp_path: Path) -> None:
    result = read(tmp_path, b"\xef\xbb\xbf  QUESTION \r, Answer\r\r\nHi?,There\r\nYo?,Man\r\n")
    assert result.roles == ["question", "answer"]
    assert result.pairs == [("Hi?", "There"), ("Yo?", "Man")]


def test_blanks_after_commas_as_people_type_them(tmp_path: Path) -> None:
    result = read(tmp_path, "Question, Answer\nWhat is it?, It is a hat\nWho?, Me\nWhy?, So\n")
    assert result.pairs == [("What is it?", "It is a hat"), ("Who?", "Me"), ("Why?", "So")]


@pytest.mark.parametrize(
    "above", ["Our FAQ 2026\n", "Our FAQ 2026;\n\nAs of May;\n", "sep=;\n", "\n\n"]
)
def test_rows_above_the_names_are_no_examples(tmp_path: Path, above: str) -> None:
    result = read(tmp_path, f"{above}Frage;Antwort\nWo?;Hier\nWann?;Jetzt\n")
    assert result.roles == ["question", "answer"]
    assert result.pairs == [("Wo?", "Hier"), ("Wann?", "Jetzt")]


def test_excels_own_first_line_above_names_of_ones_own(tmp_path: Path) -> None:
    result = read(tmp_path, "sep=;\nfoo;bar\nWo ist es?;Hier ist es.\nWann ist es?;Es ist jetzt.\n")
    assert result.pairs == [("Wo ist es?", "Hier ist es."), ("Wann ist es?", "Es ist jetzt.")]


def test_a_workbook_with_a_cover_and_a_title(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = "Cover"
    book.active.append(["Made by the support team"])
    sheet = book.create_sheet("FAQ")
    for row in (("Our FAQ", ""), ("", ""), ("Question", "Answer"), *PAIRS):
        sheet.append([cell or None for cell in row])
    path = tmp_path / "faq.xlsx"
    book.save(path)
    result = read_path(path)
    assert result.pairs == PAIRS
    assert "other_sheets" in result.notes
    assert [example["row"] for example in result.examples] == [4, 5]


def test_lines_that_end_as_on_an_old_mac(tmp_path: Path) -> None:
    assert read(tmp_path, "question,answer\rHi?,There\rYo?,Man\r").pairs == [
        ("Hi?", "There"),
        ("Yo?", "Man"),
    ]


@pytest.mark.parametrize(
    "names",
    [
        ("Frage", "Antwort"),
        ("Kunde", "Antwort des Supports"),
        ("Kundenfrage (Text)", "Unsere_Antwort"),
        ("pregunta", "respuesta"),
        ("prompt", "completion"),
        ("input", "output"),
        ("вопрос", "ответ"),
        ("質問", "回答"),
        ("text", "label"),
    ],
)
def test_names_in_several_languages(tmp_path: Path, names: tuple[str, str]) -> None:
    result = read(tmp_path, "\n".join([";".join(names), "eins;zwei", "drei;vier"]))
    assert result.roles == ["question", "answer"]
    assert result.understood["plan"]["has_header"]


def test_a_table_without_names(tmp_path: Path) -> None:
    result = read(tmp_path, "What is this?,A thing.\nWho are you?,A model.\n")
    assert result.pairs == [("What is this?", "A thing."), ("Who are you?", "A model.")]
    assert "no_header" in result.notes


def test_columns_are_found_by_their_contents(tmp_path: Path) -> None:
    rows = "".join(
        f"{i},Where is parcel {i}?,It is on its way to you and will come soon.\n" for i in range(30)
    )
    result = read(tmp_path, "nr,eins,zwei\n" + rows)
    assert result.roles == ["ignore", "question", "answer"]


def test_sorting_is_recognised(tmp_path: Path) -> None:
    kinds = ["refund", "delivery", "account"]
    rows = [f"message number {i} about something,{kinds[i % 3]}" for i in range(60)]
    result = read(tmp_path, "message,kind\n" + "\n".join(rows))
    assert result.roles == ["question", "kind"]
    sentences = " ".join(note_sentences(result.understood))
    assert "looks like sorting into 3 kinds" in sentences


def test_a_workbook(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    for row in [["Question", "Answer"], ["Hi?", "There"], [3.0, date(2026, 11, 23)], ["=1+1", "x"]]:
        sheet.append(row)
    workbook.create_sheet("Prices").append(["a", "b"])
    path = tmp_path / "source"
    workbook.save(path)
    result = read_path(path)
    assert result.pairs == [("Hi?", "There"), ("3", "2026-11-23")]
    assert result.reasons == [(4, "empty_question")]
    sentences = " ".join(note_sentences(result.understood))
    assert "formula" in sentences
    assert "“Prices”" in sentences


def test_openai_messages(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be kind."}
    turns = [
        {"role": role, "content": text}
        for role, text in [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    ]
    parts = [{"type": "text", "text": "in "}, {"type": "text", "text": "parts"}]
    rows = [
        {"messages": [system, *turns]},
        {"messages": [system, {"role": "assistant", "content": "Hello."}]},
        {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "x"}]},
        {"messages": [{"role": "user", "content": "alone"}]},
        {"messages": [{"role": "user", "content": "q"}, {"role": "tool", "content": "r"}]},
    ]
    result = read(tmp_path, json_lines(rows))
    first = result.examples[0]
    assert (first["question"], first["answer"], first["instructions"]) == ("c", "d", "Be kind.")
    assert first["earlier"] == turns[:2]
    assert result.examples[1]["question"] == "in \nparts"
    assert result.reasons == [(2, "no_question"), (4, "no_answer"), (5, "uses_tools")]


def test_answers_that_are_marked_not_to_be_learned(tmp_path: Path) -> None:
    def conversation(*weights: int | None) -> dict[str, object]:
        messages: list[dict[str, object]] = []
        for number, weight in enumerate(weights):
            messages.append({"role": "user", "content": f"q{number}"})
            mark = {} if weight is None else {"weight": weight}
            messages.append({"role": "assistant", "content": f"a{number}", **mark})
        return {"messages": messages}

    rows = [
        conversation(None, 1),
        conversation(1, 0),
        conversation(0, 1),
        conversation(0),
    ]
    result = read(tmp_path, json_lines(rows))
    assert result.pairs == [("q1", "a1"), ("q0", "a0")]
    assert result.reasons == [(3, "not_to_be_learned"), (4, "not_to_be_learned")]


def test_a_weight_at_a_question_says_nothing_about_the_answer(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "q", "weight": 0},
        {"role": "assistant", "content": "a", "weight": 1},
    ]
    assert read(tmp_path, json_lines([{"messages": messages}])).pairs == [("q", "a")]


def test_prompt_and_completion(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "completion": f"c{i}"} for i in range(3)]
    assert read(tmp_path, json_lines(rows)).pairs == [(f"p{i}", f"c{i}") for i in range(3)]


def test_alpaca(tmp_path: Path) -> None:
    rows = [
        {
            "instruction": "Add",
            "input": "1 2",
            "output": "3",
            "system": "s",
            "history": [["a", "b"]],
        },
        {"instruction": "Sing", "input": "", "output": "La", "system": "", "history": []},
    ]
    result = read(tmp_path, json.dumps(rows, indent=2))
    assert result.pairs == [("Add\n\n1 2", "3"), ("Sing", "La")]
    assert result.examples[0]["instructions"] == "s"
    assert [turn["content"] for turn in result.examples[0]["earlier"]] == ["a", "b"]


def test_sharegpt(tmp_path: Path) -> None:
    turns = [
        {"from": "system", "value": "s"},
        {"from": "human", "value": "q"},
        {"from": "gpt", "value": "a"},
    ]
    result = read(tmp_path, json.dumps([{"id": "1", "conversations": turns}]))
    assert result.pairs == [("q", "a")]
    assert result.examples[0]["instructions"] == "s"


def test_objects_inside_an_object_and_one_after_another(tmp_path: Path) -> None:
    rows = [{"question": "q", "answer": "a"}, {"question": "r", "answer": "b"}]
    expected = [("q", "a"), ("r", "b")]
    assert read(tmp_path, json.dumps({"version": 1, "data": rows})).pairs == expected
    one_after_another = "\n".join(json.dumps(row, indent=1) for row in rows)
    assert read(tmp_path, one_after_another).pairs == expected


def test_marked_pairs_in_plain_text(tmp_path: Path) -> None:
    result = read(tmp_path, "Q: What?\nA: This.\nAnd that.\n\nFrage 2: Wer?\nAntwort 2: Ich.\n")
    assert result.pairs == [("What?", "This.\nAnd that."), ("Wer?", "Ich.")]


def test_plain_text_becomes_passages(tmp_path: Path) -> None:
    long = "This is a sentence, and it is not short. " * 100
    result = read(tmp_path, f"A Heading\n\nFirst, a paragraph.\nIt goes on.\n\n{long}\n")
    texts = [example["answer"] for example in result.examples]
    assert texts[0] == "A Heading\n\nFirst, a paragraph.\nIt goes on."
    assert all(len(text) <= 1500 and text.endswith(".") for text in texts[1:])
    assert " ".join(texts[1:]) == long.strip()
    assert {"passages", "long_passages"} <= result.notes


def test_markdown_becomes_sections(tmp_path: Path) -> None:
    text = (
        "---\ntitle: x\n---\n# One\n\nFirst part.\n\n## Two\n\n```python\n# no heading\n```\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    texts = [example["answer"] for example in read(tmp_path, text).examples]
    assert texts[0] == "# One\n\nFirst part."
    assert texts[1].startswith("## Two\n\n```python\n# no heading")
    assert len(texts) == 2


def test_html_is_asked_about_and_can_be_removed(tmp_path: Path) -> None:
    text = "question,answer\nWhat?,<p>One &amp; two</p><ul><li>three</li></ul><script>x</script>\n"
    result = read(tmp_path, text)
    assert "html" in result.notes
    assert "<p>" in result.examples[0]["answer"]
    stripping = Mapping([ColumnRole.QUESTION, ColumnRole.ANSWER], strips_html=True)
    assert read(tmp_path, text, stripping).pairs == [("What?", "One & two\n\n- three")]


def test_one_column_becomes_passages(tmp_path: Path) -> None:
    result = read(tmp_path, "question\nHello there?\nWhat now?\n")
    assert result.roles == ["passage"]
    assert "one_column" in result.notes


def _kinds(result: ReadFile) -> set[str]:
    return {type(example["answer"]).__name__ for example in result.examples}


def test_values_that_are_no_text(tmp_path: Path) -> None:
    rows = [
        {"question": "q", "answer": 3.10},
        {"question": "r", "answer": True},
        {"question": "s", "answer": None},
        {"question": "zero\x00", "answer": "a\x00b"},
    ]
    result = read(tmp_path, json_lines(rows))
    assert result.pairs == [("q", "3.1"), ("r", "true"), ("zero", "ab")]
    assert result.reasons == [(3, "empty_answer")]
    assert _kinds(result) == {"str"}


@pytest.mark.parametrize("lines", [False, True])
def test_pairs_without_names(tmp_path: Path, *, lines: bool) -> None:
    rows = [["Question", "Answer"], *map(list, PAIRS), ["one", "two", "three"]]
    result = read(tmp_path, json_lines(rows) if lines else json.dumps(rows))
    assert result.pairs == PAIRS
    assert result.reasons == [(1, "column_names"), (4, "not_an_object")]


def test_every_list_of_a_json_file_is_read(tmp_path: Path) -> None:
    first, second = ({"question": question, "answer": answer} for question, answer in PAIRS)
    whole = {"tags": ["a", {"b": 1}], "train": [first], "about": {"x": [1]}, "test": [second]}
    result = read(tmp_path, json.dumps(whole))
    assert result.pairs == PAIRS
    assert result.left_out == []


def test_a_json_file_that_ends_between_its_lists(tmp_path: Path) -> None:
    result = read(tmp_path, '{"train": [{"question": "Hi?", "answer": "There"}], "te')
    assert result.pairs == [("Hi?", "There")]
    assert result.reasons == [(2, "file_ends_inside")]


def test_conversations_and_pairs_in_one_file(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "There"}]
    result = read(
        tmp_path, json_lines([{"messages": turns}, {"prompt": "Yo?", "completion": "Man"}])
    )
    assert result.pairs == [("Hi?", "There"), ("Yo?", "Man")]
    assert result.left_out == []


def test_numbers_of_a_workbook_have_no_exponents_and_the_loss_of_their_form_is_said(
    tmp_path: Path,
) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    values = (4.9, 12345678901234567890, 0.00000012, timedelta(hours=30), 7, 0.1 + 0.2)
    for row in (("Question", "Answer"), *((f"How much is {value}?", value) for value in values)):
        book.active.append(row)
    path = tmp_path / "prices.xlsx"
    book.save(path)
    result = read_path(path)
    answers = [answer for _, answer in result.pairs]
    assert answers[:1] + answers[2:] == ["4.9", "0.00000012", "30:00:00", "7", "0.3"]
    assert answers[1].isdigit()
    assert len(answers[1]) == 20
    assert any("“4.90 €” is read as 4.9" in note for note in note_sentences(result.understood))
