"""What stands in each column: counted while the rows pass by."""

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from app.datasets.readers.conversations import NoExampleError, content_of, holds_speakers
from app.datasets.readers.html_text import has_html, surely_has_html
from app.datasets.readers.preferences import THUMB_WORDS, thumb_word
from app.datasets.readers.records import shortened
from app.datasets.shapes import LONGEST_KIND, MOST_GUESSED_KINDS

_NUMBER: Final = re.compile(r"[-+]?[\d.,'\s]*\d[\d.,'\s]*\s?[%€$£]?")
_DATE: Final = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}(?:[ T]\d{1,2}:\d{2}.*)?")
# One word with a digit or an at sign in it, or an address of the web: what machines give out.
_CODE: Final = re.compile(r"(?=.*[\d@]|.*://|www\.)[!-~]+")
_EXAMPLES: Final = 3


@dataclass(slots=True)
class ColumnSurvey:
    name: str
    rows: int = 0
    filled: int = 0
    characters: int = 0
    longest: int = 0
    questions: int = 0
    numbers: int = 0
    codes: int = 0
    """Numbers, dates, addresses and the like, which nobody asks or answers."""
    with_html: int = 0
    surely_has_html: bool = False
    turn_lists: int = 0
    lists: int = 0
    examples: list[str] = field(default_factory=list)
    kinds: set[str] | None = field(default_factory=set)
    """The different values; None once there are too many to be kinds."""

    def add(self, value: Any) -> None:  # noqa: ANN401 (JSON is anything)
        self.rows += 1
        if isinstance(value, list | dict):
            self._add_list(value)
            return
        text = as_text(value).strip()
        if not text:
            return
        self.filled += 1
        self.characters += len(text)
        self.longest = max(self.longest, len(text))
        self.questions += text.endswith(("?", "？", "؟"))
        is_number = _is_number(text)
        self.numbers += is_number
        self.codes += is_number or (len(text) < 200 and _CODE.fullmatch(text) is not None)
        self._look_for_html(text)
        self._keep(text)

    def _add_list(self, value: list[Any] | dict[str, Any]) -> None:
        self.kinds = None
        if not value:
            return
        self.filled += 1
        self.lists += 1
        self.turn_lists += holds_speakers(value)
        text = as_text(value)
        self._look_for_html(text)
        if len(self.examples) < _EXAMPLES:
            self.examples.append(shortened(text))

    def _look_for_html(self, text: str) -> None:
        self.with_html += has_html(text)
        self.surely_has_html = self.surely_has_html or surely_has_html(text)

    def _keep(self, text: str) -> None:
        if len(self.examples) < _EXAMPLES and shortened(text) not in self.examples:
            self.examples.append(shortened(text))
        if self.kinds is not None:
            self.kinds.add(text[:80])
            if len(self.kinds) > MOST_GUESSED_KINDS:
                self.kinds = None

    @property
    def mean_length(self) -> float:
        return self.characters / self.filled if self.filled else 0.0

    @property
    def is_numeric(self) -> bool:
        return self.filled > 0 and self.numbers >= 0.9 * self.filled

    @property
    def holds_text(self) -> bool:
        """Whether more stands there than numbers, dates and addresses."""
        return self.filled > 0 and self.codes < 0.9 * self.filled

    @property
    def is_conversation(self) -> bool:
        return self.filled > 0 and self.turn_lists >= 0.5 * self.filled

    @property
    def may_hold_kinds(self) -> bool:
        """Whether values come again, so that a column whose name says so may hold kinds."""
        return (
            self.kinds is not None
            and 2 <= len(self.kinds) <= self.filled / 2
            and self.longest <= LONGEST_KIND
        )

    @property
    def holds_thumbs(self) -> bool:
        """Whether nothing stands there but signs of liking and disliking."""
        return bool(self.kinds) and all(
            thumb_word(kind) in THUMB_WORDS for kind in self.kinds or ()
        )

    @property
    def holds_kinds(self) -> bool:
        """Short values that come again and again, such as the labels of a sorting task."""
        return (
            self.kinds is not None
            and self.filled >= 12
            and 2 <= len(self.kinds) <= self.filled / 3
            and self.longest <= LONGEST_KIND
            and not self.is_numeric
        )


def as_text(value: Any) -> str:  # noqa: ANN401 (JSON is anything)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(turn, dict) for turn in value):
        return "\n".join(map(_turn_text, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def is_filled(value: Any) -> bool:  # noqa: ANN401 (JSON is anything)
    """Say whether anything stands there."""
    return bool(value.strip()) if isinstance(value, str) else value not in (None, [], {})


def _turn_text(turn: dict[str, Any]) -> str:
    speaker = turn.get("role", turn.get("from"))
    # What is more than text is shown as it stands in the file.
    with suppress(NoExampleError):
        if speaker:
            return f"{speaker}: {content_of(turn)}"
    return json.dumps(turn, ensure_ascii=False)


def _is_number(text: str) -> bool:
    return len(text) < 40 and bool(_NUMBER.fullmatch(text) or _DATE.fullmatch(text))
