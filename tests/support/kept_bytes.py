"""Counts what a real model keeps between the forward and the backward pass."""

import gc
from typing import Any
from weakref import WeakSet

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from app.base_models.transformer_shape import TransformerShape
from app.runs.methods import METHODS, Method, Quantization
from app.runs.setting import SettingValues
from worker.methods.learners import make_learner
from worker.methods.targets import linear_layers
from worker.training.batches import MicroBatch
from worker.training.few_bits import held_layer, keep_their_form
from worker.training.loss import AnswerLoss


class _Held:
    """A tensor that the way back needs, for as long as it does."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


class Worn:
    """A small random model that learns by a method."""

    def __init__(
        self,
        shape: TransformerShape,
        method: Method,
        settings: SettingValues,
        dtype: torch.dtype,
        form: Quantization = Quantization.NONE,
    ) -> None:
        # The million objects of other tests are not looked through again and again.
        gc.freeze()
        self._vocabulary = shape.vocabulary
        config = LlamaConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.hidden,
            intermediate_size=shape.ffn,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            tie_word_embeddings=True,
        )
        model: Any = LlamaForCausalLM(config)
        model = model.to(torch.float32 if METHODS[method].needs_float32 else dtype)
        model.requires_grad_(False)
        if form is not Quantization.NONE:
            _hold(model, form, dtype)
        self.loss = AnswerLoss(model)
        self.learner = make_learner(
            method,
            settings,
            model,
            total_steps=10,
            seed=1,
            load_again=lambda: LlamaForCausalLM(config),
        )
        self.loss.front = self.learner.front
        self.loss.try_packed()
        self.learner.model.train()
        # What is made once, on the first use, is no part of a pass.
        self._forward(1, 8).backward()

    @property
    def trained(self) -> int:
        return sum(weight.numel() for weight in self.learner.weights.values())

    def kept_bytes(self, rows: int, length: int) -> int:
        """Return the memory of all tensors that a forward pass leaves behind."""
        before = _storages()
        held: WeakSet[_Held] = WeakSet()

        def pack(tensor: torch.Tensor) -> _Held:
            one = _Held(tensor)
            held.add(one)
            return one

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one.tensor):
            loss = self._forward(rows, length)
        after = {**_storages(), **dict(_storage(one.tensor) for one in held)}
        del loss
        gc.unfreeze()
        return sum(size for place, size in after.items() if place not in before)

    def _forward(self, rows: int, length: int) -> torch.Tensor:
        ids = torch.randint(0, self._vocabulary, (rows, length))
        places = torch.arange(rows * length // 2)
        targets = torch.randint(0, self._vocabulary, (len(places),))
        return self.loss.total(MicroBatch(ids, places, targets, rows * length))


def _hold(model: Any, form: Quantization, dtype: torch.dtype) -> None:  # noqa: ANN401 (no types)
    """Hold the matrices of the layers in few bits, as transformers does while it loads them."""
    for name, layer in linear_layers(model).items():
        assert isinstance(layer, torch.nn.Linear)
        model.set_submodule(name, held_layer(layer, form, dtype, torch.device("cpu")))
    model.requires_grad_(False)
    setattr(model, f"is_loaded_in_{form.value}", True)
    keep_their_form(model)


def _storages() -> dict[int, int]:
    """Return address and size of each tensor's memory that Python knows of."""
    gc.collect()
    kinds = (torch.Tensor, torch.nn.Parameter)
    tensors = [thing for thing in gc.get_objects() if type(thing) in kinds]
    return dict(_storage(tensor) for tensor in tensors if not tensor.is_meta)


def _storage(tensor: torch.Tensor) -> tuple[int, int]:
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()
