"""From a conversation to the tokens that a model reads.

The rule for conversations that are too long: the answer's room is kept free first (what was asked
for, at most half of what the model can read). If the conversation does not fit into the rest, its
oldest turns are left out (a question together with its answer), never the instructions and never
the last question; the response says how many. A last question that does not fit is refused.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from app.base_models.files import read_shape
from app.datasets.content import cleaned
from worker.inference.errors import ChatServerError, bad_request
from worker.inference.template_renderer import TemplateRenderer
from worker.training.answer_places import UnusableConversationError
from worker.training.chat_templates import ChatFormat
from worker.training.encoders import encode_texts
from worker.training.examples import Message

logger = logging.getLogger(__name__)

MOST_CONTEXT_TOKENS = 8192
"""Longer contexts are cut to this: the memory of an answer grows with what it has read."""


@dataclass(frozen=True)
class Prompt:
    """What the model reads.

    Attributes:
        ids: the tokens.
        most_new_tokens: how long the answer may become.
        turns_left_out: oldest turns that did not fit.
    """

    ids: list[int]
    most_new_tokens: int
    turns_left_out: int


class GuardedChatFormat(ChatFormat):
    """The same format as in training, with templates rendered in the limited child.

    A server has to outlive every template; a training child only has to fail.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, renderer: TemplateRenderer) -> None:
        self._renderer = renderer
        super().__init__(tokenizer)

    def _rendered_with(
        self, messages: list[Message], options: dict[str, bool]
    ) -> tuple[str, list[tuple[int, int]]]:
        answer = self._renderer.render(
            {
                "template": self.template,
                "messages": messages,
                "special_tokens": self.tokenizer.special_tokens_map,
                "options": options,
            }
        )
        return str(answer["text"]), [(start, end) for start, end in answer["spans"]]


class Prompter:
    """Writes conversations down for one tokenizer and chat template."""

    def __init__(
        self,
        tokenizer_folder: Path,
        base_folder: Path,
        renderer: TemplateRenderer,
        taken_tokens: int = 0,
    ) -> None:
        tokenizer = AutoTokenizer.from_pretrained(
            tokenizer_folder, local_files_only=True, trust_remote_code=False
        )
        self._format = GuardedChatFormat(tokenizer, renderer)
        self._lock = Lock()
        context = min(read_shape(base_folder).context_length, MOST_CONTEXT_TOKENS)
        # Virtual tokens stand before the text and take places of their own.
        self.context_tokens = context - taken_tokens

    @property
    def stop_ids(self) -> frozenset[int]:
        return self._format.stop_ids

    def prompt(self, messages: Sequence[Message], asked_tokens: int | None) -> Prompt:
        """Return what the model reads for a conversation.

        Raises:
            ChatServerError: 400 if the last question alone is too long.
        """
        asked = self.context_tokens if asked_tokens is None else asked_tokens
        room = self.context_tokens - min(asked, self.context_tokens // 2)
        instructions, turns = _in_turns(messages)
        ids, left_out = self._longest_that_fits(instructions, turns, room)
        return Prompt(ids, min(asked, self.context_tokens - len(ids)), left_out)

    def text_to_sort(self, messages: Sequence[Message], most_tokens: int | None = None) -> Prompt:
        """Return what is read of the last thing that was said; of a long text, its beginning.

        It is what a training reads of the same text, or its accuracy would be that of others.

        Args:
            messages: the conversation.
            most_tokens: as many as the training read; None for as many as the model can.

        Raises:
            ChatServerError: 400 if nothing was said.
        """
        said = [message["content"] for message in messages if message["role"] == "user"]
        text = cleaned(said[-1]) if said else ""
        if not text:
            raise bad_request("There is no text to sort.", param="messages")
        with self._lock:
            ids = encode_texts(self._format, [text])[0]
        return Prompt(ids[: most_tokens or self.context_tokens], 0, 0)

    def decode(self, ids: Sequence[int]) -> str:
        with self._lock:
            return str(
                self._format.tokenizer.decode(
                    list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
                )
            )

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of a conversation; control marks that were typed stay plain text.

        Raises:
            ChatServerError: 400 if the model's template cannot write the conversation down.
        """
        with self._lock:
            try:
                return self._format.encode_prompt(messages)
            except UnusableConversationError as error:
                logger.info("a chat template refused a conversation: %s", error)
                raise bad_request(
                    "The model's chat template cannot write this conversation down. "
                    "Begin a new conversation.",
                    param="messages",
                ) from error

    def _longest_that_fits(
        self, instructions: list[Message], turns: list[list[Message]], room: int
    ) -> tuple[list[int], int]:
        def written(left_out: int) -> list[int]:
            return self.encode([*instructions, *(m for turn in turns[left_out:] for m in turn)])

        ids = written(0)
        if len(ids) <= room:
            return ids, 0
        # Fewer turns are never more tokens, so the fewest to leave out are found by halving.
        too_few, enough, best = 0, len(turns), None
        while enough - too_few > 1:
            middle = (too_few + enough) // 2
            ids = written(middle)
            if len(ids) <= room:
                enough, best = middle, ids
            else:
                too_few = middle
        if best is None:
            raise ChatServerError(
                400,
                "context_length_exceeded",
                f"The question is too long: this model reads {room:,} tokens (about "
                f"{room * 3 // 4:,} words) beside its answer. Shorten the question or the "
                "instructions.",
                param="messages",
            )
        return best, enough


def _in_turns(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    instructions: list[Message] = []
    turns: list[list[Message]] = []
    for message in messages:
        if message["role"] == "system" and not turns:
            instructions.append(message)
        elif message["role"] == "user" or not turns:
            turns.append([message])
        else:
            turns[-1].append(message)
    return instructions, turns
