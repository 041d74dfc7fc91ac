"""Questions with a fixed kind of answer: small talk, the shop, the office, the world outside."""

from __future__ import annotations

from random import Random

from worker.starter.conversation import Message, as_typed, assistant, user
from worker.starter.topic_files import Topic, read_topics
from worker.starter.wording import capitalised
from worker.starter.world import World

# A written mail must not begin with a greeting to the person who asked for it.
_GREETED_FILES = ("shop.txt", "outside.txt")
_GREETINGS = ("hi, ", "hello, ", "hello! ", "good morning, ", "hi there, ", "hey, ", "good day, ")
_OPENERS = (
    "excuse me, ", "please, ", "quick question: ", "one question: ", "I have a question: ",
    "sorry, ", "another question: ", "so, ", "and ", "well, ", "please tell me: ",
    "can you tell me: ", "I would like to know: ", "I wonder: ", "tell me, ",
)  # fmt: skip


def topic_turns(file_name: str, rng: Random) -> list[Message]:
    """One question with its answer, and sometimes the pair that follows from it."""
    topics = read_topics(file_name)
    topic = rng.choices(topics, [entry.weight for entry in topics])[0]
    world = World(rng)
    turns = [*_asked(topic, world, may_greet=file_name in _GREETED_FILES)]
    if topic.pairs and world.chance(0.5):
        question, answer = rng.choice(topic.pairs)
        turns.append(user(as_typed(world.say(question), rng)))
        turns.append(assistant(world.sentence(answer)))
    return turns


def _asked(topic: Topic, world: World, *, may_greet: bool) -> tuple[Message, Message]:
    question = world.say(world.rng.choice(topic.questions))
    answer = world.sentence(world.rng.choice(topic.answers))
    style = world.rng.random() if may_greet else 1.0
    if style < 0.12:
        question = world.rng.choice(_GREETINGS) + question
        answer = f"Hello! {answer}"
    elif style < 0.24:
        question = world.rng.choice(_OPENERS) + question
    typed = as_typed(question, world.rng)
    if style > 0.9 and may_greet:
        typed += world.rng.choice((" Thanks!", " Thank you.", " Please help me.", " Please."))
    return user(typed), assistant(capitalised(answer))
