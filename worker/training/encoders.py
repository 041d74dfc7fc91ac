"""What an example becomes: rows of tokens, and which of these are learned or judged."""

from collections.abc import Iterator, Mapping, Sequence

from worker.training.chat_templates import ChatFormat, EncodedRow
from worker.training.encoded import Encoded
from worker.training.examples import Example
from worker.training.row_lengths import divide_passage, fit_conversation, fit_messages


class AnswerEncoder:
    """Conversations, of which the answers are learned, and passages, which are learned whole."""

    name = "answers"
    rows_per_item = 1

    def __init__(self, chat: ChatFormat) -> None:
        self._chat = chat

    def encode(self, examples: Sequence[Example], limit: int) -> Iterator[Encoded]:
        chat = self._chat
        conversations = [example.messages for example in examples if example.messages]
        rows = iter(chat.encode(conversations))
        for example in examples:
            if not example.messages:
                ids = chat.encode_passage(example.text)
                yield Encoded([(row,) for row in divide_passage(ids, limit)])
                continue
            row = next(rows)
            if row is not None and len(row.ids) > limit:
                row = fit_conversation(chat, example.messages, limit)
                yield Encoded([(row,)] if row else [], was_cut=row is not None)
            else:
                yield Encoded([(row,)] if row and row.answer_tokens else [])


class PairEncoder:
    """Two rows for each pair: the same question with the better and with the worse answer."""

    name = "pairs"
    rows_per_item = 2

    def __init__(self, chat: ChatFormat) -> None:
        self._chat = chat

    def encode(self, examples: Sequence[Example], limit: int) -> Iterator[Encoded]:
        chosen = self._chat.encode([example.answered(example.answer) for example in examples])
        rejected = self._chat.encode([example.answered(example.rejected) for example in examples])
        for example, better, worse in zip(examples, chosen, rejected, strict=True):
            rows, was_cut = (better, worse), False
            if better and worse and max(len(better.ids), len(worse.ids)) > limit:
                is_worse = len(worse.ids) > len(better.ids)
                longer = example.rejected if is_worse else example.answer
                rows, was_cut = self._fit(example, longer, limit), True
            chosen_row, rejected_row = (last_answer_only(row) for row in rows)
            if chosen_row is None or rejected_row is None:
                yield Encoded()
            else:
                yield Encoded([(chosen_row, rejected_row)], was_cut=was_cut)

    def _fit(
        self, example: Example, longer: str, limit: int
    ) -> tuple[EncodedRow | None, EncodedRow | None]:
        """Shorten the question, the same for both answers."""
        fitted = fit_messages(self._chat, example.answered(longer), limit)
        if fitted is None:
            return None, None
        prompt = Example(messages=tuple(fitted[0][:-1]))
        better, worse = self._chat.encode(
            [prompt.answered(example.answer), prompt.answered(example.rejected)]
        )
        return better, worse


class ThumbEncoder:
    """Two rows for each answer with a thumb: its own, and its question with another's answer.

    The second one shows how far the model has moved in general, see `objectives/kto.py`. The other
    answer is that of the next example that asks something else, because a pair comes as two thumbs
    for one question; in a group that asks nothing else it is its own.
    """

    name = "thumbs"
    rows_per_item = 2

    def __init__(self, chat: ChatFormat) -> None:
        self._chat = chat

    def encode(self, examples: Sequence[Example], limit: int) -> Iterator[Encoded]:
        others = [_next_that_asks_otherwise(examples, place) for place in range(len(examples))]
        fitted = [
            fit_messages(self._chat, example.answered(example.answer), limit)
            for example in examples
        ]
        prompts = [Example(messages=tuple(kept[0][:-1])) if kept else None for kept in fitted]
        crossed = iter(
            self._chat.encode(
                [
                    prompt.answered(other.answer)
                    for prompt, other in zip(prompts, others, strict=True)
                    if prompt is not None
                ]
            )
        )
        for example, kept in zip(examples, fitted, strict=True):
            cross = last_answer_only(_begun(next(crossed), limit)) if kept else None
            own = last_answer_only(kept[1]) if kept else None
            if kept is None or own is None:
                yield Encoded()
                continue
            was_cut = tuple(kept[0][:-1]) != example.messages
            yield Encoded([(own, cross or own)], was_cut=was_cut, note=int(example.is_liked))


class KindEncoder:
    """One row for each text; its last token is where its kind is told.

    The tokens are those that the tokenizer makes of a text by itself, so that a label head that is
    used outside of Tailor sees the same. Of a text that is too long the beginning is read.
    """

    rows_per_item = 1

    def __init__(self, chat: ChatFormat, number_of_kind: Mapping[str, int]) -> None:
        self._chat = chat
        self._numbers = number_of_kind
        self.name = "kinds"

    def encode(self, examples: Sequence[Example], limit: int) -> Iterator[Encoded]:
        texts = [example.text for example in examples]
        for example, ids in zip(examples, encode_texts(self._chat, texts), strict=True):
            kept = list(ids[:limit])
            if not kept:
                yield Encoded()
                continue
            row = EncodedRow(kept, [0] * (len(kept) - 1) + [1])
            yield Encoded([(row,)], was_cut=len(ids) > limit, note=self._numbers[example.kind])


def encode_texts(chat: ChatFormat, texts: Sequence[str]) -> list[list[int]]:
    """Return the tokens of texts to be sorted; control marks in them stay plain text."""
    encoded: list[list[int]] = chat.tokenizer(list(texts), split_special_tokens=True)["input_ids"]
    return encoded


def last_answer_only(row: EncodedRow | None) -> EncodedRow | None:
    """Return the row with nothing but its last answer marked; None if it has none."""
    if row is None or not row.answer_tokens:
        return None
    end = len(row.mask)
    while not row.mask[end - 1]:
        end -= 1
    begin = end
    while begin and row.mask[begin - 1]:
        begin -= 1
    mask = [0] * begin + [1] * (end - begin) + [0] * (len(row.mask) - end)
    return EncodedRow(row.ids, mask)


def _next_that_asks_otherwise(examples: Sequence[Example], place: int) -> Example:
    """Return the next example with another question, after the last the first; else this one."""
    own = examples[place]
    following = (examples[(place + apart) % len(examples)] for apart in range(1, len(examples)))
    return next((other for other in following if other.messages != own.messages), own)


def _begun(row: EncodedRow | None, limit: int) -> EncodedRow | None:
    return row and EncodedRow(row.ids[:limit], row.mask[:limit])
