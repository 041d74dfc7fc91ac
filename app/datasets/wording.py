"""The sentences behind the codes that readers and imports use, in one place."""

from typing import Any, Final

from app.datasets.readers.records import ColumnRole, FileFormat, Reason, without_lone_surrogates

_REASONS: Final = {
    Reason.EMPTY_ROW: "The row is empty.",
    Reason.NOTHING_CHOSEN: "No text to learn stands in the columns that were chosen.",
    Reason.EMPTY_QUESTION: "The question is empty.",
    Reason.EMPTY_ANSWER: "The answer is empty.",
    Reason.NO_QUESTION: "There is an answer without a question before it.",
    Reason.NO_ANSWER: "There is no answer in it.",
    Reason.NOT_A_CONVERSATION: "It is not a conversation of questions and answers.",
    Reason.NOT_TO_BE_LEARNED: "An answer in it is marked not to be learned (weight 0), and a "
    "conversation is learned whole.",
    Reason.USES_TOOLS: "It uses tools, which Tailor does not learn.",
    Reason.USES_PICTURES: "It holds pictures or sound; Tailor learns text.",
    Reason.TOO_LONG: "It is longer than 200,000 characters.",
    Reason.LINE_TOO_LONG: "The line is longer than any row can be; its beginning is shown.",
    Reason.BROKEN_CHARACTER: "A character in it is damaged (shown as �).",
    Reason.UNCLOSED_QUOTE: "A quotation mark is opened here and never closed.",
    Reason.TOO_MANY_QUOTES: "From here on, too many quotation marks are never closed; "
    "reading stopped.",
    Reason.TOO_MANY_CELLS: "It has more cells than the table has columns.",
    Reason.NOT_JSON: "It is not valid JSON.",
    Reason.NOT_AN_OBJECT: "Nothing in it says what is a question and what is its answer.",
    Reason.COLUMN_NAMES: "It holds the names of the columns.",
    Reason.NESTED_TOO_DEEPLY: "It is nested too deeply to be read.",
    Reason.FILE_ENDS_INSIDE: "The file ends in the middle of this row.",
    Reason.EMPTY_KIND: "It does not say to which kind it belongs.",
    Reason.LONG_KIND: "The name of its kind is longer than 80 characters.",
    Reason.NO_SECOND_ANSWER: "The answer that people like less is missing.",
    Reason.SAME_ANSWERS: "Both answers are the same, so neither is better.",
    Reason.DIFFERENT_QUESTIONS: "Its two conversations differ before the last answer already.",
    Reason.NO_THUMB: "It does not say whether people liked the answer.",
    Reason.EXACT_COPY: "It is an exact copy of another example.",
}
_FORMATS: Final = {
    FileFormat.DELIMITED: "a table in text form (CSV)",
    FileFormat.SPREADSHEET: "an Excel workbook",
    FileFormat.JSON: "a JSON file",
    FileFormat.JSON_LINES: "a JSON Lines file",
    FileFormat.TEXT: "plain text",
    FileFormat.PAIRS: "plain text with marked questions and answers",
    FileFormat.MARKDOWN: "a Markdown document",
}
_DELIMITERS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
OFFERED_ENCODINGS: Final = {
    "utf-8": "UTF-8",
    "cp1252": "Windows-1252 (Western European)",
    "cp850": "MS-DOS 850 (Western European)",
    "mac_roman": "Mac Roman (Western European)",
    "cp1250": "Windows-1250 (Central European)",
    "iso8859_2": "ISO 8859-2 (Central European)",
    "cp1251": "Windows-1251 (Cyrillic)",
    "koi8_r": "KOI8-R (Cyrillic)",
    "iso8859_5": "ISO 8859-5 (Cyrillic)",
    "cp1253": "Windows-1253 (Greek)",
    "cp1254": "Windows-1254 (Turkish)",
    "cp1255": "Windows-1255 (Hebrew)",
    "cp1256": "Windows-1256 (Arabic)",
    "cp1257": "Windows-1257 (Baltic)",
    "cp932": "Shift JIS (Japanese)",
    "euc_jp": "EUC-JP (Japanese)",
    "gb18030": "GB 18030 (Chinese)",
    "big5": "Big5 (Chinese)",
    "cp949": "Windows-949 (Korean)",
}
"""Those that can be guessed wrong, so that people may choose another; the likelier ones first."""
_ENCODINGS: Final = {
    **OFFERED_ENCODINGS,
    "utf-8-sig": "UTF-8 with a byte order mark",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16 (little endian)",
    "utf-16-be": "UTF-16 (big endian)",
    "utf-32": "UTF-32",
}
ROLE_NAMES: Final = {
    ColumnRole.QUESTION: "Question",
    ColumnRole.ANSWER: "Answer",
    ColumnRole.INSTRUCTIONS: "Instructions",
    ColumnRole.PASSAGE: "Text to learn as a whole",
    ColumnRole.CONVERSATION: "Conversation",
    ColumnRole.EARLIER: "Earlier turns of the conversation",
    ColumnRole.REJECTED: "Answer that people like less",
    ColumnRole.THUMB: "Thumb up or down",
    ColumnRole.KIND: "Kind, to sort by",
    ColumnRole.IGNORE: "Leave out",
}
_NOTES: Final = {
    "no_header": "There are no column names in the first row, so the first row is an example too.",
    "surplus_of_texts": "In most rows, {delimiter} stand inside a text, without quotation marks "
    "around it. Those before a blank are read as part of the text. Look below whether questions "
    "and answers begin and end where they should.",
    "surplus_of_last": "In most rows, {delimiter} stand inside a text, without quotation marks "
    "around it. All that goes on beyond the column names is read as part of the last column.",
    "surplus_of_unnamed": "Most rows have more cells than there are column names. If {delimiter} "
    "belong to a text, it is cut there: put quotation marks around such texts, or save the table "
    "as Excel (.xlsx), and upload it again.",
    "broken_bytes": "{count:,} damaged characters were found. Their rows are left out and listed "
    "in the report.",
    "formulas": "{count:,} cells hold formulas. Their last calculated results are used.",
    "formulas_without_value": "{without_value:,} formulas were never calculated, so their cells "
    "are empty. Open the file in Excel, save it, and upload it again to have them.",
    "other_sheets": "Only the sheet “{sheet}” is read. There are others: {others}. To use one of "
    "them, save it as a file of its own.",
    "sorting": "This looks like sorting into {kinds:,} kinds: short answers that come again "
    "and again. The model can learn to name the kind.",
    "pairs": "There are two answers to each question, and one of them is better. The model can "
    "learn what people prefer.",
    "thumbs": "Each answer has a thumb, up or down. The model can learn what people prefer.",
    "numbers": "{count:,} cells hold just a number or a date. Only its value is read, not how "
    "Excel shows it: “4.90 €” is read as 4.9. To keep the form, make such columns text in Excel.",
    "one_numbers": "One cell holds just a number or a date. Only its value is read, not how Excel "
    "shows it: “4.90 €” is read as 4.9. To keep the form, make such a cell text in Excel.",
    "one_broken_bytes": "One damaged character was found. Its row is left out and listed in the "
    "report.",
    "one_formulas": "One cell holds a formula. Its last calculated result is used.",
    "one_formulas_without_value": "One formula was never calculated, so its cell is empty. Open "
    "the file in Excel, save it, and upload it again to have it.",
    "one_html": "There is HTML in one row, such as <p> or <a href=…>. Decide below whether the "
    "model should learn to write it.",
    "one_some_left_out": "Row {row} cannot be read as it is: {reason} It is listed in the report.",
    "html": "There is HTML in {count:,} rows, such as <p> or <a href=…>. Decide below whether "
    "the model should learn to write it.",
    "long_passages": "The longest text has {characters:,} characters. Long texts are split at "
    "the ends of sentences into pieces of at most {limit:,}.",
    "one_column": "There is only one column of text, so there are no questions and answers. It can "
    "be learned as a whole; for questions and answers, add a second column.",
    "passages": "This is text without questions and answers. The model learns its content and "
    "manner, piece by piece.",
    "no_text_column": "No column holds text that could be learned. Choose below what each column "
    "is for.",
    "some_left_out": "{count:,} rows cannot be read as they are, the first of them row {row}: "
    "{reason} All are listed in the report.",
}

_WANT_ATTENTION: Final = frozenset({"surplus_of_texts", "surplus_of_last", "surplus_of_unnamed"})


def reason_sentence(reason: str) -> str:
    return _REASONS[Reason(reason)]


def format_words(understood: dict[str, Any]) -> str:
    """What was recognised, as half a sentence: "a table in text form (CSV), …"."""
    words = _FORMATS[FileFormat(understood["format"])]
    if understood["delimiter"]:
        words += f", its columns separated by {_DELIMITERS[understood['delimiter']]}"
    if understood["format"] != FileFormat.SPREADSHEET:
        words += f", written in {encoding_words(understood['encoding'])}"
    return words


def encoding_words(codec: str) -> str:
    return _ENCODINGS.get(codec, codec.replace("_", "-").upper())


def may_be_wrong_about_letters(understood: dict[str, Any]) -> bool:
    """Say whether the encoding is a guess, or a person's choice: UTF-8 proves itself."""
    if understood["format"] == FileFormat.SPREADSHEET:
        return False
    codec = understood["encoding"]
    is_guess = codec in OFFERED_ENCODINGS and codec != "utf-8"
    return is_guess or bool(understood.get("encoding_is_chosen"))


def note_sentences(understood: dict[str, Any]) -> list[str]:
    """Everything the maker should know about the file, a sentence or two each."""
    return [sentence for _, sentence in notices(understood)]


def notices(understood: dict[str, Any]) -> list[tuple[str, str]]:
    """The same with the kind of each: a note, or something that wants attention."""
    found = []
    for note in understood["notes"]:
        values = dict(note)
        code = values.pop("code")
        if "delimiter" in values:
            values["delimiter"] = _DELIMITERS[values["delimiter"]]
        if "others" in values:
            values["others"] = ", ".join(f"“{name}”" for name in values["others"])
        if "reason" in values:
            values["reason"] = reason_sentence(values["reason"])
        kind = "attention" if code in _WANT_ATTENTION else "note"
        found.append((kind, _sentence(code, values.get("count"), values)))
        if formulas := values.get("without_value"):
            found.append(("note", _sentence("formulas_without_value", formulas, values)))
    return found


def _sentence(code: str, count: int | None, values: dict[str, Any]) -> str:
    singular = f"one_{code}"
    return _NOTES[singular if count == 1 and singular in _NOTES else code].format(**values)


def shown_name(name: str) -> str:
    """A file's name as it can be shown: no path, no invisible marks, not too long.

    A mark that turns the writing direction can make `gpj.exe` look like `exe.jpg`.
    """
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    visible = "".join(character for character in last if character.isprintable())
    short = " ".join(without_lone_surrogates(visible).split())
    if len(short) > 120:
        short = f"{short[:80]}…{short[-30:]}"
    return short or "a file without a name"
