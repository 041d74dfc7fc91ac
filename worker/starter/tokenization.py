"""The byte-level BPE tokenizer and the marks of its chat template."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from worker.starter.corpus import conversations

PAD, END = "<|pad|>", "<|end|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = [PAD, END, SYSTEM, USER, ASSISTANT]
# The trainer numbers the special tokens first, in this order.
TOKEN_NUMBER = {token: number for number, token in enumerate(SPECIAL_TOKENS)}
CONTEXT_LENGTH = 1024

_TEMPLATE_FILE = Path(__file__).parent / "chat_template.jinja"
_CONVERSATIONS_TO_READ = 40_000


def train_tokenizer(vocabulary_size: int, seed: int) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    # Single digits let the model copy an order number that it has never seen.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(seed), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )
    wrapped.chat_template = _TEMPLATE_FILE.read_text(encoding="utf-8").replace("\n", "")
    return wrapped


def _texts(seed: int) -> Iterator[str]:
    for conversation in islice(conversations(seed), _CONVERSATIONS_TO_READ):
        for message in conversation.messages:
            yield message.content
