"""The pieces of a conversation that a chat template has laid out, encoded each for itself."""

import re
from dataclasses import dataclass
from typing import Final

from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import encode_marked_chat

# Where transformers puts its marks around control tokens that a person typed.
_MARKED: Final = re.compile("[\U000f0000\U000f0001]")


@dataclass(frozen=True)
class Piece:
    text: str
    is_answer: bool


class PieceEncoder:
    """Encodes pieces so that no token reaches over the end of one."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._newline_ids = self._encode_plain("\n")
        glued = self._encode_plain("\na")
        # SentencePiece tokenizers put a space before whatever they are given.
        self._adds_space = glued[len(self._newline_ids) :] != self._encode_plain("a")

    def encode(self, rows: list[list[Piece]]) -> list[list[list[int]]]:
        """Encode all pieces of many rows, the ordinary ones in one call on all cores."""
        texts = [
            self._continued(piece.text, is_first=index == 0)
            for row in rows
            for index, piece in enumerate(row)
        ]
        ordinary = [text for text, _ in texts if not _MARKED.search(text)]
        encoded = iter(
            self._tokenizer(ordinary, add_special_tokens=False)["input_ids"] if ordinary else []
        )
        results = iter(
            [
                (
                    encode_marked_chat(self._tokenizer, text)
                    if _MARKED.search(text)
                    else next(encoded)
                )[skipped:]
                for text, skipped in texts
            ]
        )
        return [[list(next(results)) for _ in row] for row in rows]

    def _continued(self, text: str, *, is_first: bool) -> tuple[str, int]:
        """Return a text to encode and how many tokens at its beginning are not part of it."""
        if is_first or not self._adds_space:
            return text, 0
        return "\n" + text, len(self._newline_ids)

    def _encode_plain(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
