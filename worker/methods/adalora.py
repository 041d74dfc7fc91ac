"""AdaLoRA: rank is taken from layers that need little of it (Zhang et al., 2023, arXiv 2303.10512).

peft keeps the books (which entries mattered, who keeps how much); here they are carried through
checkpoints, and the adapter is saved with the ranks that its weights really have.
"""

import copy
from typing import Any

import torch
from peft import AdaLoraConfig, PeftConfig, get_peft_model_state_dict
from transformers import PreTrainedModel

from worker.methods.learner import ADAPTER, Learner, Tensors

_BOOKS = ("ipt", "exp_avg_ipt", "exp_avg_unc")


class AdaptiveLearner(Learner):
    """LoRA whose ranks are given out anew while it learns."""

    def __init__(self, base: PreTrainedModel, config: AdaLoraConfig) -> None:
        super().__init__(base, config)
        self._config = self.model.peft_config[ADAPTER]
        self._weight = float(config.orth_reg_weight)

    def regularise(self) -> None:
        """Pull the two outer matrices towards orthogonality (equation 4 of the paper)."""
        pairs = [
            (weight, "lora_A" in name)
            for name, weight in self.weights.items()
            if "lora_A" in name or "lora_B" in name
        ]
        if self._weight <= 0.0 or not pairs:
            return
        total = torch.zeros((), device=pairs[0][0].device)
        for weight, is_inner in pairs:
            product = weight @ weight.T if is_inner else weight.T @ weight
            identity = torch.eye(len(product), device=product.device)
            total = total + torch.linalg.matrix_norm(product - identity)
        (self._weight * total / len(pairs)).backward()

    def after_update(self, step: int) -> None:
        tuner = self.model.base_model
        is_last_allocation = step == self._config.total_step - self._config.tfinal
        if is_last_allocation and not tuner.rankallocator.ipt:
            # A run of a single update: nothing is known yet of what matters.
            return
        tuner.update_and_allocate(step)

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        allocator = self.model.base_model.rankallocator
        tensors = {
            f"{book}.{name}": tensor.detach().cpu()
            for book in _BOOKS
            for name, tensor in getattr(allocator, book).items()
        }
        return tensors, {"rank_pattern": self._config.rank_pattern}

    def restore(self, tensors: Tensors, plain: dict[str, Any]) -> None:
        allocator = self.model.base_model.rankallocator
        for book in _BOOKS:
            found = {
                name.removeprefix(f"{book}."): tensor.to(self.base.device)
                for name, tensor in tensors.items()
                if name.startswith(f"{book}.")
            }
            setattr(allocator, book, found)
        self._config.rank_pattern = plain["rank_pattern"]

    def result(self) -> tuple[Tensors, PeftConfig]:
        """Return the adapter without the entries that were taken away, as they are now.

        An entry that was taken may learn again until the next time ranks are given out, so what
        counts is what is zero, not what was written down last.
        """
        written_down = self._config.rank_pattern
        # With a pattern peft would cut by it.
        self._config.rank_pattern = None
        tensors = get_peft_model_state_dict(self.model)
        self._config.rank_pattern = written_down
        config = copy.deepcopy(self._config)
        pattern: dict[str, list[bool]] = {}
        slim: Tensors = {}
        for name, tensor in tensors.items():
            if "lora_E" not in name:
                continue
            is_kept = tensor.view(-1) != 0
            # A layer of rank 0 is more than peft can load.
            is_kept[0] |= not bool(is_kept.any())
            key = name.removeprefix("base_model.model.")
            pattern[key] = is_kept.tolist()
            inner, outer = name.replace("lora_E", "lora_A"), name.replace("lora_E", "lora_B")
            slim[name] = tensor[is_kept]
            slim[inner], slim[outer] = tensors[inner][is_kept], tensors[outer][:, is_kept]
        config.rank_pattern = pattern
        return slim, config
