"""Turns the stream of conversations into batches of tokens with a weight for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random

import torch
from tokenizers import Tokenizer

from worker.starter.conversation import Conversation
from worker.starter.corpus import conversations
from worker.starter.tokenization import (
    ASSISTANT,
    CONTEXT_LENGTH,
    END,
    PAD,
    SYSTEM,
    TOKEN_NUMBER,
    USER,
)

_CONVERSATIONS_PER_CHUNK = 8192
# The questions are learned too, more weakly: their random names cannot be foreseen.
_QUESTION_WEIGHT = 0.15


@dataclass(frozen=True)
class Batch:
    """Rows of like length; attention is causal, so the padding on the right disturbs nothing."""

    tokens: torch.Tensor
    weights: torch.Tensor
    real_tokens: int


@dataclass(frozen=True)
class _Row:
    tokens: list[int]
    weights: list[float]


def batches(tokenizer: Tokenizer, seed: int, tokens_per_batch: int) -> Iterator[Batch]:
    stream = conversations(seed)
    rng = Random(seed)  # noqa: S311 -- the order must follow from the seed
    while True:
        rows = _rows(list(islice(stream, _CONVERSATIONS_PER_CHUNK)), tokenizer)
        rows.sort(key=lambda row: len(row.tokens))
        groups = list(_grouped(rows, tokens_per_batch))
        rng.shuffle(groups)
        for group in groups:
            yield _batch(group, TOKEN_NUMBER[PAD])


def _rows(chunk: list[Conversation], tokenizer: Tokenizer) -> list[_Row]:
    mark_of = {
        role: TOKEN_NUMBER[mark]
        for role, mark in (("system", SYSTEM), ("user", USER), ("assistant", ASSISTANT))
    }
    end = TOKEN_NUMBER[END]
    texts = [message.content for conversation in chunk for message in conversation.messages]
    encoded = iter(tokenizer.encode_batch(texts, add_special_tokens=False))
    rows: list[_Row] = []
    for conversation in chunk:
        tokens: list[int] = []
        weights: list[float] = []
        for message in conversation.messages:
            content = [*next(encoded).ids, end]
            weight = 1.0 if message.role == "assistant" else _QUESTION_WEIGHT
            tokens += [mark_of[message.role], *content]
            weights += [0.0, *([weight] * len(content))]
        rows.append(_Row(tokens[:CONTEXT_LENGTH], weights[:CONTEXT_LENGTH]))
    return rows


def _grouped(rows: list[_Row], tokens_per_batch: int) -> Iterator[list[_Row]]:
    group: list[_Row] = []
    for row in rows:
        # Rows come sorted, so the newest row is the longest and sets the width.
        if group and len(row.tokens) * (len(group) + 1) > tokens_per_batch:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _batch(group: list[_Row], pad: int) -> Batch:
    width = max(len(row.tokens) for row in group)
    tokens = torch.full((len(group), width), pad, dtype=torch.long)
    weights = torch.zeros((len(group), width))
    for place, row in enumerate(group):
        tokens[place, : len(row.tokens)] = torch.tensor(row.tokens)
        weights[place, : len(row.weights)] = torch.tensor(row.weights)
    return Batch(tokens, weights, sum(len(row.tokens) for row in group))
