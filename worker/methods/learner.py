"""A base model and what is trained of it: what every method has in common."""

from contextlib import AbstractContextManager
from typing import Any, Final

import torch
from peft import PeftConfig, get_peft_model, get_peft_model_state_dict
from transformers import DynamicCache, PreTrainedModel

from worker.methods.front import Front

ADAPTER: Final = "default"
Weights = dict[str, torch.nn.Parameter]
Tensors = dict[str, torch.Tensor]


class Learner:
    """A base model that wears an adapter, and all that a training must know of the method.

    Most methods need nothing beyond what stands here; those that do are classes of their own.

    Attributes:
        base: the base model itself, its layers wearing the adapter; what is calculated with.
        model: the same as peft sees it.
        weights: what is trained, by name, in a fixed order.
        front: the virtual tokens, for methods that have them.
        is_whole: whether the whole model learns, so that there is no adapter.
    """

    front: Front | None = None
    is_whole = False

    def __init__(self, base: PreTrainedModel, config: PeftConfig) -> None:
        self.base = base
        self.model: Any = get_peft_model(base, config)
        self.weights: Weights = trained_weights(self.model)

    def also_learn(self, weights: Weights) -> None:
        """Let weights learn that are no part of the method, such as a head."""
        self.weights = {**self.weights, **weights}

    def groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's groups; `rate_factor` multiplies the plan's learning rate."""
        return [{"params": list(self.weights.values()), "rate_factor": 1.0}]

    def regularise(self) -> None:
        """Add to the gradients, once an update, what the method asks for besides the loss."""

    def after_update(self, step: int) -> None:
        """Do what the method does after the optimizer's step, from 1, gradients still there."""

    def as_base(self) -> AbstractContextManager[None]:
        """Let the base model answer, for a while, as if nothing had been learned."""
        disabled: AbstractContextManager[None] = self.model.disable_adapter()
        return disabled

    def new_cache(self) -> DynamicCache | None:
        """Return what an answer begins with in its memory, if the method puts anything there."""
        return None

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Return what a checkpoint must hold besides weights and optimizer: tensors, plain data."""
        return {}, {}

    def restore(self, tensors: Tensors, plain: dict[str, Any]) -> None:
        """Take back what `state` gave."""

    def result(self) -> tuple[Tensors, PeftConfig]:
        """Return the adapter as plain peft reads it: its tensors and its configuration."""
        config = self.model.peft_config[ADAPTER]
        return get_peft_model_state_dict(self.model), config


def trained_weights(model: torch.nn.Module) -> Weights:
    """Return what is trained, by name, in a fixed order."""
    return {name: p for name, p in sorted(model.named_parameters()) if p.requires_grad}


class FasterB(Learner):
    """LoRA+: of each pair the outer matrix, B, takes larger steps (Hayou et al., 2024)."""

    def __init__(self, base: PreTrainedModel, config: PeftConfig, ratio: float) -> None:
        super().__init__(base, config)
        self._ratio = ratio

    def groups(self) -> list[dict[str, Any]]:
        inner = [weight for name, weight in self.weights.items() if "lora_B" not in name]
        outer = [weight for name, weight in self.weights.items() if "lora_B" in name]
        return [
            {"params": inner, "rate_factor": 1.0},
            {"params": outer, "rate_factor": self._ratio},
        ]


class PromptLearner(Learner):
    """Virtual tokens learn; the base model's layers stay as they are."""

    front: Front

    def __init__(self, base: PreTrainedModel, config: PeftConfig) -> None:
        super().__init__(base, config)
        self.front = Front(self.model, base)

    def as_base(self) -> AbstractContextManager[None]:
        return self.front.off()

    def new_cache(self) -> DynamicCache | None:
        return self.front.filled_cache() if self.front.is_on else None
