"""Tell the encodings of Latin text apart, by which letters and signs stand where."""

import re
from typing import Final

# Letters that Western European languages write, in which a Central European file would have others.
_WESTERN: Final = frozenset("äöüÄÖÜßéèêëàâáãåçñóòôõøíìîïúùûÿýœæÉÈÊËÀÂÁÃÅÇÑÓÒÔÕØÍÌÎÏÚÙÛÝŒÆšžŠŽ")
_WIDELY_USED: Final = "áéíóúäöüôçëîâß"
# One alphabet for each language or two: all of them together fit nearly everything.
_CENTRAL: Final = tuple(
    frozenset(letters + letters.upper())
    for letters in (
        _WIDELY_USED + "ąćęłńśźż",
        _WIDELY_USED + "čďěňřšťůýžľĺŕ",
        _WIDELY_USED + "őű",
        _WIDELY_USED + "čćđšž",
        _WIDELY_USED + "ăşţșț",
    )
)
# In the order in which they are believed where several fit alike.
_CANDIDATES: Final = (
    ("cp1252", (_WESTERN,)),
    ("cp850", (_WESTERN,)),
    ("mac_roman", (_WESTERN,)),
    ("cp1250", _CENTRAL),
    ("iso8859_2", _CENTRAL),
)
_BEYOND_ASCII: Final = re.compile("[^\x00-\x7f]")
_LETTER: Final = re.compile(r"[^\W\d_]")
_BETWEEN_LETTERS: Final = frozenset("’´–—…·\xad\xa0")
_LINES_AND_BOXES: Final = frozenset(map(chr, range(0x2500, 0x25A0)))
_NEVER_AFTER_A_LETTER: Final = frozenset("‚„•ˆ˜¢¤¦¬¯±¶¸¼½¾¿¡") | _LINES_AND_BOXES
_SURE_CHARACTERS: Final = 4
_NEARLY_ALL: Final = 0.95


def find_latin_codec(sample: bytes) -> str | None:
    """Return the encoding in which a sample reads as Latin text; None if there is none.

    Nearly all beyond ASCII must be letters of one alphabet, or signs that stand where signs stand:
    read in the wrong encoding, letters are signs in the middle of words. Where most letters lie
    beyond ASCII, the alphabet is another one.
    """
    count = sum(byte > 127 for byte in sample)
    if not _is_mostly_ascii(sample.decode("cp1252", "replace")):
        return None
    western = _share_fitting(sample, *_CANDIDATES[0])
    is_sure = count >= _SURE_CHARACTERS
    if western >= _NEARLY_ALL or (western > 0.5 and not is_sure):
        return "cp1252"
    needed = _NEARLY_ALL if is_sure else 1.0
    shares = {codec: _share_fitting(sample, codec, known) for codec, known in _CANDIDATES[1:]}
    best = max(shares, key=lambda codec: shares[codec])
    if shares[best] >= needed:
        return best
    # A few odd characters are not enough to doubt the encoding that most files have.
    return None if is_sure else "cp1252"


def _is_mostly_ascii(text: str) -> bool:
    letters = _LETTER.findall(text)
    return sum(not letter.isascii() for letter in letters) <= max(0.3 * len(letters), 2)


def _share_fitting(sample: bytes, codec: str, alphabets: tuple[frozenset[str], ...]) -> float:
    """Return which part of what lies beyond ASCII fits, in the alphabet that it fits best."""
    text = f" {sample.decode(codec, 'replace')} "
    places = [found.start() for found in _BEYOND_ASCII.finditer(text)]
    fitting = max(sum(_fits(text, place, letters) for place in places) for letters in alphabets)
    return fitting / max(1, len(places))


def _fits(text: str, place: int, letters: frozenset[str]) -> bool:
    before, sign, after = text[place - 1], text[place], text[place + 1]
    if sign == "\ufffd" or "\x80" <= sign < "\xa0":
        return False
    if sign in letters:
        return not (sign.isupper() and before.islower())
    if before.isalpha() and after.isalpha():
        return sign in _BETWEEN_LETTERS
    return not (before.isalpha() and sign in _NEVER_AFTER_A_LETTER)
