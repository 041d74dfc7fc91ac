"""From tokens to text as it is written: whole characters only, and never past a stop word."""

from collections.abc import Callable, Sequence

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class Detokeniser:
    """Turns token ids into text piece by piece; the pieces joined are the decoded whole.

    A character can span several tokens, and a token's text can depend on the one before it. So
    each piece is what a short window of tokens adds to its own beginning, and a piece that ends
    in an unfinished character waits for the next token.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._window_start = 0
        self._read_end = 0

    def add(self, token: int) -> str:
        """Take one more token and return the text that became certain with it."""
        self._ids.append(token)
        before, after = self._window()
        if after.endswith(_UNFINISHED) or len(after) <= len(before):
            return ""
        self._window_start = self._read_end
        self._read_end = len(self._ids)
        return after[len(before) :]

    def finish(self) -> str:
        """Return what is still held back, unfinished characters included."""
        before, after = self._window()
        self._window_start = self._read_end = len(self._ids)
        return after[len(before) :]

    def _window(self) -> tuple[str, str]:
        return (
            self._decode(self._ids[self._window_start : self._read_end]),
            self._decode(self._ids[self._window_start :]),
        )


class StopWords:
    """Lets text through until a stop word appears; the word itself is never shown."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = [word for word in words if word]
        self._held = ""
        self.found = False

    def add(self, text: str) -> str:
        """Return the part of the text so far that cannot belong to a stop word any more."""
        if not self._words or self.found:
            return "" if self.found else text
        self._held += text
        positions = [at for word in self._words if (at := self._held.find(word)) >= 0]
        if positions:
            self.found = True
            return self._let_go(min(positions))
        return self._let_go(len(self._held) - self._possible_beginning())

    def finish(self) -> str:
        """Return what was held back, if no stop word came."""
        return "" if self.found else self._let_go(len(self._held))

    def _let_go(self, length: int) -> str:
        text, self._held = self._held[:length], self._held[length:]
        return text

    def _possible_beginning(self) -> int:
        longest = min(len(self._held), max(len(word) for word in self._words) - 1)
        for length in range(longest, 0, -1):
            end = self._held[-length:]
            if any(word.startswith(end) for word in self._words):
                return length
        return 0
