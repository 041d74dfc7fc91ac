"""Virtual tokens: what prompt tuning, P-tuning and prefix tuning put before every text.

Two kinds. Vectors that stand where tokens would (prompt tuning, P-tuning): the model reads them
first. Keys and values for each layer (prefix tuning): the model finds them in its memory as if it
had read something. Training and chat go through the base model directly, so both put them there
in the one way that stands here; what peft itself would calculate is the same.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from peft import PeftType
from transformers import DynamicCache, PreTrainedModel

_PROBE_TOKENS: Final = 8
# As a part of what it would change to forget the first piece altogether.
_MAY_BE_FORGOTTEN: Final = 0.25
_ROUNDING: Final = 1e-4

USUAL_MEMORY: Final = "past_key_values"
PROMPT_TYPES: Final = frozenset({PeftType.PROMPT_TUNING, PeftType.P_TUNING, PeftType.PREFIX_TUNING})


def memory_name(model: Any) -> str:  # noqa: ANN401 (transformers' models share no type)
    """Return what a model calls its memory of what it has read; Mamba has a word of its own."""
    told = inspect.signature(model.forward).parameters
    return "cache_params" if "cache_params" in told else USUAL_MEMORY


@torch.no_grad()
def reads_in_pieces(model: Any) -> bool:  # noqa: ANN401 (transformers' models share no type)
    """Whether a model knows of a text that it read in pieces what it knows of one read at once.

    Some families (RWKV, RecurrentGemma) give their memory to nobody, and some (Mamba, FalconMamba)
    begin their state anew with each piece that is longer than a word. So a few tokens are read at
    once, in two pieces, and the second piece alone.
    """
    memory = memory_name(model)
    words = model.config.get_text_config().vocab_size
    ids = torch.arange(_PROBE_TOKENS, device=model.device)[None] % words
    first, second = ids.chunk(2, dim=1)
    known = getattr(model(input_ids=first, use_cache=True, logits_to_keep=1), memory, None)
    if known is None:
        return False
    pieces = model(input_ids=second, use_cache=True, **{memory: known}).logits[0, -1]
    whole = model(input_ids=ids, use_cache=False).logits[0, -1]
    alone = model(input_ids=second, use_cache=False).logits[0, -1]
    rounding = max(_ROUNDING, 2 * torch.finfo(whole.dtype).eps) * whole.float().norm()
    forgotten = _MAY_BE_FORGOTTEN * (alone.float() - whole.float()).norm()
    return bool((pieces.float() - whole.float()).norm() <= max(rounding, forgotten))


class Front:
    """The virtual tokens of a peft model, before a batch or in a fresh memory.

    Attributes:
        is_on: whether they stand there; without them the base model answers.
    """

    def __init__(self, model: Any, base: PreTrainedModel) -> None:  # noqa: ANN401
        self._model = model
        self._base = base
        self._in_memory = model.active_peft_config.peft_type == PeftType.PREFIX_TUNING
        self.is_on = True

    @property
    def places(self) -> int:
        """How many places of the model's output come before those of the text."""
        if self._in_memory or not self.is_on:
            return 0
        return int(self._model.active_peft_config.num_virtual_tokens)

    def inputs(self, ids: torch.Tensor) -> dict[str, Any]:
        """Return what the base model is called with to read rows of token ids."""
        if not self.is_on:
            return {"input_ids": ids}
        if self._in_memory:
            memory = self._model.get_prompt(batch_size=len(ids))
            return {"input_ids": ids, "past_key_values": memory}
        embedded = self._base.get_input_embeddings()(ids)
        vectors = self._model.get_prompt(batch_size=len(ids)).to(embedded.dtype)
        return {"inputs_embeds": torch.cat([vectors, embedded], dim=1)}

    def filled_cache(self) -> DynamicCache:
        """Return a memory for one answer in which the virtual tokens have been read already."""
        vectors = self._model.get_prompt(batch_size=1)
        if self._in_memory:
            memory: DynamicCache = vectors
            return memory
        cache = DynamicCache(config=self._base.config)
        base: Any = self._base
        embedding: Any = base.get_input_embeddings().weight
        base(
            inputs_embeds=vectors.to(embedding.dtype),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return cache

    @contextmanager
    def off(self) -> Iterator[None]:
        """Leave them away for a while."""
        self.is_on = False
        try:
            yield
        finally:
            self.is_on = True
