"""The generator of the practice text: its pattern language and what comes out of it."""

# ruff: noqa: S311 -- seeds make the tests repeat themselves
from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from worker.starter.conversation import as_typed, normalised
from worker.starter.corpus import conversations
from worker.starter.topic_files import read_topics
from worker.starter.wording import expand
from worker.starter.world import World, plural, words


def test_a_choice_takes_one_and_a_slot_is_filled() -> None:
    texts = {expand("(hello|hi) {person}(|!)", Random(seed), str.upper) for seed in range(40)}
    assert texts == {"hello PERSON", "hello PERSON!", "hi PERSON", "hi PERSON!"}


def test_choices_may_stand_inside_choices() -> None:
    texts = {expand("(a (b|c)|d)", Random(seed), str) for seed in range(40)}
    assert texts == {"a b", "a c", "d"}


@pytest.mark.parametrize("template", ["(one|two", "one) two"])
def test_a_bracket_without_its_partner_is_an_error(template: str) -> None:
    with pytest.raises(ValueError, match="template"):
        expand(template, Random(1), str)


def test_a_slot_keeps_its_word_and_a_second_one_differs() -> None:
    world = World(Random(1))
    text = world.say("{person} {person} {person2}").split()
    assert text[0] == text[1] != text[2]


def test_an_unknown_slot_is_an_error() -> None:
    with pytest.raises(KeyError, match="does not exist"):
        World(Random(1)).say("{nonsense}")


def test_articles_and_plurals_fit_their_words() -> None:
    assert expand("{a:thing}", Random(1), lambda _: "umbrella") == "an umbrella"
    assert expand("{a:thing}", Random(1), lambda _: "lamp") == "a lamp"
    assert [plural(noun) for noun in ("box", "bread knife", "battery")] == [
        "boxes",
        "bread knives",
        "batteries",
    ]


def test_a_typed_question_keeps_its_words() -> None:
    for seed in range(30):
        assert normalised(as_typed("when do you open", Random(seed))) == "when do you open"


@pytest.mark.parametrize("file_name", ["shop.txt", "office.txt", "small_talk.txt", "outside.txt"])
def test_every_topic_has_questions_and_answers(file_name: str) -> None:
    for topic in read_topics(file_name):
        assert topic.questions, topic.name
        assert topic.answers, topic.name


def test_every_line_of_the_topic_files_can_be_said() -> None:
    for file_name in ("shop.txt", "office.txt", "small_talk.txt", "outside.txt", "events.txt"):
        for topic in read_topics(file_name):
            world = World(Random(3))
            for line in [*topic.questions, *topic.statements, *topic.answers, *topic.short_forms]:
                assert world.say(line)


def test_nothing_of_the_pattern_language_is_left_in_the_text() -> None:
    for conversation in islice(conversations(8), 4_000):
        for message in conversation.messages:
            assert message.content.strip()
            assert not set("{}|") & set(message.content)


def test_conversations_take_turns_and_end_with_an_answer() -> None:
    for conversation in islice(conversations(9), 2_000):
        roles = [message.role for message in conversation.messages if message.role != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2)


def test_held_out_words_are_unknown_to_the_word_lists() -> None:
    known = {word.lower() for entries in words().values() for word in entries}
    assert not {"hammock", "accordion", "ottilie", "fabienne", "aberdeen"} & known
