"""Short rewrites: more polite, formal, friendly, shorter, corrected, another tense."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from worker.starter.conversation import Message, assistant, user
from worker.starter.readings import facts
from worker.starter.topic_files import read_topics
from worker.starter.wording import capitalised, expand
from worker.starter.world import World

_SENTENCE = "(sentence|text|message|line)"
_POLITE = (
    "(make|please make|can you make) this (|{s} )(more |)polite",
    "(say|put|write|rewrite|phrase) this (|{s} )(more politely|politely|in a polite way|nicely)",
    "(rewrite|rephrase|reword) (this|the) {s} (politely|in a polite way|so that it is polite)",
    "(turn|change|make) (this|it) into a polite request",
    "how do I say this politely", "a polite version of this, please",
)  # fmt: skip
_FORMAL = (
    "(make|please make|can you make) this (|{s} )(more |)formal",
    "(say|put|write|rewrite|phrase) this (|{s} )(more formally|formally|in a formal way)",
    "(rewrite|rephrase|reword) (this|the) {s} (formally|in a formal way|for a business mail)",
    "a formal version of this, please",
)  # fmt: skip
_FRIENDLY = (
    "(make|please make|can you make) this (|{s} )(more friendly|friendlier|sound friendly|warmer)",
    "(say|put|write|rewrite|phrase) this (|{s} )(in a friendly way|more warmly|in a warm way)",
    "(rewrite|rephrase|reword) (this|the) {s} in a (friendly|warm|kind) (way|tone)",
    "a friendly version of this, please",
)  # fmt: skip
_SHORTER = (
    "(make|please make|can you make) this (|{s} )(shorter|short)",
    "(say|put|write|rewrite) this (|{s} )(in fewer words|shorter|more briefly|in a short way)",
    "(shorten|cut|please shorten|can you shorten) (this|this {s}|the {s}|it)",
    "a shorter version of this, please",
)  # fmt: skip
_QUESTION = (
    "(make|turn|change) (this|this {s}|it|the {s}) into a question",
    "(write|say|put|rewrite) this as a question", "make a question of this",
)  # fmt: skip
_CORRECT = (
    "(correct|fix|please correct|can you correct|please fix) (this|this {s}|the mistakes|the {s})",
    "(correct|fix|find and fix) the (spelling|errors|mistakes|typos)(| in this {s})",
    "(write|rewrite) this (|{s} )without mistakes",
)  # fmt: skip
_TENSE = "(put|write|rewrite|change|say|turn) this (|{s} )(in|into|to) the {tense}( tense|)"
_NEGATIVE = (
    "(make|turn) this (|{s} )(negative|into the negative)",
    "(say|write) the opposite of this", '(put|write|rewrite) this with "not"',
)  # fmt: skip


def rewrite_turns(rng: Random) -> list[Message]:
    instructions, source, target = rng.choice(_KINDS)(rng)
    turns = [user(_asked(instructions, source, rng)), assistant(target)]
    if rng.random() < 0.1:
        turns.append(user(rng.choice(("Thank you!", "Thanks.", "Great, thanks!"))))
        turns.append(assistant("You are welcome! Is there anything else I can help with?"))
    return turns


def _asked(instructions: tuple[str, ...], source: str, rng: Random) -> str:
    world = World(rng)
    world.set("s", expand(_SENTENCE, rng, world.get))
    instruction = world.say(rng.choice(instructions))
    if rng.random() < 0.8:
        instruction = capitalised(instruction)
    style = rng.random()
    if style < 0.45:
        return f"{instruction}: {source}"
    if style < 0.65:
        return f'{instruction}: "{source}"'
    if style < 0.8:
        return f"{instruction}:\n{source}"
    if style < 0.9:
        return f"{source}\n{instruction}."
    return f"{instruction}. {source}"


def request(world: World) -> str:
    """A thing that one person asks another to do, such as `open the window`."""
    world.set("me", world.rng.choice(("me", "me", "us")))
    topic = world.rng.choice(read_topics("requests.txt"))
    return world.say(world.rng.choice(topic.statements))


def _blunt(wish: str, rng: Random) -> str:
    forms = (
        f"{capitalised(wish)}.", f"{capitalised(wish)}!", f"{capitalised(wish)} now!",
        f"You must {wish}.", f"{capitalised(wish)} right now.", f"I want you to {wish}.",
        f"You have to {wish}.", f"{capitalised(wish)}, and be quick.",
    )  # fmt: skip
    return rng.choice(forms)


def _polite(rng: Random) -> tuple[tuple[str, ...], str, str]:
    wish = request(World(rng))
    return _POLITE, _blunt(wish, rng), f"Could you please {wish}?"


def _formal(rng: Random) -> tuple[tuple[str, ...], str, str]:
    wish = request(World(rng))
    source = rng.choice((_blunt(wish, rng), f"Can you {wish}?", f"Hey, {wish}, ok?"))
    return _FORMAL, source, f"We kindly ask you to {wish}."


def _friendly(rng: Random) -> tuple[tuple[str, ...], str, str]:
    wish = request(World(rng))
    return _FRIENDLY, _blunt(wish, rng), f"Hello! It would be great if you could {wish}. Thank you!"


def _shorter(rng: Random) -> tuple[tuple[str, ...], str, str]:
    wish = request(World(rng))
    long = rng.choice((
        f"I would like to ask you if it would be possible for you to {wish}.",
        f"I am writing to you today because I would like you to {wish}.",
        f"It would be very kind of you if you could find the time to {wish}.",
        f"As we said in our last talk, it would be good if you could {wish} when you have time.",
        f"I just wanted to ask you whether you could perhaps {wish}.",
        f"Would you be so kind as to {wish}, please, if it is not too much work?",
        f"If it is possible for you, I would be very happy if you could {wish}.",
    ))  # fmt: skip
    return _SHORTER, long, f"Please {wish}."


def _shorter_fact(rng: Random) -> tuple[tuple[str, ...], str, str]:
    fact = facts(rng, 1)[0]
    opening = rng.choice((
        "I would like to let you know that", "I am writing to tell you that",
        "We would like to inform you that", "I just wanted to say that",
        "As you may already know,", "Please note that", "It is important to know that",
    ))  # fmt: skip
    return _SHORTER, f"{opening} {_lowered(fact.short)}", fact.short


def _lowered(sentence: str) -> str:
    first = sentence.split(" ", 1)[0]
    return sentence[0].lower() + sentence[1:] if first in ("The", "There", "Things") else sentence


class _Act:
    """A sentence in three tenses, such as `Anna sells the red lamps`."""

    def __init__(self, rng: Random) -> None:
        world = World(rng)
        topic = read_topics("actions.txt")[0]
        base, present, past, object_ = rng.choice(topic.statements).split("/")
        rest = world.say(object_)
        many = rng.random() < 0.25
        who = world.say("(We|They|I)") if many else world.say("({person}|{customer}|My colleague)")
        self.present = f"{who} {base if many else present} {rest}."
        self.past = f"{who} {past} {rest}."
        self.future = f"{who} will {base} {rest}."
        helper = "do" if many else "does"
        self.negative = f"{who} {helper} not {base} {rest}."
        asked = who if who == "I" or not many else who.lower()
        if who == "My colleague":
            asked = "my colleague"
        self.question = f"{capitalised(helper)} {asked} {base} {rest}?"


def _question(rng: Random) -> tuple[tuple[str, ...], str, str]:
    act = _Act(rng)
    return _QUESTION, act.present, act.question


def _negative(rng: Random) -> tuple[tuple[str, ...], str, str]:
    act = _Act(rng)
    return _NEGATIVE, act.present, act.negative


def _tense(rng: Random) -> tuple[tuple[str, ...], str, str]:
    act = _Act(rng)
    forms = {"present": act.present, "past": act.past, "future": act.future}
    tense = rng.choice(list(forms))
    source = forms[rng.choice([other for other in forms if other != tense])]
    return (_TENSE.replace("{tense}", tense),), source, forms[tense]


_TYPOS = {
    "the": ("teh", "hte"), "meeting": ("meting", "meetign"), "is": ("si",), "and": ("adn", "nad"),
    "send": ("sned", "sedn"), "please": ("plese", "pleas"), "report": ("reprot", "raport"),
    "invoice": ("invioce", "invoce"), "customer": ("custmer", "costumer"), "to": ("ot",),
    "order": ("oder", "ordre"), "shop": ("shpo", "schop"), "price": ("prcie", "prise"),
    "with": ("wiht", "whit"), "will": ("wil", "wlil"), "from": ("form", "fomr"),
    "bought": ("boght", "bougth"), "arrived": ("arived", "arrivd"), "costs": ("csots", "cots"),
    "contract": ("contrakt", "conract"), "delivery": ("delivry", "delievry"),
    "open": ("opne",), "close": ("clsoe",), "chair": ("chiar", "cahir"), "lamp": ("lmap",),
    "table": ("tabel", "tabl"), "has": ("hsa",), "by": ("yb",), "are": ("aer",), "for": ("fro",),
}  # fmt: skip


def _misspelled(word: str, rng: Random) -> str:
    place = rng.randrange(1, len(word) - 1)
    if rng.random() < 0.5:
        return word[:place] + word[place + 1 :]
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _corrected(rng: Random) -> tuple[tuple[str, ...], str, str]:
    right = rng.choice((lambda: facts(rng, 1)[0].statement, lambda: _Act(rng).present,
                        lambda: f"Please {request(World(rng))}."))()  # fmt: skip
    words = right.split(" ")
    known = [place for place, word in enumerate(words) if word in _TYPOS]
    for place in rng.sample(known, min(len(known), rng.choice((1, 2, 3)))):
        words[place] = rng.choice(_TYPOS[words[place]])
    others = [place for place, word in enumerate(words) if len(word) > 3 and word.islower()]
    if others and rng.random() < 0.6:
        place = rng.choice(others)
        words[place] = _misspelled(words[place], rng)
    wrong = " ".join(words)
    if rng.random() < 0.5 or not known:
        wrong = wrong[0].lower() + wrong[1:]
    if rng.random() < 0.3:
        wrong = wrong.rstrip(".")
    return _CORRECT, wrong, right


def _list_from_sentence(rng: Random) -> tuple[tuple[str, ...], str, str]:
    world = World(rng)
    kind = rng.choice(("food", "thing", "things"))
    items = [world.get(f"{kind}{place}") for place in range(1, rng.choice((4, 4, 5)))]
    listed = f"{', '.join(items[:-1])} and {items[-1]}"
    source = world.say(f"(We need|Please buy|{{person}} wants|I ordered|In the box are) {listed}.")
    instructions = (
        "(make|write|give me) a list(| of this| of the things)",
        "(turn|change|make) (this|it|the {s}) into a list", "(write|put) this as a list",
    )  # fmt: skip
    return instructions, source, "\n".join(f"- {item}" for item in items)


def _sentence_from_list(rng: Random) -> tuple[tuple[str, ...], str, str]:
    _, _, listed = _list_from_sentence(rng)
    items = [line.removeprefix("- ") for line in listed.split("\n")]
    source = rng.choice((listed, ", ".join(items), "\n".join(items)))
    instructions = (
        "(make|write|give me) a sentence(| of this| with these words| from this list)",
        "(turn|change|make) (this list|this|the list|these words) into a sentence",
    )
    return instructions, source, f"We need {', '.join(items[:-1])} and {items[-1]}."


_KINDS: tuple[Callable[[Random], tuple[tuple[str, ...], str, str]], ...] = (
    _polite, _polite, _formal, _friendly, _shorter, _shorter, _shorter_fact, _question,
    _negative, _tense, _tense, _corrected, _corrected, _list_from_sentence, _sentence_from_list,
)  # fmt: skip


def copy_turns(rng: Random) -> list[Message]:
    """Unlike sentences, loose words cannot be guessed: this teaches to copy, and spelling."""
    world = World(rng)
    makers = ("common", "common", "common", "person", "thing", "number", "city", "order", "food")
    words = [world.get(f"{rng.choice(makers)}{place}") for place in range(rng.randint(2, 9))]
    wish = world.say("(repeat|copy|say again|write again|repeat after me|say)(| this| these words)")
    style = rng.random()
    if style < 0.5:
        return [user(f"{wish}: {' '.join(words)}"), assistant(" ".join(words))]
    if style < 0.75:
        first = rng.choice(words[:-1])
        asked = f"{', '.join(words)}. Which word comes after {first}?"
        return [user(asked), assistant(f"{words[words.index(first) + 1]}")]
    listed = "\n".join(f"- {word}" for word in words)
    return [user(f"Make a list: {', '.join(words)}"), assistant(listed)]
