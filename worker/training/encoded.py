"""What an example becomes, and who says so; the encoders themselves are in `encoders.py`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.training.chat_templates import EncodedRow
from worker.training.examples import Example


@dataclass(frozen=True)
class Encoded:
    """What became of an example.

    Attributes:
        items: what is learned at once; each has the rows that belong together. None: left out.
        was_cut: whether it had to be shortened.
        note: a number that goes along with each of the items, such as that of a kind.
    """

    items: Sequence[tuple[EncodedRow, ...]] = ()
    was_cut: bool = False
    note: int = 0


class Encoder(Protocol):
    """Turns examples into rows of tokens, each example for itself or with those beside it.

    Attributes:
        name: differs wherever the rows would.
        rows_per_item: how many rows belong together.
    """

    @property
    def name(self) -> str: ...
    @property
    def rows_per_item(self) -> int: ...
    def encode(self, examples: Sequence[Example], limit: int) -> Iterator[Encoded]: ...
