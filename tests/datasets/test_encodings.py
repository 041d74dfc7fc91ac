"""Encodings are found out and said."""

from pathlib import Path

import pytest

from app.datasets.mapping import proposed_mapping
from app.datasets.reader_process import inspect_file, read_file
from app.datasets.readers.encodings import find_encoding
from app.datasets.wording import OFFERED_ENCODINGS, format_words
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


GERMAN_FROM_DOS = (
    "Frage;Antwort\nWann öffnet das Büro?;Es öffnet täglich früh, außer an Feiertagen.\n"
    "Wie ändere ich die Größe?;Über das Menü, wählen Sie später „Prüfen“.\n"
)
POLISH = (
    "pytanie;odpowiedź\nGdzie jest książka?;Leży na półce, obok łóżka.\n"
    "Czy mogę zapłacić później?;Tak, możesz zapłacić w ciągu 14 dni, są też raty.\n"
)
FRENCH = (
    "question;réponse\nOù est le colis ?;Il a été expédié là où vous êtes.\n"
    "C’est déjà terminé ?;Bientôt, ça va être réglé, voilà.\n"
)


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("cp850", GERMAN_FROM_DOS.replace("„", "'").replace("“", "'")),
        ("cp850", FRENCH.replace("’", "'")),
        ("cp850", "Frage;Antwort\nWie löse ich es?;So\n"),
        ("cp850", "Frage;Antwort\nWann ist das Büro besetzt?;Immer früh, natürlich für alle.\n"),
        ("mac_roman", GERMAN_FROM_DOS),
        ("mac_roman", FRENCH),
        ("iso8859_2", POLISH),
        ("iso8859_2", "otázka;odpověď\nKde je můj balík?;Doručíme jej příští týden, děkujeme.\n"),
        ("cp1250", POLISH),
        ("cp1252", GERMAN_FROM_DOS),
        ("cp1252", FRENCH),
        ("cp1252", "question,answer\nCan’t I?,It’s fine – don’t…wait—we’re “here”\n"),
    ],
)
def test_letters_in_the_middle_of_words_tell_the_encoding(
    tmp_path: Path, codec: str, text: str
) -> None:
    result = read(tmp_path, text.encode(codec))
    assert result.understood["encoding"] == codec
    assert result.left_out == []
    assert f"written in {OFFERED_ENCODINGS[codec]}" in format_words(result.understood)


def test_a_chosen_encoding_is_kept_for_the_import(tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes("otázka;odpověď\nKde je můj balík?;Příští týden.\n".encode("cp1250"))
    understood = inspect_file(path, "cp1250")
    [batch] = read_file(path, understood["plan"], proposed_mapping(understood).as_json())
    assert batch["drafts"][0]["answer"] == "Příští týden."


def test_every_offered_encoding_is_known_to_python() -> None:
    assert all("".encode(codec) == b"" for codec in OFFERED_ENCODINGS)


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
