"""Encodings are found out and said."""

from pathlib import Path

import pytest

from app.datasets.readers.encodings import find_encoding
from app.datasets.wording import format_words
from tests.support.uploads import read

GERMAN = "frage;antwort\nWie schön?;Sehr schön, für 50 € „übrigens“\nWo?;Über der Straße\n"
GERMAN_PAIRS = [("Wie schön?", "Sehr schön, für 50 € „übrigens“"), ("Wo?", "Über der Straße")]


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "UTF-8 with a byte order mark"),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16 (little endian)"),
        ("utf-16-be", "UTF-16 (big endian)"),
        ("utf-32", "UTF-32"),
        ("cp1252", "Windows-1252 (Western European)"),
    ],
)
def test_german_in_every_encoding(tmp_path: Path, codec: str, said: str) -> None:
    result = read(tmp_path, GERMAN.encode(codec))
    assert result.pairs == GERMAN_PAIRS
    assert f"written in {said}" in format_words(result.understood)


def test_big_endian_with_its_mark(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xfe\xff" + GERMAN.encode("utf-16-be")).pairs == GERMAN_PAIRS


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("cp1251", "вопрос;ответ\nКак дела сегодня?;Хорошо, большое спасибо\n"),
        (
            "shift_jis",
            """質問,回答
注文はどこですか？,発送しました。明日届きます。
返品できますか？,はい、三十日以内に返品できます。ありがとうございます。
""",
        ),
    ],
)
def test_other_encodings(tmp_path: Path, codec: str, text: str) -> None:
    result = read(tmp_path, text.encode(codec))
    rows = [row.replace(";", ",").split(",", 1) for row in text.replace(", ", "、").splitlines()]
    assert [(q, a.replace(", ", "、")) for q, a in result.pairs] == [(q, a) for q, a in rows[1:]]


_WINDOWS_1252 = [
    bytes([value]).decode("cp1252")
    # Five bytes are none, and two are taken for damaged UTF-8 where they stand alone.
    for value in (*range(0x80, 0xFE),)
    if value not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
]


def test_every_sign_of_windows_1252_alone_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    for sign in _WINDOWS_1252:
        path.write_bytes(f"question,answer\nHow much?,It is {sign} 5 or so.\n".encode("cp1252"))
        assert find_encoding(path).codec == "cp1252", sign


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("cp1252", "Größe;Toleranz\n20 °C ± 2;Maß für Bögen über 5 € „fein“ ¥500 †\n" * 20),
        ("cp1250", "pytanie;odpowiedź\nGdzie jest książka?;Leży na półce, obok łóżka.\n" * 20),
        ("cp1251", "вопрос;ответ\nКак дела сегодня?;Хорошо, большое спасибо\n" * 20),
        ("cp1253", "ερώτηση;απάντηση\nΠού είναι;Είναι εδώ στο τραπέζι\n" * 20),
        ("utf-16-le", "вопрос;ответ\nКак дела сегодня?;Хорошо, спасибо\n"),
        ("utf-16-be", "質問,回答\n注文はどこですか？,発送しました。明日届きます。\n"),
    ],
)
def test_the_alphabet_of_a_file_is_found(tmp_path: Path, codec: str, text: str) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(text.encode(codec))
    found = find_encoding(path).codec
    assert path.read_bytes().decode(found) == text


def test_a_broken_byte_costs_its_row_alone(tmp_path: Path) -> None:
    content = "question,answer\nWie schön?,Sehr\nWas?,Grün".encode() + b"\xff\nWo?,Hier\n"
    result = read(tmp_path, content)
    assert result.pairs == [("Wie schön?", "Sehr"), ("Wo?", "Hier")]
    assert result.reasons == [(3, "broken_character")]
    assert result.left_out[0]["value"] == "Was? | Grün\N{REPLACEMENT CHARACTER}"
    assert "broken_bytes" in result.notes


def test_half_an_emoji_costs_its_row_alone(tmp_path: Path) -> None:
    lines = '{"question":"a","answer":"\\ud83d"}\n{"question":"b","answer":"\\ud83d\\ude00"}\n'
    result = read(tmp_path, lines)
    assert result.pairs == [("b", "\N{GRINNING FACE}")]
    assert result.reasons == [(1, "broken_character")]
