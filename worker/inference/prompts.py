"""From a conversation to the tokens that a model reads.

The rule for conversations that are too long: the answer's room is kept free first (what was asked
for, at most half of what the model can read). If the conversation does not fit into the rest, its
oldest turns are left out (a question together with its answer), never the instructions and never
the last question; the response says how many. A last question that does not fit is refused.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from transformers import AutoTokenizer

from app.base_models.files import read_shape
from worker.inference.errors import ChatServerError
from worker.inference.template_renderer import TemplateRenderer

MOST_CONTEXT_TOKENS = 8192
"""Longer contexts are cut to this: the memory of an answer grows with what it has read."""

Message = dict[str, str]

DEFAULT_CHAT_TEMPLATE = "TEMPORARY"


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


class Prompter:
    """Writes conversations down for one tokenizer and chat template."""

    def __init__(
        self, tokenizer_folder: Path, base_folder: Path, renderer: TemplateRenderer
    ) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(
            tokenizer_folder, local_files_only=True, trust_remote_code=False
        )
        self._renderer = renderer
        self._lock = Lock()
        self._template = _chat_template(self._tokenizer)
        added = {str(token) for token in self._tokenizer.added_tokens_decoder.values()}
        marks = sorted(added | set(self._tokenizer.all_special_tokens), key=len, reverse=True)
        self._marks = [mark for mark in marks if len(mark) > 1]
        self._mark_pattern = re.compile("|".join(map(re.escape, self._marks)) or r"(?!)")
        self.context_tokens = min(read_shape(base_folder).context_length, MOST_CONTEXT_TOKENS)

    @property
    def end_token(self) -> int | None:
        token: int | None = self._tokenizer.eos_token_id
        return token

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

    def decode(self, ids: Sequence[int]) -> str:
        with self._lock:
            text: str = self._tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        return text

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of a conversation; control marks in what was typed stay plain text."""
        # A nonce nobody can guess stands for each typed mark while the template runs, so that the
        # template's own marks, and only those, become control tokens.
        nonce = secrets.token_hex(8)
        hidden = [
            {"role": message["role"], "content": self._hide_marks(message["content"], nonce)}
            for message in messages
        ]
        named = self._tokenizer.special_tokens_map.items()
        special = {name: token for name, token in named if isinstance(token, str)}
        written = self._renderer.render(self._template, hidden, special)
        ids: list[int] = []
        for position, piece in enumerate(re.split(f"\ue000{nonce}([0-9]+)\ue001", written)):
            if position % 2 == 0:
                ids += self._plain_ids(piece)
            else:
                mark = self._marks[int(piece)]
                ids += self._plain_ids(mark[:1]) + self._plain_ids(mark[1:])
        return ids

    def _hide_marks(self, text: str, nonce: str) -> str:
        return self._mark_pattern.sub(
            lambda found: f"\ue000{nonce}{self._marks.index(found[0])}\ue001", text
        )

    def _plain_ids(self, text: str) -> list[int]:
        if not text:
            return []
        with self._lock:
            ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

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


def _chat_template(tokenizer: Any) -> str:  # noqa: ANN401 (transformers ships no types)
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    return template or DEFAULT_CHAT_TEMPLATE


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
