"""From a conversation to token ids, and which of them are the answer.

The model's own chat template is used as it is. Where the answer stands follows from the template:
from its generation markers if it has them, else from the difference between the text rendered
with and without the answer. Nothing is ever found by searching for text.

A conversation is cut where an answer begins and ends, and the pieces are encoded each for itself.
So an answer's first token can never be merged with the end of the question, which the model sees
as a finished text when it is asked for real.
"""

import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from types import FrameType
from typing import Any, Final, TypeVar

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import mark_control_tokens, render_jinja_template

from worker.training.answer_places import AnswerPlaces, UnusableConversationError
from worker.training.examples import Message
from worker.training.failures import TrainingFailureError
from worker.training.piece_encoder import Piece, PieceEncoder

T = TypeVar("T")

_GENERATION_MARKER: Final = re.compile(r"\{%-?\s*generation\s*-?%\}")
_LONGEST_RENDERING_SECONDS: Final = 5.0
# Models that can think aloud first are asked not to: examples hold answers, not thoughts. What a
# template then writes in their place stands in the question, where it is read and never learned.
# Templates of other models do not look at it.
_WITHOUT_THOUGHTS: Final = {"enable_thinking": False}

# For base models that come without a chat template. Models of the Qwen family know the ChatML
# marks as tokens of their own; any other sees the same shape as plain words, and learns to end
# its answer with the end-of-text token that it knows already. It travels with the adapter.
_CHATML: Final = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ message['content'] + '<|im_end|>\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_PLAIN_WORDS: Final = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ message['content'] + '\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


@dataclass
class EncodedRow:
    """Token ids of an example and, for each, whether it is part of what is learned."""

    ids: list[int]
    mask: list[int]

    @property
    def answer_tokens(self) -> int:
        return sum(self.mask)


def default_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the template for a base model without one, after the marks that the model knows."""
    known = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    template = _CHATML if {"<|im_start|>", "<|im_end|>"} <= known else _PLAIN_WORDS
    if tokenizer.eos_token is None:
        template = template.replace(" + eos_token", "")
    begins_with_bos = tokenizer.bos_token_id is not None and (
        tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    )
    return ("{{ bos_token }}" if begins_with_bos else "") + template


class ChatFormat:
    """A tokenizer with the chat template that this run uses.

    Attributes:
        template: the chat template.
        is_default: whether the base model came without one.
        stop_ids: tokens after which an answer is over.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.is_default = not tokenizer.chat_template
        if self.is_default:
            tokenizer.chat_template = default_template(tokenizer)
        self.template: str = tokenizer.get_chat_template()
        self._has_markers = _GENERATION_MARKER.search(self.template) is not None
        added = tokenizer.added_tokens_decoder
        special = [token.content for token in added.values() if token.special]
        named = [
            token.content
            for token in added.values()
            if token.content in self.template and not token.content.isspace()
        ]
        self._special_ids = frozenset(i for i, token in added.items() if token.special)
        self._in_answers = _any_of(special)
        self._in_questions = _any_of([*special, *named])
        self._header_in_answers = self._find_header_in_answers() if self._has_markers else ""
        self._places = None if self._has_markers else AnswerPlaces(self._render)
        self._pieces = PieceEncoder(tokenizer)
        self.stop_ids = self._find_stop_ids()

    def encode(self, conversations: Sequence[Sequence[Message]]) -> list[EncodedRow | None]:
        """Encode conversations; None stands for one that the template refuses."""
        rows: list[list[Piece] | None] = []
        for messages in conversations:
            try:
                rows.append(self._with_system_words(self._cut, messages))
            except UnusableConversationError:
                rows.append(None)
        encoded = iter(self._pieces.encode([row for row in rows if row is not None]))
        return [None if row is None else self._join(row, next(encoded)) for row in rows]

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Encode a question so that the model's next token is the first of its answer.

        Raises:
            UnusableConversationError: if the template refuses the conversation.
        """

        def ask(marked: list[Message]) -> str:
            return self._render(marked, add_generation_prompt=True)

        text = self._with_system_words(ask, messages)
        return self._pieces.encode([[Piece(text, is_answer=False)]])[0][0]

    def encode_passage(self, text: str) -> list[int]:
        """Encode a plain text with the beginning and end that the model expects of one."""
        end = self.tokenizer.eos_token_id
        return self.encode_beginning(text) + ([] if end is None else [end])

    def encode_beginning(self, text: str) -> list[int]:
        """Encode a plain text that goes on: as a passage begins, and without its end."""
        ids: list[int] = self.tokenizer(text, split_special_tokens=True)["input_ids"]
        has_end = bool(ids) and ids[-1] == self.tokenizer.eos_token_id
        return ids[:-1] if has_end else ids

    def encode_text(self, text: str) -> list[int]:
        """Encode a bare text, with nothing around it and no control tokens in it."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]
        return ids

    def last_tokens_of(self, text: str, count: int) -> str:
        """Return the end of a text that is about so many tokens long, beginning with a word."""
        if count <= 0:
            return ""
        end = str(self.tokenizer.decode(self.encode_text(text)[-count:]))
        # The first character may be half of one.
        return end.lstrip("\ufffd").lstrip()

    def _marked(self, messages: Sequence[Message]) -> list[Message]:
        """Mark what looks like a control token in what people wrote, so that it stays text."""
        return [
            Message(
                role=message["role"],
                content=mark_control_tokens(
                    message["content"],
                    self._in_answers if message["role"] == "assistant" else self._in_questions,
                ),
            )
            for message in messages
        ]

    def _with_system_words(
        self, lay_out: Callable[[list[Message]], T], messages: Sequence[Message]
    ) -> T:
        """Lay a conversation out, its system messages where the template has a place for them."""
        marked = self._marked(messages)
        try:
            return lay_out(marked)
        except UnusableConversationError:
            # Some templates know no system message: its words then open the first question.
            count = len(list(takewhile(lambda message: message["role"] == "system", marked)))
            if not 0 < count < len(marked):
                raise
            words = [message["content"] for message in marked[: count + 1]]
            first = Message(role=marked[count]["role"], content="\n\n".join(words))
            return lay_out([first, *marked[count + 1 :]])

    def _cut(self, messages: list[Message]) -> list[Piece]:
        find = self._render_with_spans if self._places is None else self._places.find
        text, spans = find(messages)
        pieces: list[Piece] = []
        position = 0
        for start, end in spans:
            pieces.append(Piece(text[position:start], is_answer=False))
            pieces.append(Piece(text[start:end], is_answer=True))
            position = end
        pieces.append(Piece(text[position:], is_answer=False))
        return [piece for piece in pieces if piece.text]

    def _render(self, messages: list[Message], *, add_generation_prompt: bool = False) -> str:
        return self._rendered(messages, add_generation_prompt=add_generation_prompt)[0]

    def _render_with_spans(self, messages: list[Message]) -> tuple[str, list[tuple[int, int]]]:
        text, spans = self._rendered(messages, return_assistant_tokens_mask=True)
        header = self._header_in_answers
        begun = [
            (start + len(header) if text.startswith(header, start) else start, end)
            for start, end in spans
        ]
        return text, [(start, end) for start, end in begun if end > start]

    def _find_header_in_answers(self) -> str:
        """What the markers count as the answer although the question's text ends with it.

        Some templates put their markers around the line that says who speaks too.
        """
        question = Message(role="user", content="a")
        try:
            prompt = self._render([question], add_generation_prompt=True)
            text, spans = self._rendered(
                [question, Message(role="assistant", content="b")],
                return_assistant_tokens_mask=True,
            )
        except UnusableConversationError:
            return ""
        if not spans or not text.startswith(prompt):
            return ""
        return text[spans[0][0] : len(prompt)]

    def _rendered(
        self, messages: list[Message], **options: bool
    ) -> tuple[str, list[tuple[int, int]]]:
        return self._rendered_with(messages, {**_WITHOUT_THOUGHTS, **options})

    def _rendered_with(
        self, messages: list[Message], options: dict[str, bool]
    ) -> tuple[str, list[tuple[int, int]]]:
        """Render a conversation; the places of its answers come along if they are asked for."""
        render: Any = render_jinja_template
        with _limited_rendering():
            texts, spans = render(
                conversations=[messages],
                chat_template=self.template,
                **options,
                **self.tokenizer.special_tokens_map,
            )
        return str(texts[0]), list(spans[0]) if spans else []

    def _join(self, pieces: list[Piece], encoded: list[list[int]]) -> EncodedRow:
        """Put the pieces together and see to it that each answer's end mark is learned too."""
        row = EncodedRow([], [])
        owes_end_mark = False
        for piece, ids in zip(pieces, encoded, strict=True):
            mask = [int(piece.is_answer)] * len(ids)
            marks = [i for i, token in enumerate(ids) if token in self._special_ids]
            if piece.is_answer and marks:
                # What a template writes after the end mark, such as a line break, is no answer.
                mask[marks[-1] + 1 :] = [0] * (len(ids) - marks[-1] - 1)
            elif not piece.is_answer and owes_end_mark and marks and marks[0] == 0:
                mask[0] = 1
            owes_end_mark = piece.is_answer and not marks
            row.ids += ids
            row.mask += mask
        if owes_end_mark and self.tokenizer.eos_token_id is not None:
            row.ids.append(self.tokenizer.eos_token_id)
            row.mask.append(1)
        if row.mask:
            row.mask[0] = 0  # nothing stands before the first token to tell it from
        return row

    def _find_stop_ids(self) -> frozenset[int]:
        """The end-of-text token, and the mark with which this template ends an answer."""
        stops = {self.tokenizer.eos_token_id}
        row = self.encode(
            [[Message(role="user", content="a"), Message(role="assistant", content="b")]]
        )[0]
        if row is not None:
            last = max((i for i, learned in enumerate(row.mask) if learned), default=None)
            if last is not None and row.ids[last] in self._special_ids:
                stops.add(row.ids[last])
        return frozenset(stop for stop in stops if stop is not None)


def _any_of(tokens: list[str]) -> re.Pattern[str]:
    """A pattern that finds any of the tokens, the longest first; none finds nothing."""
    longest_first = sorted(set(tokens), key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


@contextmanager
def _limited_rendering() -> Iterator[None]:
    """Bound the processor time of a template and turn its refusals into one error.

    Jinja's sandbox keeps a template from reaching anything, but not from counting to a trillion.
    Signals reach the main thread only; elsewhere the caller's own deadline has to do.
    """
    is_main = threading.current_thread() is threading.main_thread()
    previous: Any = None
    if is_main:
        previous = signal.signal(signal.SIGVTALRM, _give_up)
        signal.setitimer(signal.ITIMER_VIRTUAL, _LONGEST_RENDERING_SECONDS)
    try:
        yield
    except (TemplateError, TypeError, KeyError, IndexError, ValueError) as error:
        raise UnusableConversationError(str(error)) from error
    finally:
        if is_main:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, previous)


def _give_up(_number: int, _frame: FrameType | None) -> None:
    raise TrainingFailureError(
        "unexpected",
        "The base model's chat template takes too long to lay out one example.",
        "Choose another base model.",
        details=f"no text after {_LONGEST_RENDERING_SECONDS:g} s of processor time",
    )
