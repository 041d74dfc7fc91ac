"""Full fine-tuning: the base model's own weights learn. The measured comparison to all else."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import AutoModelForCausalLM, PreTrainedModel

from worker.methods.learner import Learner, trained_weights


class FullLearner(Learner):
    """A whole model that learns; what comes out is a model of its own."""

    is_whole = True

    def __init__(self, base: PreTrainedModel) -> None:
        self.base = self.model = base
        base.requires_grad_(requires_grad=True)
        self.weights = trained_weights(base)

    @contextmanager
    def as_base(self) -> Iterator[None]:
        """Put the weights from the disk in the place of the learned ones, for a while."""
        original: Any = AutoModelForCausalLM.from_pretrained(
            str(self.base.name_or_path),
            dtype=self.base.dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
        there = dict(original.to(self.base.device).named_parameters())
        learned = {name: weight.data for name, weight in self.weights.items()}
        for name, weight in self.weights.items():
            weight.data = there[name].data
        try:
            yield
        finally:
            for name, weight in self.weights.items():
                weight.data = learned[name]
