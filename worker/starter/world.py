"""The small world: its words, and how a conversation draws from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

from worker.starter.wording import capitalised, expand, with_article

_WORDS_FILE = Path(__file__).parent / "words" / "words.json"
_HOURS = range(1, 13)
_COUNT_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve")


@cache
def words() -> dict[str, list[str]]:
    loaded: dict[str, list[str]] = json.loads(_WORDS_FILE.read_text(encoding="utf-8"))
    return loaded


def plural(noun: str) -> str:
    if noun.endswith(("s", "sh", "ch", "x")):
        return noun + "es"
    if noun.endswith(("shelf", "knife")):
        return noun.replace("shelf", "shelves").replace("knife", "knives")
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


class World:
    """One conversation's draw: the same slot always gives the same word."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.values: dict[str, str] = {}

    def get(self, slot: str) -> str:
        if slot not in self.values:
            self.values[slot] = self._draw_fresh(slot.rstrip("0123456789"))
        return self.values[slot]

    def set(self, slot: str, value: str) -> None:
        self.values[slot] = value

    def say(self, template: str) -> str:
        return expand(template, self.rng, self.get)

    def sentence(self, template: str) -> str:
        return capitalised(self.say(template))

    def pick(self, key: str) -> str:
        return self.rng.choice(words()[key])

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def _draw_fresh(self, kind: str) -> str:
        """A second slot of a kind (`{person2}`) should not repeat the first."""
        value = self._draw(kind)
        for _ in range(6):
            if value not in self.values.values():
                break
            value = self._draw(kind)
        return value

    def _draw(self, kind: str) -> str:
        maker = _MAKERS.get(kind)
        if maker is not None:
            return maker(self)
        if kind not in words():
            raise KeyError(f"A template names a slot that does not exist: {kind}")
        return self.pick(kind)


_ONSETS = (*"bcdfghjklmnprstvwz", "ch", "sh", "th", "br", "cl", "dr", "fl", "gr", "st", "tr")
_VOWELS = ("a", "e", "i", "o", "u", "a", "e", "i", "o", "u", "ai", "ea", "ie", "oo", "ou", "y")
_CODAS = ("", "", "", "n", "r", "s", "l", "t", "m", "nd", "rt", "st", "ck", "ll", "nn", "tt", "ng")


def _spelled_name(world: World) -> str:
    """Letters in every order, so that the model must copy piece by piece."""
    parts = [] if world.chance(0.7) else [world.rng.choice("aeiou")]
    for _ in range(world.rng.choice((1, 2, 2, 3))):
        parts += [world.rng.choice(each) for each in (_ONSETS, _VOWELS, _CODAS)]
    return capitalised("".join(parts))


def _invented_name(world: World) -> str:
    if world.chance(0.6):
        return _spelled_name(world)
    syllables = "".join(world.pick("syllable") for _ in range(world.rng.choice((1, 2, 2))))
    return capitalised(syllables + world.pick("name_end"))


def _person(world: World) -> str:
    # Invented names teach the model to copy a word that it has never met.
    return _invented_name(world) if world.chance(0.5) else world.pick("person")


def _customer(world: World) -> str:
    style = world.rng.random()
    if style < 0.4:
        return _person(world)
    surname = _invented_name(world) if world.chance(0.4) else world.pick("surname")
    if style < 0.7:
        return f"{world.rng.choice(('Mr', 'Ms', 'Mrs'))} {surname}"
    return f"{_person(world)} {surname}"


def _noun(world: World, item: str) -> str:
    style = world.rng.random()
    if style < 0.5:
        return item
    if style < 0.72:
        return f"{world.pick('color')} {item}"
    if style < 0.92:
        return f"{world.pick('quality')} {item}"
    return f"{_invented_name(world)} {item}"


def _item(world: World) -> str:
    return _invented_name(world).lower() if world.chance(0.4) else world.pick("item")


def _thing(world: World) -> str:
    return _noun(world, _item(world))


def _things(world: World) -> str:
    return _noun(world, plural(_item(world)))


def _city(world: World) -> str:
    return _invented_name(world) if world.chance(0.4) else world.pick("city")


def _time(world: World) -> str:
    hour = world.rng.choice(_HOURS)
    style = world.rng.random()
    if style < 0.45:
        return f"{hour} o'clock"
    if style < 0.65:
        return f"{hour}:{world.rng.choice(('15', '30', '45', '00'))}"
    if style < 0.8:
        return f"{hour} in the {world.rng.choice(('morning', 'afternoon', 'evening'))}"
    if style < 0.9:
        return f"half past {hour}"
    return f"{world.rng.randint(8, 18)}:{world.rng.choice(('00', '30'))}"


def _price(world: World) -> str:
    amount = world.rng.choice(
        (world.rng.randint(2, 20), world.rng.randint(5, 99), world.rng.randint(100, 950))
    )
    currency = world.rng.random()
    if currency < 0.6:
        return f"{amount} euros"
    if currency < 0.8:
        return f"{amount} dollars"
    return f"{amount}.{world.rng.choice(('50', '90', '95', '99', '20'))} euros"


def _order(world: World) -> str:
    digits = world.rng.choice((3, 4, 4, 4, 5, 6))
    number = "".join(str(world.rng.randint(0, 9)) for _ in range(digits))
    return f"{world.rng.choice('ABCDKRT')}-{number}" if world.chance(0.2) else number


def _shop(world: World) -> str:
    style = world.rng.random()
    if style < 0.45:
        return f"{world.pick('shop_first')} {world.pick('shop_second')}"
    if style < 0.7:
        return f"{_person(world)}'s {capitalised(world.pick('shop_kind'))}"
    if style < 0.85:
        return _invented_name(world)
    trade = world.rng.choice(("Books", "Shop", "Store", "Bikes", "Tools", "Home", "Foods"))
    return f"{_invented_name(world)} {trade}"


def _count(world: World) -> str:
    return world.rng.choice(_COUNT_WORDS)


def _number(world: World) -> str:
    return str(
        world.rng.choice(
            (world.rng.randint(2, 20), world.rng.randint(20, 99), world.rng.randint(100, 900))
        )
    )


def _date(world: World) -> str:
    day = world.rng.randint(1, 28)
    month = world.pick("month")
    return world.rng.choice((f"{day} {month}", f"{month} {day}"))


def _address(world: World) -> str:
    return f"{world.rng.randint(1, 120)} {world.pick('street')}"


def _phone(world: World) -> str:
    return f"555-{world.rng.randint(1000, 9999)}"


def _percent(world: World) -> str:
    return str(world.rng.choice(range(5, 75, 5)))


def _days(world: World) -> str:
    return str(world.rng.choice((7, 10, 14, 20, 21, 28, 30, 40, 45, 60, 90, 100)))


def _openday(world: World) -> str:
    return world.rng.choice(words()["day"][:6])


def _dayword(world: World) -> str:
    days = words()["day"]
    place = world.rng.randrange(7)
    world.set("nextday", days[(place + 1) % 7])
    world.set("prevday", days[place - 1])
    return days[place]


def _antonym(world: World) -> str:
    first, second = world.pick("opposites").split("/")
    if world.chance(0.5):
        first, second = second, first
    world.set("antonymanswer", second)
    return first


def _job_to_explain(world: World) -> str:
    job, answer = world.pick("job_work").split(": ")
    world.set("job2answer", f"{capitalised(with_article(job))} {answer}.")
    return job


_MAKERS: dict[str, Callable[[World], str]] = {
    "person": _person,
    "customer": _customer,
    "thing": _thing,
    "things": _things,
    "city": _city,
    "time": _time,
    "price": _price,
    "order": _order,
    "shop": _shop,
    "count": _count,
    "number": _number,
    "date": _date,
    "address": _address,
    "phone": _phone,
    "percent": _percent,
    "days": _days,
    "openday": _openday,
    "dayword": _dayword,
    "antonym": _antonym,
    "job2word": _job_to_explain,
}
