"""Full fine-tuning: the base model's own weights learn. The measured comparison to all else."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from transformers import PreTrainedModel

from worker.methods.learner import Learner, Tensors, trained_weights


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
        self._has_learned = False

    def after_update(self, step: int) -> None:  # noqa: ARG002 (whichever it is)
        self._has_learned = True

    def restore(self, tensors: Tensors, plain: dict[str, Any]) -> None:  # noqa: ARG002 (none)
        # Its weights are put back beside this, whatever had been learned by then.
        self._has_learned = True

    def as_base(self) -> AbstractContextManager[None]:
        """Let the base model answer for a while; until the first update it is there already."""
        return self._beside_the_learned() if self._has_learned else nullcontext()

    @contextmanager
    def _beside_the_learned(self) -> Iterator[None]:
        """Put the weights from the disk in the place of the learned ones, for a while.

        They take the room of the gradients, of which the last update needs nothing more.
        """
        for weight in self.weights.values():
            weight.grad = None
        there = dict(self._load_again().named_parameters())
        learned = {name: weight.data for name, weight in self.weights.items()}
        for name, weight in self.weights.items():
            weight.data = there[name].data
        try:
            yield
        finally:
            for name, weight in self.weights.items():
                weight.data = learned[name]
