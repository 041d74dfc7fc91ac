"""Names that people give to their columns, in several languages."""

import re
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

_DELIMITERS: Final = re.compile(r"[,;|\t]")
_SEPARATORS: Final = re.compile(r"[\s_\-./:()\[\]#*\"']+")


def normalised(name: str) -> str:
    """A name without stray blanks, marks, case and separators."""
    return _SEPARATORS.sub(" ", name.replace("\ufeff", "").replace("\x00", "")).strip().casefold()


def group_of(name: str) -> str:
    """Return which group of names it belongs to; "" if none."""
    whole = normalised(name)
    if whole in {"instruction", "instruct"}:
        return "instruction"
    if whole in {"system prompt", "system message"}:
        return ColumnRole.INSTRUCTIONS
    if group := _judged_answer(whole):
        return group
    words = [word for word in whole.split() if len(word) > 3 or not word.isascii()]
    for candidate in (whole, *reversed(words)) if len(words) <= 4 else (whole,):
        if group := _group_of_word(candidate):
            return group
    return ""


def is_known_name(name: str) -> bool:
    """Say whether it is a name such as people give to a column of questions or answers."""
    if len(name) > 60 or name.rstrip().endswith((".", "?", "!")):
        return False
    # Several names with a delimiter between them are no name.
    return not _DELIMITERS.search(name.strip()) and group_of(name) != ""


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
