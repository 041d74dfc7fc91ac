"""Questions whose answer stands in a text: in a note, a mail, a system message."""

from __future__ import annotations

from random import Random

from worker.starter.conversation import Message, as_typed, assistant, system, user
from worker.starter.topic_files import Topic, read_topics
from worker.starter.world import World

_EVENTS = "events.txt"
_NOT_THERE = "The text does not say that."
_FILLERS = (
    "The weather was {weather}.", "It was a {weather} day.", "Everybody was in a good mood.",
    "{person7} made coffee for all.", "The shop was full.", "It was a quiet day.",
    "{person7} says hello.", "I hope that you are well.", "We had a good week.",
    "The street was quiet.", "There was music from the radio.", "Nobody was late.",
    "The phone rang often.", "{person7} told a story.", "It was a long day.",
    "The new plants look nice.", "The lunch was good.",
)  # fmt: skip
_SYSTEM_OPENINGS = (
    "You are the assistant of {shop8}.", "You work for {shop8}.", "You help customers of {shop8}.",
    "You answer questions for {shop8}.", "You are a friendly helper in a {shop_kind8}.",
    "Answer questions about our shop.", "You know these facts.", "Use these facts.",
    "You are a helpful assistant.",
)  # fmt: skip


class Fact:
    """One event of the small world, told and asked about with the same words."""

    def __init__(self, topic: Topic, rng: Random) -> None:
        self.topic = topic
        self.world = World(rng)
        self.statement = self.world.sentence(rng.choice(topic.statements))
        self.short = self.world.sentence(rng.choice(topic.short_forms))

    def ask(self) -> tuple[str, str]:
        question, answer = self.world.rng.choice(self.topic.pairs)
        return as_typed(self.world.say(question), self.world.rng), self.world.sentence(answer)


def facts(rng: Random, count: int) -> list[Fact]:
    return [Fact(topic, rng) for topic in rng.sample(read_topics(_EVENTS), count)]


def told(chosen: list[Fact], rng: Random, filler_chance: float = 0.15) -> str:
    """The facts as a text, with a sentence in between that does not matter."""
    sentences: list[str] = []
    for fact in chosen:
        sentences.append(fact.statement)
        if rng.random() < filler_chance:
            sentences.append(fact.world.sentence(rng.choice(_FILLERS)))
    return " ".join(sentences)


def reading_turns(rng: Random) -> list[Message]:
    chosen = facts(rng, rng.choice((1, 1, 1, 2, 2, 3, 4)))
    text = told(chosen, rng)
    asked = rng.sample(chosen, min(len(chosen), rng.choice((1, 2, 3))))
    questions = [fact.ask() for fact in asked]
    # A second question about the same fact costs few tokens and teaches to read exactly.
    questions += [fact.ask() for fact in asked if rng.random() < 0.5]
    if rng.random() < 0.1:
        stranger = facts(rng, 1)[0]
        if stranger.topic not in [fact.topic for fact in chosen]:
            questions.append((stranger.ask()[0], _NOT_THERE))
            rng.shuffle(questions)
    return _placed(text, questions, rng)


def _placed(text: str, questions: list[tuple[str, str]], rng: Random) -> list[Message]:
    style = rng.random()
    world = World(rng)
    turns: list[Message] = []
    first_question, first_answer = questions[0]
    if style < 0.35:
        turns.append(system(f"{world.say(rng.choice(_SYSTEM_OPENINGS))} {text}"))
        turns.append(user(first_question))
    elif style < 0.45:
        turns.append(
            user(rng.choice(("Please remember: ", "Note: ", "Remember this: ", "")) + text)
        )
        turns.append(assistant("All right, I will remember that."))
        turns.append(user(first_question))
    elif style < 0.6:
        turns.append(user(f"{first_question}\n\n{text}"))
    else:
        label = rng.choice(("", "", "Text: ", "Read this: ", "Here is a note: ", "Mail: "))
        join = rng.choice((" ", "\n", "\n\n", "\nQuestion: "))
        turns.append(user(f"{label}{text}{join}{first_question}"))
    turns.append(assistant(first_answer))
    for question, answer in questions[1:]:
        turns += [user(question), assistant(answer)]
    return turns
