"""Names that people give to their columns, in several languages."""

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from app.datasets.readers.records import ColumnRole


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_QUESTION: Final = _words(
    """
    question questions q query prompt prompts user customer client ask inquiry enquiry utterance
    frage fragen kunde kunden kundin kundenfrage anfrage anliegen eingabe nutzer benutzer nachricht
    demande utilisateur pregunta preguntas consulta usuario cliente domanda domande utente
    vraag vragen klant pergunta perguntas pytanie pytania klient fråga frågor spørgsmål spørsmål
    kysymys otázka soru вопрос вопросы запрос питання 问题 提问 質問 질문 سؤال
    """
)
_ANSWER: Final = _words(
    """
    answer answers a response responses reply replies completion completions output outputs
    assistant agent solution resolution target
    antwort antworten lösung ausgabe rückmeldung support
    réponse réponses reponse respuesta respuestas risposta risposte antwoord antwoorden resposta
    respostas odpowiedź odpowiedzi svar vastaus odpověď cevap yanıt ответ ответы відповідь
    回答 答案 回复 返答 답변 جواب
    """
)
_KIND: Final = _words(
    """
    label labels category categories class intent tag kind topic type sentiment
    kategorie klasse thema etikett absicht catégorie categorie categoría categoria kategoria
    etiqueta etichetta категория 类别 标签 カテゴリ
    """
)
_THUMB: Final = _words(
    """
    thumb thumbs feedback rating liked like vote upvote helpful
    daumen bewertung gefällt pouce avis pulgar valoración
    """
)
_CHOSEN: Final = _words("chosen preferred better good bevorzugt")
_REJECTED: Final = _words("rejected dispreferred nonpreferred worse bad abgelehnt")
_ANSWER_WORDS: Final = _words("answer response output completion reply antwort")
_INSTRUCTIONS: Final = _words(
    """
    system instructions systemprompt sysprompt persona anweisung anweisungen vorgabe consignes
    instrucciones istruzioni
    """
)
_FURTHER: Final = _words("input context kontext contexte contexto contesto document")
_TEXT: Final = _words(
    """
    text texts content contents body sentence passage article paragraph texte texto testo
    inhalt tekst текст 文本
    """
)
_CONVERSATION: Final = _words("messages conversations conversation dialog dialogue turns chat")
_EARLIER: Final = _words("history earlier verlauf")
# Names of persons: in such a column stands what they said, or only who they are.
_PERSONS: Final = _words(
    """
    user customer client assistant agent support kunde kunden kundin nutzer benutzer
    utilisateur usuario cliente utente klant klient
    """
)
# In a name of several words, these say that something is told about the question or the answer,
# and not what it is.
_ABOUT: Final = _words(
    """
    id ids uuid index nr no num number numbers nummer número numéro numero номер
    name names vorname nachname nom nombre nome naam имя имени
    email emails mail mails phone telefon address adresse url urls uri link links
    date dates datum fecha дата time times timestamp zeit uhrzeit hora heure created updated
    by level count counts anzahl length länge size tokens status
    """
)

_DELIMITERS: Final = re.compile(r"[,;|\t]")
_SEPARATORS: Final = re.compile(r"[\s_\-./:()\[\]#*\"']+")


def normalised(name: str) -> str:
    """A name without stray blanks, marks, case and separators."""
    return _SEPARATORS.sub(" ", name.replace("\ufeff", "").replace("\x00", "")).strip().casefold()


class Certainty(IntEnum):
    """How surely a name says that its column holds what is asked or answered."""

    PERSON = 0
    """It names a person, who may have said it."""
    PART = 1
    """One word of several says it."""
    WHOLE = 2


@dataclass(frozen=True, slots=True)
class Meaning:
    group: str
    """Which group of names it belongs to; "" if none."""
    certainty: Certainty = Certainty.WHOLE


_NO_MEANING: Final = Meaning("")


def meaning_of(name: str) -> Meaning:
    """Return what a column's name says that it holds."""
    whole = normalised(name)
    meaning = _known_meaning(whole)
    words = set(whole.split())
    is_about = len(words) > 1 and bool(words & _ABOUT)
    # The name of a category is the category.
    return _NO_MEANING if is_about and meaning.group != "kind" else meaning


def is_known_name(name: str) -> bool:
    """Say whether it is a name such as people give to a column of a table with questions."""
    if len(name) > 60 or name.rstrip().endswith((".", "?", "!")):
        return False
    # Several names with a delimiter between them are no name.
    return not _DELIMITERS.search(name.strip()) and _known_meaning(normalised(name)).group != ""


def _known_meaning(whole: str) -> Meaning:
    if whole in {"instruction", "instruct"}:
        return Meaning("instruction")
    if whole in {"system prompt", "system message"}:
        return Meaning(ColumnRole.INSTRUCTIONS)
    if group := _judged_answer(whole):
        return Meaning(group)
    if group := _group_of_word(whole):
        return Meaning(group, Certainty.PERSON if whole in _PERSONS else Certainty.WHOLE)
    return _meaning_of_a_word(whole)


def _meaning_of_a_word(whole: str) -> Meaning:
    """Recognise one of a few words. The last one tells most; a reply to a customer is a reply."""
    words = [word for word in whole.split() if len(word) > 3 or not word.isascii()][::-1]
    for word in sorted(words, key=lambda word: word in _PERSONS) if len(words) <= 4 else ():
        if group := _group_of_word(word):
            return Meaning(group, Certainty.PERSON if word in _PERSONS else Certainty.PART)
    return _NO_MEANING


def _judged_answer(whole: str) -> str:
    """Recognise the better and the worse of two answers; both names may say that it is one."""
    words = set(whole.replace("non preferred", "nonpreferred").split())
    judged = words - _ANSWER_WORDS
    if len(judged) != 1:
        return ""
    if judged <= _REJECTED:
        return ColumnRole.REJECTED
    return "chosen" if judged <= _CHOSEN else ""


def _group_of_word(word: str) -> str:
    groups = (
        (ColumnRole.QUESTION, _QUESTION),
        (ColumnRole.ANSWER, _ANSWER),
        ("kind", _KIND),
        (ColumnRole.THUMB, _THUMB),
        (ColumnRole.INSTRUCTIONS, _INSTRUCTIONS),
        ("further", _FURTHER),
        ("text", _TEXT),
        (ColumnRole.CONVERSATION, _CONVERSATION),
        (ColumnRole.EARLIER, _EARLIER),
    )
    for group, names in groups:
        if word in names:
            return group
    if len(word) > 6 and word.endswith(("frage", "question")):
        return ColumnRole.QUESTION
    if len(word) > 8 and word.endswith(("antwort", "answer", "response")):
        return ColumnRole.ANSWER
    return ""
