"""Full fine-tuning: the base model's own weights learn. The measured comparison to all else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel

from worker.methods.learner import Learner, trained_weights


class FullLearner(Learner):
    """A whole model that learns; what comes out is a model of its own.

    Args:
        base: the base model, which learns.
        load_again: loads another one like it, from the same files or not at all.
    """

    is_whole = True

    def __init__(self, base: PreTrainedModel, load_again: Callable[[], PreTrainedModel]) -> None:
        self.base = self.model = base
        self._load_again = load_again
        base.requires_grad_(requires_grad=True)
        self.weights = trained_weights(base)

    @contextmanager
    def as_base(self) -> Iterator[None]:
        """Put the weights from the disk in the place of the learned ones, for a while."""
        there = dict(self._load_again().named_parameters())
        learned = {name: weight.data for name, weight in self.weights.items()}
        for name, weight in self.weights.items():
            weight.data = there[name].data
        try:
            yield
        finally:
            for name, weight in self.weights.items():
                weight.data = learned[name]
