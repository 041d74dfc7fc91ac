"""Longer texts: summaries, titles, sorted messages and plain stories."""

from __future__ import annotations

from random import Random

from worker.starter.conversation import Message, as_typed, assistant, user
from worker.starter.readings import Fact, facts, told
from worker.starter.topic_files import read_topics
from worker.starter.wording import capitalised, with_article
from worker.starter.world import World

_SUMMARISE = (
    "(summarise|summarize|sum up|please summarise|can you summarise) (this|this text|the text|it)",
    "(summarise|summarize|sum up) (this|this text|the text)( in one sentence| briefly| shortly)",
    "(write|give me|I need|make) a (short |)summary(| of this| of this text| of the text)",
    "(what is|what's) the (main point|most important thing|point) (|of this text|of this|here)",
    "what is this (text |mail |note |)about", "(tell me|say) in one sentence what this says",
    "(put|say) this in one sentence", "in short, what does it say", "the short version, please",
)  # fmt: skip
_SORT = (
    "is this (a question, a complaint, praise or an order|a complaint or a question)",
    "is this (praise or a complaint|a question or a complaint|an order or a question)",
    "what kind of message is this", "(sort|label|classify) this (message|mail|text)",
    "which (label|group|kind) fits this (message|mail|text)", "what does this customer send us",
)  # fmt: skip
_FEELING = (
    "is the customer happy (or not|or unhappy|)", "how does the customer feel",
    "is this customer happy", "is this message good or bad",
)  # fmt: skip


def summary_turns(rng: Random) -> list[Message]:
    style = rng.random()
    if style < 0.7:
        world, topic = World(rng), rng.choice(read_topics("summaries.txt"))
        text, summary = (
            world.sentence(rng.choice(topic.statements)),
            world.sentence(topic.answers[0]),
        )
    elif style < 0.85:
        fact = facts(rng, 1)[0]
        text, summary = told([fact], rng, filler_chance=1.0), fact.short
    else:
        chosen = facts(rng, 2)
        text = told(chosen, rng, filler_chance=0.4)
        summary = " ".join(fact.short for fact in chosen)
    text = _with_chatter(text, rng)
    return [user(_asked_of(text, _SUMMARISE, rng)), assistant(summary)]


def _with_chatter(text: str, rng: Random) -> str:
    """A summary must leave out what does not matter, so some texts get more of that."""
    if rng.random() < 0.25:
        chatter = World(rng).say("(Hello all,|Dear team,|Hi,|Dear colleagues,|Good morning,)")
        text = f"{chatter} {text}"
    if rng.random() < 0.2:
        ending = World(rng).say(
            "(Best wishes, {person9}|Kind regards, {person9}|Thank you!|See you!)"
        )
        text = f"{text} {ending}"
    return text


def _asked_of(text: str, instructions: tuple[str, ...], rng: Random) -> str:
    instruction = World(rng).say(rng.choice(instructions))
    style = rng.random()
    if style < 0.35:
        return f"{capitalised(instruction)}: {text}"
    if style < 0.55:
        return f"{as_typed(instruction, rng)}\n\n{text}"
    if style < 0.75:
        return f"{text}\n\n{as_typed(instruction, rng)}"
    if style < 0.9:
        return f"{text} {as_typed(instruction, rng)}"
    return f"{capitalised(instruction)}:\n{text}"


def sorting_turns(rng: Random) -> list[Message]:
    world, topic = World(rng), rng.choice(read_topics("tickets.txt"))
    message = world.sentence(rng.choice(topic.statements))
    if rng.random() < 0.25:
        message = f'"{message}"'
    label = topic.answers[0]
    if label in ("complaint", "praise") and rng.random() < 0.3:
        answer = "The customer is happy." if label == "praise" else "The customer is not happy."
        return [user(_asked_of(message, _FEELING, rng)), assistant(answer)]
    said = "praise" if label == "praise" else with_article(label)
    return [user(_asked_of(message, _SORT, rng)), assistant(f"This is {said}.")]


def story_turns(rng: Random) -> list[Message]:
    """Plain prose teaches how sentences follow each other."""
    style = rng.random()
    if style < 0.5:
        world, topic = World(rng), rng.choice(read_topics("summaries.txt"))
        story = world.sentence(rng.choice(topic.statements))
        asked = world.say(_STORY_WISHES[topic.name]) if topic.name in _STORY_WISHES else ""
        if asked:
            return [user(as_typed(asked, rng)), assistant(story)]
        return [
            user(_asked_of(story, ("(repeat|copy|say again) (this|the text)",), rng)),
            assistant(story),
        ]
    return _points_turns(facts(rng, rng.choice((2, 3, 4))), rng)


def _points_turns(chosen: list[Fact], rng: Random) -> list[Message]:
    points = "\n".join(f"- {fact.short.rstrip('.')}" for fact in chosen)
    if rng.random() < 0.5:
        wish = rng.choice(("Write a note from these points", "Make a text of these points",
                           "Write this as a text", "Turn the points into sentences"))  # fmt: skip
        return [user(f"{wish}:\n{points}"), assistant(" ".join(fact.short for fact in chosen))]
    wishes = ("(list|name|give me) the (main |)points( of this text|)", "make a list of the points")
    return [user(_asked_of(told(chosen, rng), wishes, rng)), assistant(points)]


_STORY_WISHES = {
    "broken_order": "(tell|write) a (short |)story about {customer} and a broken {thing}",
    "happy": "(tell|write) a (short |)story about {customer} and {a:thing}",
    "lost_thing": "(tell|write) a (short |)story about {person}, who lost {a:thing}",
    "help_friend": "(tell|write) a (short |)story about {person}, {person2} and a key",
    "shop_opens": "(tell|write) a (short |)story about {person}, who opens {a:shop_kind} in {city}",
    "stock_low": "(tell|write) a (short |)story about {person}, who counts {things}",
    "plan_trip": "(tell|write) a (short |)story about {person} and {person2}, who go to {city}",
}
