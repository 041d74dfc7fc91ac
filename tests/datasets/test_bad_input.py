"""Bad input ends in a sentence, and what is readable stays usable."""

import json
import os
import stat
import zipfile
from pathlib import Path

import openpyxl
import pytest

from app.datasets.reader_process import inspect_file
from app.datasets.readers.problems import UnreadableFileError
from app.datasets.wording import note_sentences, notices
from tests.support.uploads import read, read_path

TABLE = "question,answer\n" + "".join(f"Question {i}?,Answer {i}.\n" for i in range(50))


def _problem(folder: Path, content: bytes | str) -> UnreadableFileError:
    with pytest.raises(UnreadableFileError) as caught:
        read(folder, content)
    for sentence in (caught.value.what, caught.value.why, caught.value.next_step):
        assert sentence.endswith(".")
        assert "Traceback" not in sentence
        assert "Error" not in sentence
    return caught.value


@pytest.mark.parametrize("content", [b"", b"\n\n  \n", b"\xef\xbb\xbf", b"\xff\xfe"])
def test_an_empty_file(tmp_path: Path, content: bytes) -> None:
    assert _problem(tmp_path, content).what == "This file is empty."


def test_names_and_nothing_below(tmp_path: Path) -> None:
    assert "no rows" in _problem(tmp_path, "question,answer\n").what


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    assert "does not hold text" in _problem(tmp_path, os.urandom(50_000)).what
    assert "empty" in _problem(tmp_path, bytes(50_000)).what


@pytest.mark.parametrize(
    ("beginning", "kind"),
    [
        (b"%PDF-1.7\n", "PDF"),
        (b"\x89PNG\r\n\x1a\n", "picture"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Excel"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"{\\rtf1", "RTF"),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path: Path, beginning: bytes, kind: str) -> None:
    assert kind in _problem(tmp_path, beginning + b"some more").what


def test_an_unclosed_quote_costs_its_row_alone(tmp_path: Path) -> None:
    result = read(tmp_path, TABLE.replace("Question 7?", '"Question 7?'))
    assert len(result.examples) == 49
    assert result.reasons == [(9, "unclosed_quote")]


def test_an_unclosed_quote_in_the_first_row(tmp_path: Path) -> None:
    result = read(tmp_path, TABLE.replace("Question 0?", '"Question 0?'))
    assert len(result.examples) == 49
    assert result.reasons == [(2, "unclosed_quote")]


def test_an_unclosed_quote_in_a_short_table(tmp_path: Path) -> None:
    result = read(tmp_path, 'Question,Answer\n"Where is it?,Here\nNo,end\n')
    assert result.pairs == [("No", "end")]
    assert result.reasons == [(2, "unclosed_quote")]


@pytest.mark.timeout(60)
def test_many_unclosed_quotes_end_in_time(tmp_path: Path) -> None:
    rows = "".join(f'"a{i}" "b,c\n"d,e\n' for i in range(5_000))
    result = read(tmp_path, "question,answer\ngood,row\n" + rows)
    assert result.pairs[0] == ("good", "row")
    assert len(result.examples) == 5_001
    assert result.reasons == [(5_003, "unclosed_quote")]


@pytest.mark.parametrize(("delimiter", "damaged"), [(",", 21), (",", 60), (";", 21), (";", 60)])
def test_damaged_rows_cost_themselves_alone_however_many(
    tmp_path: Path, delimiter: str, damaged: int
) -> None:
    rows = [
        f"Can I have {i}?{delimiter}Yes"
        + (f"{delimiter} gladly{delimiter} {i}" if i % 100 < damaged else "")
        for i in range(100)
    ]
    result = read(tmp_path, "\n".join([f"question{delimiter}answer", *rows]))
    if damaged > 50:
        # Most rows have more cells than names: that is how the file is written, and no damage.
        assert len(result.examples) == 100
        assert result.pairs[7] == ("Can I have 7?", f"Yes{delimiter} gladly{delimiter} 7")
        assert "surplus_of_texts" in result.notes
    else:
        assert len(result.examples) == 100 - damaged
        assert {reason for _, reason in result.reasons} == {"too_many_cells"}


def test_commas_without_quotation_marks_cut_no_text(tmp_path: Path) -> None:
    rows = """How do I reset it?,Open the menu, choose Reset and wait.,settings
Hello, where is it?,On its way, I think.,delivery
Is it 4,90 €?,No.,prices
"""
    result = read(tmp_path, "question,answer,topic\n" + rows)
    assert result.pairs == [
        ("How do I reset it?", "Open the menu, choose Reset and wait."),
        ("Hello, where is it?", "On its way, I think."),
    ]
    assert result.reasons == [(4, "too_many_cells")]
    [kind] = [kind for kind, text in notices(result.understood) if "commas stand inside" in text]
    assert kind == "attention"


def test_commas_in_an_answer_after_which_blanks_always_follow(tmp_path: Path) -> None:
    rows = "How?, Open the menu, choose Reset, and wait\nWhen?, Now, or later\nWho?, You, and I\n"
    result = read(tmp_path, "question, answer\n" + rows)
    assert result.pairs[:2] == [
        ("How?", "Open the menu, choose Reset, and wait"),
        ("When?", "Now, or later"),
    ]
    assert "surplus_of_last" in result.notes


@pytest.mark.parametrize(
    ("last", "is_said"), [("billing and invoices", True), ("17", False), ("2026-11-23", False)]
)
def test_a_column_of_text_without_a_name_wants_attention(
    tmp_path: Path, last: str, *, is_said: bool
) -> None:
    rows = "".join(f"How much is {i}?,It is {i} or so.,{last}\n" for i in range(9))
    result = read(tmp_path, "question,answer\n" + rows)
    assert result.roles == ["question", "answer", "ignore"]
    assert len(result.examples) == 9
    assert ("surplus_of_unnamed" in result.notes) is is_said
    note_sentences(result.understood)


def test_empty_cells_beyond_the_names_mean_nothing(tmp_path: Path) -> None:
    result = read(tmp_path, "question,answer\nHow?,So,\nWhy?,Because,\n")
    assert result.pairs == [("How?", "So"), ("Why?", "Because")]
    assert not {note for note in result.notes if note.startswith("surplus")}


def test_commas_in_a_table_of_one_column(tmp_path: Path) -> None:
    result = read(tmp_path, "text\nHello, this is one, and long.\nAnother one.\nA third, then\n")
    texts = [example["answer"] for example in result.examples]
    assert texts == ["Hello, this is one, and long.", "Another one.", "A third, then"]


def test_a_row_with_too_many_cells_is_never_cut(tmp_path: Path) -> None:
    result = read(tmp_path, TABLE + "Hello?,There, friend\n")
    assert result.reasons == [(52, "too_many_cells")]
    assert len(result.examples) == 50


def test_empty_cells_are_reported_by_row(tmp_path: Path) -> None:
    result = read(tmp_path, TABLE + ",\nQ?,\n,A\n")
    assert result.reasons == [(52, "empty_row"), (53, "empty_answer"), (54, "empty_question")]


def test_half_a_json_file_gives_its_whole_rows(tmp_path: Path) -> None:
    whole = json.dumps([{"question": f"q{i}", "answer": f"a{i}"} for i in range(100)])
    result = read(tmp_path, whole[:2221])
    assert len(result.examples) == 59
    assert result.reasons == [(60, "file_ends_inside")]


def test_half_a_json_lines_file_gives_its_whole_rows(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({"prompt": f"q{i}", "completion": f"a{i}"}) for i in range(100))
    result = read(tmp_path, lines[:2222])
    assert result.reasons == [(len(result.examples) + 1, "file_ends_inside")]


def test_damaged_json_rows_cost_themselves_alone(tmp_path: Path) -> None:
    damaged = '{"question":nope,"x":[1,"]"]}'
    result = read(
        tmp_path, f'[{{"question":"a","answer":"b"}},{damaged},{{"question":"d","answer":"e"}}]'
    )
    assert result.pairs == [("a", "b"), ("d", "e")]
    assert result.reasons == [(2, "not_json")]
    lines = read(tmp_path, '{"question":"a","answer":"b"}\nnope\n[1,2,3]\n')
    assert lines.reasons == [(2, "not_json"), (3, "not_an_object")]


def test_json_nested_without_end(tmp_path: Path) -> None:
    result = read(tmp_path, '{"question":' + "[" * 100_000 + '\n{"question":"q","answer":"a"}\n')
    assert result.pairs == [("q", "a")]
    assert result.reasons == [(1, "nested_too_deeply")]
    assert _problem(tmp_path, "[" * 200_000)


@pytest.mark.parametrize(
    "content",
    [
        '{"ids":[1,2},"data":[{"question":"q","answer":"a"}]}',
        '{"data":[{"question":"q","answer":"a"}],"ids":[1,2}',
    ],
)
def test_a_list_that_ends_with_the_wrong_bracket_is_passed(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, content).pairs == [("q", "a")]


def test_a_number_of_a_million_digits(tmp_path: Path) -> None:
    digits = "9" * 100_000
    assert read(tmp_path, f'{{"question":"q","answer":{digits}}}\n').pairs == [("q", digits)]


@pytest.mark.parametrize("kind", ["table", "lines"])
def test_a_first_row_of_50_megabytes_costs_itself_alone(tmp_path: Path, kind: str) -> None:
    huge = "x" * 50_000_000
    content = {
        "table": f"question,answer\n{huge},y\na,b\nc,d\n",
        "lines": f'{{"question":"{huge}"}}\n{{"question":"a","answer":"b"}}\n'
        '{"question":"c","answer":"d"}\n',
    }[kind]
    result = read(tmp_path, content)
    assert result.pairs == [("a", "b"), ("c", "d")]
    assert [reason for _, reason in result.reasons] == ["line_too_long"]


def test_a_long_first_answer_is_read_like_any_other(tmp_path: Path) -> None:
    long = "A long story. " * 12_000
    assert read(tmp_path, f"question,answer\nWhy?,{long}\nHow?,Well\n").pairs == [
        ("Why?", long.strip()),
        ("How?", "Well"),
    ]


@pytest.mark.parametrize("kind", ["table", "lines", "array"])
def test_one_line_of_50_megabytes(tmp_path: Path, kind: str) -> None:
    huge = "x" * 50_000_000
    content = {
        "table": f"question,answer\na,b\n{huge},y\nc,d\n",
        "lines": f'{{"question":"a","answer":"b"}}\n{{"question":"{huge}"}}\n'
        '{"question":"c","answer":"d"}\n',
        "array": f'[{{"question":"a","answer":"b"}},\n{{"question":"{huge}"}},\n'
        '{"question":"c","answer":"d"}]',
    }[kind]
    result = read(tmp_path, content)
    assert result.pairs == [("a", "b"), ("c", "d")]
    assert len(result.left_out) == 1
    assert result.left_out[0]["reason"] in {"line_too_long", "too_long"}


def test_nothing_but_one_line_of_50_megabytes(tmp_path: Path) -> None:
    assert "one long line" in _problem(tmp_path, "x" * 50_000_000).why


def _archive(folder: Path, members: dict[str, bytes], link: str = "") -> bytes:
    path = folder / "made.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        if link:
            entry = zipfile.ZipInfo(link)
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, "/etc/passwd")
    return path.read_bytes()


WORKBOOK = {"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"}


def test_a_workbook_that_unpacks_without_end(tmp_path: Path) -> None:
    bomb = _archive(tmp_path, {**WORKBOOK, "xl/worksheets/sheet1.xml": bytes(200_000_000)})
    assert len(bomb) < 1_000_000
    assert "Unpacked, it would grow" in _problem(tmp_path, bomb).why


@pytest.mark.parametrize(
    ("members", "link", "why"),
    [
        ({"xl/more.zip": b"x"}, "", "further archives"),
        ({"../../evil.xml": b"x"}, "", "outside of the file"),
        ({}, "xl/link.xml", "link to another file"),
        ({}, "", "missing or damaged"),
    ],
)
def test_workbooks_that_are_not_opened(
    tmp_path: Path, members: dict[str, bytes], link: str, why: str
) -> None:
    assert why in _problem(tmp_path, _archive(tmp_path, {**WORKBOOK, **members}, link)).why


def test_other_archives_are_named(tmp_path: Path) -> None:
    assert "packed folder" in _problem(tmp_path, _archive(tmp_path, {"a.csv": b"a,b"})).what
    word = _archive(tmp_path, {"word/document.xml": b"<x/>"})
    problem = _problem(tmp_path, word)
    assert "Word document" in problem.what
    assert "save" in problem.next_step.lower()


def test_a_workbook_with_a_cell_at_the_end_of_the_world(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    workbook.active["A1"] = "question"
    workbook.active["XFD1048576"] = "far"
    path = tmp_path / "source"
    workbook.save(path)
    with pytest.raises(UnreadableFileError) as caught:
        read_path(path)
    assert "memory or time" in caught.value.what


def test_the_readers_environment_holds_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "environment"
    monkeypatch.setenv("TAILOR_DATABASE_PASSWORD", "secret")
    # The child's Python runs this at start, if it is told of it: the allow-list keeps that away.
    (tmp_path / "sitecustomize.py").write_text(f"open({str(seen)!r}, 'w').write('x')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    source = tmp_path / "source"
    source.write_text(TABLE)
    assert inspect_file(source)["row_count"] == 50
    assert not seen.exists()
