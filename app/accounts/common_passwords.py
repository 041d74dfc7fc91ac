"""Passwords that anyone would try first.

The list is short on purpose: it holds the words at the heart of common passwords. What people do
to them (capitals, digits and signs at the ends, 0 for o, @ for a) is undone before looking, so a
few hundred words stand for many thousands of passwords.
"""

import re
from typing import Final

_WORD_LIST: Final = """
aaaaaaaa abcabc abcd abcdef abcdefg abcdefgh abcdefghi access account admin administrator
airplane america amanda andrea andrew angel angels anthony apple arsenal asdf asdfasdf asdfgh
asdfghjk asdfghjkl ashley austin autumn azerty azertyuiop baby babygirl bailey banana barcelona
baseball basketball batman beautiful berlin bitcoin blink brandon buster butterfly changeit
changeme charlie cheese chelsea chocolate christmas company computer cookie corvette cowboys
dallas daniel default demo diamond dolphin dragon eagles elephant example facebook falcon family
fender ferrari fishing flower football forever france freedom friend friends gateway george
germany ginger goodluck google guest guitar hallo hammer hannah harley heather hello helloworld
hockey homer hunter hunting iceman iloveu iloveyou internet jackson jasmine jasper jennifer
jessica jesus jordan joshua justin killer kitty knight ladybug lakers letmein liverpool login
london london love lovely loveme maggie manager manchester marina martin master matrix matthew
maverick mercedes merlin metallica michael michelle midnight minecraft monday money monkey
monster mustang myspace naruto nicole ninja nirvana office orange pass passcode passphrase
passw password passwort patrick peanut pepper phoenix picture please pokemon porsche princess
private purple qazwsx qazwsxedc qwer qwert qwerty qwertyui qwertyuiop qwertz rainbow ranger
robert rocket root samantha samsung scooter secret secure security server service shadow
silver slayer snoopy soccer spiderman spring starwars steelers summer sunday sunflower sunshine
superman superuser support sweet system taylor tailor temp temporary test tester testing
testtest thomas thunder tigger tinker trustno twitter unknown user username victoria vikings
welcome whatever william windows winner winter wizard yankees zaq zaqxsw zxcvbn zxcvbnm
"""
_WORDS: Final = frozenset(_WORD_LIST.split())
_STAND_INS: Final = str.maketrans("013457@$!", "oieastasi")
_RUNS: Final = ("0123456789" * 3, "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm")


def is_common(password: str) -> bool:
    """Say whether a password is one that a guesser tries among the first."""
    lowered = password.lower()
    return _is_repetition(lowered) or _is_run(lowered) or _is_dressed_word(lowered)


def _is_repetition(text: str) -> bool:
    """`aaaaaaaa`, `abababab`, `12341234`."""
    return re.fullmatch(r"(.{1,4})\1+(?:.{0,3})", text) is not None and len(set(text)) <= 4


def _is_run(text: str) -> bool:
    """`12345678`, `87654321`, `qwertyui`, `abcdefgh1`."""
    core = text.rstrip("0123456789!?.") or text
    return any(part in run or part[::-1] in run for part in {text, core} for run in _RUNS)


def _is_dressed_word(text: str) -> bool:
    """`Password1!`, `P@ssw0rd2026`, `welcomewelcome`, `tailor-admin`."""
    for candidate in (text, text.translate(_STAND_INS)):
        parts = [part for part in re.split(r"[^a-z]+", candidate) if len(part) > 1]
        if parts and all(_is_word(part) for part in parts):
            return True
    stripped = text.strip("0123456789!?.,*#-_ ").translate(_STAND_INS)
    return _is_word(stripped)


def _is_word(text: str) -> bool:
    half = len(text) // 2
    return text in _WORDS or (text[:half] == text[half:] and text[:half] in _WORDS)
