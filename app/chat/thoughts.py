"""What some models write before their answer: their thoughts, between <think> marks.

Tailor asks them not to (worker/training/chat_templates.py); another engine may let them.
"""

from dataclasses import dataclass
from typing import Final

_BEGIN: Final = "<think>"
_END: Final = "</think>"


@dataclass(frozen=True)
class Thoughts:
    """A text in its two parts.

    Attributes:
        thought: what was written before the answer; empty if there was nothing.
        answer: what is meant for the reader; empty as long as only thoughts came.
    """

    thought: str
    answer: str


def split_thoughts(text: str) -> Thoughts:
    """Tell thoughts and answer apart, also while the text is still being written.

    Some templates write the opening mark themselves, so a closing one may stand alone.
    """
    before, closed, after = text.partition(_END)
    if closed:
        return Thoughts(before.strip().removeprefix(_BEGIN).strip(), after.lstrip())
    begun = text.lstrip()
    if begun.startswith(_BEGIN):
        return Thoughts(begun.removeprefix(_BEGIN).strip(), "")
    if begun and _BEGIN.startswith(begun):
        # The first mark is only half there.
        return Thoughts("", "")
    return Thoughts("", text)
