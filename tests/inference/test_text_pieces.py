"""Text as it is written: whole characters, stop words, hostile chat templates."""

import random

import pytest
from transformers import AutoTokenizer

from tests.support.inference import STARTER
from worker.inference.errors import ChatServerError
from worker.inference.template_renderer import TemplateRenderer
from worker.inference.text_stream import Detokeniser, StopWords
from worker.training.answer_places import UnusableConversationError

TEXTS = (
    "Plain words.",
    "Grüße aus Köln — naïve façade",
    "日本語のテキスト、少し。",
    "Family: 👩‍👩‍👧‍👦 and flag 🇳🇴, done",
    "  spaces   and\n\nlines\t",
    "",
)


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_are_whole_characters_and_make_the_whole_text(text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(STARTER)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    detokeniser = Detokeniser(lambda some: str(tokenizer.decode(list(some))))
    pieces = [detokeniser.add(token) for token in ids]
    assert "".join([*pieces, detokeniser.finish()]) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_half_a_character_at_the_end_is_not_lost() -> None:
    tokenizer = AutoTokenizer.from_pretrained(STARTER)
    ids = tokenizer("Hi 👩", add_special_tokens=False)["input_ids"][:-1]
    detokeniser = Detokeniser(lambda some: str(tokenizer.decode(list(some))))
    shown = "".join([detokeniser.add(token) for token in ids])
    assert shown == "Hi "
    assert shown + detokeniser.finish() == tokenizer.decode(ids)


def test_stop_words_however_the_text_is_cut() -> None:
    chance = random.Random(3)  # noqa: S311 (cuts a text into pieces)
    text = "one two three STOP four STO five STOP six"
    for _ in range(200):
        words = StopWords(["STOP", "never"])
        shown, position = "", 0
        while position < len(text):
            end = position + chance.randint(1, 7)
            shown += words.add(text[position:end])
            position = end
        assert shown + words.finish() == "one two three "
        assert words.found


def test_what_only_looks_like_a_stop_word_comes_through() -> None:
    words = StopWords(["STOP"])
    shown = words.add("almost STO")
    assert shown == "almost "
    assert shown + words.finish() == "almost STO"


def render(renderer: TemplateRenderer, template: str) -> str:
    request = {
        "template": template,
        "messages": [{"role": "user", "content": "Hello."}],
        "special_tokens": {},
        "options": {"add_generation_prompt": True},
    }
    return str(renderer.render(request)["text"])


def test_hostile_templates_are_stopped_and_the_next_one_works() -> None:
    renderer = TemplateRenderer()
    nested = "{% for a in range(99999) %}" * 6 + "x" + "{% endfor %}" * 6
    try:
        with pytest.raises(ChatServerError, match="did not finish in time"):
            render(renderer, nested)
        with pytest.raises(UnusableConversationError):
            render(renderer, "{{ cycler.__init__.__globals__.os.popen('id').read() }}")
        with pytest.raises((UnusableConversationError, ChatServerError)):
            render(
                renderer, "{% set ns = namespace(x='ab') %}" + "{% set ns.x = ns.x * 9999 %}" * 9
            )
        assert render(renderer, "{{ messages[0].content }}") == "Hello."
    finally:
        renderer.close()
