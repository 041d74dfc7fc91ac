"""One base model in memory, and the adapters that are attached to it.

The rule for number formats: on a processor, models under a billion parameters are kept in float32
and larger ones in bfloat16; on a GPU that has bfloat16, everything is bfloat16. Adapters stay in
float32. Plain `AutoModelForCausalLM.from_pretrained(folder, dtype=…)` and
`PeftModel.from_pretrained(model, adapter)` give the same answers.
"""

from collections import OrderedDict
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache

from app.base_models.files import read_shape
from worker.inference.catalogue import BaseReference, ModelReference
from worker.inference.kinds import Head, KindShare, without_head
from worker.methods.front import memory_name, reads_in_pieces
from worker.methods.worn import WornAdapters
from worker.number_formats import card_has_bfloat16
from worker.own_weights import hold_weights

SMALL_MODEL_PARAMETERS = 1_000_000_000
_ROOM_FACTOR = 1.2
_MOST_HEADS = 16


def pick_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_dtype(parameters: int, device: torch.device) -> torch.dtype:
    """Return the number format that the rule above names."""
    if device.type == "cuda":
        return torch.bfloat16 if card_has_bfloat16() else torch.float32
    return torch.float32 if parameters < SMALL_MODEL_PARAMETERS else torch.bfloat16


def needed_bytes(base: BaseReference, device: torch.device) -> int:
    """Return about how much memory the base model will take, with room to work in."""
    parameters = read_shape(base.folder).parameters
    return int(parameters * pick_dtype(parameters, device).itemsize * _ROOM_FACTOR)


class LoadedModel:
    """A base model, shared by everyone who talks to it or to an adapter on it.

    Only the engine's thread may call anything but the constructor.
    """

    def __init__(self, base: BaseReference, device: torch.device) -> None:
        self.base = base
        self.device = device
        self.parameters = read_shape(base.folder).parameters
        self.dtype = pick_dtype(self.parameters, device)
        model: Any = AutoModelForCausalLM.from_pretrained(
            base.folder,
            dtype=self.dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
        self._model = model.to(device).eval().requires_grad_(requires_grad=False)
        hold_weights(self._model)
        self._worn = WornAdapters(self._model)
        self._heads: OrderedDict[str, Head] = OrderedDict()
        self.is_spoiled = False
        """An adapter went in only in part, so nothing that this model says can be trusted."""
        is_plain = not self._model._is_stateful  # noqa: SLF001 (transformers' own generation asks, too)
        self.reads_in_pieces = is_plain or reads_in_pieces(self._model)
        self.remembers = True
        """Others, such as RWKV, must read all anew for each word; known once it has read."""
        settings = self._model.generation_config
        ends = settings.eos_token_id if settings.eos_token_id is not None else []
        self.end_tokens = frozenset([ends] if isinstance(ends, int) else ends)
        self.repetition_penalty = float(settings.repetition_penalty or 1.0)

    @torch.inference_mode()
    def new_cache(self) -> DynamicCache:
        """Return the memory with which an answer begins: empty, but for virtual tokens."""
        cache = self._worn.new_cache()
        return DynamicCache(config=self._model.config) if cache is None else cache

    def use(self, reference: ModelReference) -> None:
        """Let the next steps go through the reference's adapter, or through the base alone."""
        if reference.run_id is None or reference.is_whole:
            self._worn.take_off()
            return
        folder = reference.adapter_folder
        assert folder is not None  # noqa: S101 (a reference with a run has its folder)
        name = f"{reference.run_id}_{reference.adapter_digest}"
        self.is_spoiled = True
        if reference.sorts and name not in self._worn:
            with without_head(folder) as adapter:
                self._worn.put_on(name, adapter)
        else:
            self._worn.put_on(name, folder)
        self.is_spoiled = False

    @torch.inference_mode()
    def next_logits(self, ids: list[int], cache: DynamicCache) -> torch.Tensor:
        """Read tokens into the cache and return the scores of what may follow the last one."""
        read = torch.tensor([ids], device=self.device)
        memory = memory_name(self._model)
        told = {memory: cache} if self.remembers else {}
        output = self._model(input_ids=read, use_cache=self.remembers, logits_to_keep=1, **told)
        self.remembers = getattr(output, memory, None) is not None
        logits: torch.Tensor = output.logits[0, -1]
        return logits

    @torch.inference_mode()
    def kinds_of(self, reference: ModelReference, ids: list[int]) -> list[KindShare]:
        """Return how sure a version is of each kind of a text, the surest first."""
        folder, digest = reference.adapter_folder, reference.adapter_digest or ""
        assert folder is not None  # noqa: S101 (a reference with a run has its folder)
        if digest not in self._heads:
            self._heads[digest] = Head.read(folder, self.device)
            if len(self._heads) > _MOST_HEADS:
                self._heads.popitem(last=False)
        read = torch.tensor([ids], device=self.device)
        hidden: torch.Tensor = self._model.base_model(input_ids=read, use_cache=False)[0]
        return self._heads[digest].shares(hidden[0, -1])
