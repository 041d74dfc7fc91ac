"""Plain text: questions and answers that are marked as such, or passages."""

import re
from collections.abc import Iterator
from typing import Final

from app.datasets.readers.limits import PASSAGE_CHARACTERS
from app.datasets.readers.passages import split_passage
from app.datasets.readers.records import Item, LeftOut, Plan, Reason, Record, shortened
from app.datasets.readers.text_stream import Source, bounded_lines

_LINE_CHARACTERS: Final = 64 * 1024
_BLOCK_CHARACTERS: Final = 16 * PASSAGE_CHARACTERS
_NUMBER: Final = r"\s*\d{0,4}\s*[:.)\]–-]\s*"
_QUESTION_MARK: Final = (
    r"\s*(?:q|question|f|frage|kunde|customer|user|human|pregunta|domanda|vraag|pergunta|вопрос)"
    rf"(?:{_NUMBER})"
)
_ANSWER_MARK: Final = (
    r"\s*(?:a|answer|antwort|reply|support|assistant|agent|bot|respuesta|réponse|risposta|antwoord"
    rf"|resposta|ответ)(?:{_NUMBER})"
)
_QUESTION: Final = re.compile(rf"{_QUESTION_MARK}(?=\S)", re.IGNORECASE)
_ANSWER: Final = re.compile(rf"{_ANSWER_MARK}(?=\S)", re.IGNORECASE)
_MARK_ALONE: Final = re.compile(rf"{_QUESTION_MARK}|{_ANSWER_MARK}", re.IGNORECASE)
_SENTENCE_ENDS: Final = '.!?…:;"”»'


def has_marked_pairs(head: str) -> bool:
    """Say whether the text is made of `Q: … A: …`."""
    lines = [line for line in head.splitlines() if line.strip()]
    questions = sum(_QUESTION.match(line) is not None for line in lines)
    answers = sum(_ANSWER.match(line) is not None for line in lines)
    return min(questions, answers) >= 1 and questions + answers >= max(2, 0.15 * len(lines))


def is_mark(text: str) -> bool:
    """Say whether a text is a mark such as `Q:` and nothing else."""
    return _MARK_ALONE.fullmatch(text) is not None


def read_pairs(source: Source, plan: Plan) -> Iterator[Item]:
    """Yield [question, answer] records; text before the first question is passed over."""
    with source.open_text(plan.encoding) as stream:
        start, texts, side = 0, ["", ""], 0
        for line in bounded_lines(stream, _LINE_CHARACTERS):
            question, answer = _QUESTION.match(line.text), _ANSWER.match(line.text)
            if question and (side == 1 or not start):
                if start:
                    yield _pair(start, texts)
                start, texts, side = line.number, [line.text[question.end() :], ""], 0
            elif answer and start and side == 0:
                texts[1], side = line.text[answer.end() :], 1
            elif start and len(texts[side]) < 4 * _LINE_CHARACTERS:
                texts[side] += line.text
        if start:
            yield _pair(start, texts)


def read_passages(source: Source, plan: Plan) -> Iterator[Item]:
    """Yield [passage] records: blocks between empty lines; a heading stays with what follows."""
    with source.open_text(plan.encoding) as stream:
        start, held, number = 0, "", 0
        while text := stream.readline(_LINE_CHARACTERS):
            number += text.endswith(("\n", "\r")) or not held
            if text.strip():
                start = start or number
                held += text
                if len(held) > _BLOCK_CHARACTERS:
                    *done, held = split_passage(held)
                    yield from (Record(start, [piece]) for piece in done)
                    start = number
            elif held and not _is_heading(held):
                yield Record(start, [held.strip()])
                start, held = 0, ""
            elif held:
                held += "\n"
        if held.strip():
            yield Record(start, [held.strip()])


def _pair(row: int, texts: list[str]) -> Item:
    question, answer = (text.strip() for text in texts)
    if not answer:
        return LeftOut(row, shortened(question), Reason.EMPTY_ANSWER)
    return Record(row, [question, answer])


def _is_heading(block: str) -> bool:
    text = block.strip()
    return len(text) < 80 and "\n" not in text and not text.endswith(tuple(_SENTENCE_ENDS))
