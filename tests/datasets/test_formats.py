"""Every format is recognised by its content and read rightly."""

import csv
import json
from datetime import date, timedelta
from io import StringIO
from pathlib import Path

import openpyxl
import pytest

from app.datasets.reader_process import read_file
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


def test_quotation_marks_with_backslashes_before_them(tmp_path: Path) -> None:
    rows = r""""Where is \"Save\", please?","Click \"Save\" 1; it writes C:\new\\old."
"Two
lines?","\"Yes\""
Bare?,It is 5\" wide
"""
    result = read(tmp_path, "question,answer\n" + rows)
    assert result.pairs == [
        ('Where is "Save", please?', r'Click "Save" 1; it writes C:\new\old.'),
        ("Two\nlines?", '"Yes"'),
        ("Bare?", 'It is 5" wide'),
    ]
    assert result.left_out == []


@pytest.mark.parametrize(
    "rows",
    [
        'Where?,"C:\\Data\\"\nWho?,"She, and ""I"""\n',
        'Where?,"It says ""C:\\"", mostly"\nWho?,"I, he"\n',
        "Where?,C:\\Data\\\nWho?,I\n",
    ],
)
def test_backslashes_that_are_only_text_stay(tmp_path: Path, rows: str) -> None:
    result = read(tmp_path, "question,answer\n" + rows)
    assert result.pairs == [tuple(row) for row in csv.reader(rows.splitlines())]


def test_a_plan_from_before_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_text('question;answer\nHow?;"Like ""this"""\nWhy?;So;what\n')
    stored = {
        "format": "delimited",
        "encoding": "utf-8",
        "delimiter": ";",
        "newline": "\n",
        "blanks_after_delimiter": False,
        "rows_above": 0,
        "has_header": True,
        "columns": ["question", "answer"],
        "sheet": 0,
        "list_name": "",
    }
    mapping = Mapping([ColumnRole.QUESTION, ColumnRole.ANSWER])
    [batch] = read_file(path, stored, mapping.as_json())
    assert [(draft["question"], draft["answer"]) for draft in batch["drafts"]] == [
        ("How?", 'Like "this"')
    ]
    assert [row["reason"] for row in batch["left_out"]] == ["too_many_cells"]


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


@pytest.mark.parametrize(
    "content",
    [
        {"type": "text", "text": "hello"},
        {"text": "hello"},
        {"content_type": "text", "parts": ["hello"]},
        [{"type": "text", "text": {"value": "hello", "annotations": []}}],
        [{"type": "text", "text": "hello", "image_url": None}],
    ],
)
def test_a_message_whose_text_stands_in_an_object(tmp_path: Path, content: object) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": content}]
    result = read(tmp_path, json_lines([{"messages": turns}]))
    assert result.pairs == [("q", "hello")]
    assert result.understood["preview"][0]["cells"] == ["user: q assistant: hello"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"score": 1}, "not_a_conversation"),
        (True, "not_a_conversation"),
        ({"text": {"score": 1}}, "not_a_conversation"),
        ({"type": ["text"]}, "uses_pictures"),
        ({"type": "image_url", "image_url": "x"}, "uses_pictures"),
        ([{"inlineData": {"data": "x"}}], "uses_pictures"),
        ([{"functionCall": {"name": "x"}}], "uses_tools"),
        ([{"type": "tool_use", "name": "x"}], "uses_tools"),
    ],
)
def test_a_message_that_is_no_text_is_never_learned_as_one(
    tmp_path: Path, content: object, reason: str
) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": content}]
    assert read(tmp_path, json_lines([{"messages": turns}])).reasons == [(1, reason)]


def test_gemini_contents(tmp_path: Path) -> None:
    contents = [
        {"role": "user", "parts": [{"text": "q"}]},
        {"role": "model", "parts": [{"text": "in"}, {"text": "parts"}]},
    ]
    for count in (1, 2):
        result = read(tmp_path, json_lines([{"contents": contents}] * count))
        assert result.roles == ["conversation"]
        assert result.pairs == [("q", "in\nparts")] * count


def test_a_conversation_inside_an_object(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    result = read(tmp_path, json_lines([{"body": {"model": "x", "messages": turns}}]))
    assert result.roles == ["conversation"]
    assert result.pairs == [("q", "a")]


TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a; b, c"}]


def test_conversations_as_json_in_the_cells_of_a_table(tmp_path: Path) -> None:
    cells = StringIO()
    writer = csv.writer(cells)
    for row in (["id", "messages"], [1, json.dumps(TURNS)], [2, "[{"], [3, ""]):
        writer.writerow(row)
    result = read(tmp_path, cells.getvalue())
    assert result.roles == ["ignore", "conversation"]
    assert result.pairs == [("q", "a; b, c")]
    assert result.understood["preview"][0]["cells"][1] == "user: q assistant: a; b, c"
    assert result.reasons == [(3, "not_a_conversation"), (4, "nothing_chosen")]


def test_conversations_as_json_text_in_a_workbook_and_in_json(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    for cell in ("conversations", json.dumps(TURNS)):
        book.active.append([cell])
    path = tmp_path / "chats.xlsx"
    book.save(path)
    assert read_path(path).pairs == [("q", "a; b, c")]
    row = {"conversation": json.dumps({"messages": TURNS})}
    assert read(tmp_path, json_lines([row])).pairs == [("q", "a; b, c")]


def test_an_answer_may_be_json(tmp_path: Path) -> None:
    answer = json.dumps([{"name": "Ann", "role": "engineer"}])
    rows = [{"question": "Who works here?", "answer": answer}]
    assert read(tmp_path, json_lines(rows)).pairs == [("Who works here?", answer)]


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


def test_marked_pairs_with_tabs_as_copied_out_of_word(tmp_path: Path) -> None:
    result = read(tmp_path, "Q:\tWhat?\nA:\tThis.\nQ:\tWho?\nA:\tMe.\nAnd you.\n")
    assert result.pairs == [("What?", "This."), ("Who?", "Me.\nAnd you.")]


def test_a_table_whose_cells_begin_with_marks_stays_a_table(tmp_path: Path) -> None:
    result = read(tmp_path, "Question\tAnswer\nQ: What?\tA: This.\nQ: Who?\tA: Me.\n")
    assert result.pairs == [("Q: What?", "A: This."), ("Q: Who?", "A: Me.")]


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


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("<p>One</p>", True),
        ("One<br>two", True),
        ("I <3 tea", False),
        ("if a <b and c> d: print(x)", False),
    ],
)
def test_html_in_one_row_of_many_is_asked_about_where_it_is_sure(
    tmp_path: Path, answer: str, *, expected: bool
) -> None:
    rows = "".join(f"What is {i}?,It is {i} indeed.\n" for i in range(45))
    result = read(tmp_path, f"question,answer\n{rows}And this?,{answer}\n")
    assert ("html" in result.notes) is expected


def test_html_of_conversations_is_asked_about_and_can_be_removed(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "<b>Be</b> kind."},
        {"role": "user", "content": "<p>One?</p>"},
        {"role": "assistant", "content": [{"type": "text", "text": "Two<br>\r\nthree"}]},
        {"role": "user", "content": "Four?"},
        {"role": "assistant", "content": "<p>Five</p>"},
    ]
    text = json_lines([{"messages": turns}])
    assert "html" in read(tmp_path, text).notes
    [example] = read(tmp_path, text, Mapping([ColumnRole.CONVERSATION], strips_html=True)).examples
    assert (example["question"], example["answer"]) == ("Four?", "Five")
    assert example["instructions"] == "Be kind."
    assert [turn["content"] for turn in example["earlier"]] == ["One?", "Two\n\nthree"]


def test_html_of_preferences_and_of_what_was_said_before_can_be_removed(tmp_path: Path) -> None:
    said = [[{"role": "assistant", "content": f"<p>{word}</p>"}] for word in ("Good", "Bad")]
    pair = {"prompt": TURNS[:1], "chosen": said[0], "rejected": said[1]}
    roles = [ColumnRole.QUESTION, ColumnRole.ANSWER, ColumnRole.REJECTED]
    assert "html" in read(tmp_path, json_lines([pair])).notes
    [example] = read(tmp_path, json_lines([pair]), Mapping(roles, strips_html=True)).examples
    assert (example["answer"], example["rejected"]) == ("Good", "Bad")
    alpaca = {
        "instruction": "a",
        "output": "b",
        "system": "<b>s</b>",
        "history": [["<i>c</i>", "d"]],
    }
    roles = [
        *(ColumnRole.QUESTION, ColumnRole.ANSWER),
        *(ColumnRole.INSTRUCTIONS, ColumnRole.EARLIER),
    ]
    [example] = read(tmp_path, json_lines([alpaca]), Mapping(roles, strips_html=True)).examples
    assert example["instructions"] == "s"
    assert [turn["content"] for turn in example["earlier"]] == ["c", "d"]


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


ROW = {"question": "q", "sources": [{"url": "x", "title": "y"}], "answer": "a"}


@pytest.mark.parametrize(
    "text",
    [
        json_lines([ROW]),
        json.dumps(ROW, indent=2),
        json.dumps({"id": "1", "sources": ROW["sources"], "frage": "q", "antwort": "a"}, indent=2),
        json.dumps(
            {"tools": [{"name": "x"}], "messages": [*TURNS[:1], {**TURNS[1], "content": "a"}]}
        ),
    ],
)
def test_a_list_that_belongs_to_a_row_is_not_the_rows(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).pairs == [("q", "a")]


def test_objects_one_after_another_are_the_rows_whatever_their_names(tmp_path: Path) -> None:
    rows = [{"links": [{"url": "x"}], "eins": f"Wo ist {i}?", "zwei": "Hier."} for i in range(3)]
    result = read(tmp_path, "\n".join(json.dumps(row, indent=2) for row in rows))
    assert result.pairs == [(f"Wo ist {i}?", "Hier.") for i in range(3)]


@pytest.mark.parametrize("name", ["conversations", "messages", "Conversation"])
def test_a_list_of_conversations_is_read_row_by_row(tmp_path: Path, name: str) -> None:
    whole = {"exported_by": "x", name: [{"id": number, "messages": TURNS} for number in (1, 2)]}
    for text in (json.dumps(whole), json.dumps(whole, indent=2)):
        assert read(tmp_path, text).pairs == [("q", "a; b, c")] * 2


def test_what_is_said_beside_the_rows_does_not_hide_them(tmp_path: Path) -> None:
    rows = [{"question": question, "answer": answer} for question, answer in PAIRS]
    beside = {"prompt_template": "t", "response_format": "json", "query": "all", "answers": 2}
    assert read(tmp_path, json.dumps({**beside, "results": rows})).pairs == PAIRS


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


def test_names_that_come_up_late_in_a_json_file_are_columns_too(tmp_path: Path) -> None:
    rows = [{"question": f"q{i}", "answer": f"a{i}"} for i in range(1_100)]
    rows += [{"prompt": f"p{i}", "completion": f"c{i}"} for i in range(50)]
    result = read(tmp_path, json_lines([*rows, {}]))
    assert [column["name"] for column in result.understood["columns"]] == [
        *("question", "answer", "prompt", "completion"),
    ]
    assert all(len(row["cells"]) == 4 for row in result.understood["preview"])
    assert result.understood["columns"][2]["rows"] == 1_151
    assert len(result.examples) == 1_100
    assert result.left_out[0] == {"row": 1_101, "value": "p0 | c0", "reason": "nothing_chosen"}
    assert result.reasons[-1] == (1_151, "empty_row")
    joined = Mapping([ColumnRole.QUESTION, ColumnRole.ANSWER] * 2)
    assert read(tmp_path, json_lines(rows), joined).pairs[-1] == ("p49", "c49")


def test_names_beyond_the_most_that_are_looked_at_are_said_to_be_none(tmp_path: Path) -> None:
    rows = [{"question": "q", "answer": "a", **{f"x{i}": "" for i in range(198)}}, {"late": "text"}]
    result = read(tmp_path, json_lines(rows))
    assert result.pairs == [("q", "a")]
    assert result.left_out == [{"row": 2, "value": '{"late": "text"}', "reason": "nothing_chosen"}]


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
