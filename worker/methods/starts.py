"""PiSSA and OLoRA: the adapter begins with what matters most in the base model's own weights.

Both take a part of each weight, W = R + B A, and train B and A while R stays (Meng et al., 2024;
Büyükakyüz, 2024). The usual way writes R over the base model. Here the base model keeps W, and a
second adapter that never learns subtracts the beginning: W + (B A - B0 A0) is the same sum. So
the base stays as it is to the bit, “as if nothing had been learned” is the true base model, and
what is saved is plain LoRA of twice the rank that fits everyone's copy of the base model.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from peft import LoraConfig, PeftConfig, get_peft_model_state_dict
from peft.tuners.lora.layer import LoraLayer
from transformers import PreTrainedModel

from worker.methods.learner import ADAPTER, Learner, Tensors, trained_weights

_BEGINNING: Final = "beginning"
# Rounds of the fast decomposition: with 16 it is as good as the exact one (PiSSA, section 4).
PISSA: Final = "pissa_niter_16"
OLORA: Final = "olora"


class StartedLearner(Learner):
    """LoRA that starts from the base model's own weights."""

    def __init__(self, base: PreTrainedModel, config: LoraConfig, start: str) -> None:
        super().__init__(base, config)
        self._alpha, self._rank = config.lora_alpha, config.r
        self.model.add_adapter(_BEGINNING, copy.deepcopy(config))
        for layer in self._layers():
            _begin(layer, start)
        self._wear_both()
        self.weights = trained_weights(self.model)

    @contextmanager
    def as_base(self) -> Iterator[None]:
        try:
            with super().as_base():
                yield
        finally:
            # peft lets all that is worn learn when it is put on again.
            self._wear_both()

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        # Found anew it would differ in its last bits on another kind of machine.
        return get_peft_model_state_dict(self.model, adapter_name=_BEGINNING), {}

    def restore(self, tensors: Tensors, plain: dict[str, Any]) -> None:
        del plain
        names = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, tensor in tensors.items():
                names[name.replace(".weight", f".{_BEGINNING}.weight")].copy_(tensor)

    def result(self) -> tuple[Tensors, PeftConfig]:
        """Return both as one adapter: [B | -B0] [A ; A0], so twice the rank and twice the alpha."""
        learned = get_peft_model_state_dict(self.model, adapter_name=ADAPTER)
        beginning = get_peft_model_state_dict(self.model, adapter_name=_BEGINNING)
        joined = {
            name: torch.cat([tensor, beginning[name]], dim=1 if "lora_B" in name else 0)
            for name, tensor in learned.items()
        }
        config = copy.deepcopy(self.model.peft_config[ADAPTER])
        config.r, config.lora_alpha = 2 * self._rank, 2 * self._alpha
        return joined, config

    def _layers(self) -> list[LoraLayer]:
        return [layer for layer in self.model.modules() if isinstance(layer, LoraLayer)]

    def _wear_both(self) -> None:
        self.model.base_model.set_adapter([ADAPTER, _BEGINNING])
        for name, weight in self.model.named_parameters():
            if f".{_BEGINNING}." in name:
                weight.requires_grad_(requires_grad=False)


def _begin(layer: Any, start: str) -> None:  # noqa: ANN401 (peft ships no types)
    """Set both adapters of a layer to the part of its weight that the start takes."""
    own = layer.get_base_layer().weight
    kept = own.data
    # peft writes the rest of the weight over it, in place or beside it.
    own.data = kept.clone()
    if start == OLORA:
        layer.olora_init(ADAPTER)
    else:
        layer.pissa_init(ADAPTER, start)
    own.data = kept
    with torch.no_grad():
        a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        a.data, b.data = a.data.float().contiguous(), b.data.float().contiguous()
        layer.lora_A[_BEGINNING].weight.copy_(a)
        layer.lora_B[_BEGINNING].weight.copy_(-b)
