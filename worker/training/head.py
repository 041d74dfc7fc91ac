"""The head and the cross-entropy in one, tile by tile, for a head that is not trained.

The scores of a whole vocabulary are the largest thing that a training calculates, and all that is
done with them between two products (their largest, their exponentials, the sum of those) passes
through memory each time. So they are calculated for some rows and some words of the vocabulary at
once, a tile that stays in the caches, and are never there as a whole. Sums over tiles are kept
beside the largest score so far (Milakov and Gimelshein, "Online normalizer calculation for
softmax", 2018), and the way back is taken along in the same pass, as in Wijmans et al., "Cut Your
Losses in Large-Vocabulary Language Models", 2024.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
from torch.nn import functional

from app.runs.costs.tiles import ANSWERS_AT_ONCE, WORDS_AT_ONCE, WORDS_AT_ONCE_ON_A_CARD
from worker.training.scores import Treatment

# So far may a score lie above what is held for the largest; beyond it, the sums are brought down.
# The exponential of it is a number of every format.
_SLACK: Final = 8.0


class Head(NamedTuple):
    """A frozen head: weight is (vocabulary, width), bias (vocabulary,) or None.

    The treatment makes the model's scores of what the two give.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    treatment: Treatment = Treatment()


def loss(hidden: torch.Tensor, head: Head, targets: torch.Tensor, scale: float) -> torch.Tensor:
    """Return scale times the summed cross-entropy of hidden (rows, width), targets (rows,)."""
    apply: Any = _Loss.apply
    result: torch.Tensor = apply(hidden, head, targets, scale)
    return result


def log_probabilities(hidden: torch.Tensor, head: Head, targets: torch.Tensor) -> torch.Tensor:
    """Return the log-probability of each row's target, in fp32: (rows,)."""
    apply: Any = _LogProbabilities.apply
    result: torch.Tensor = apply(hidden, head, targets)
    return result


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 (torch gives it no type)
        hidden: torch.Tensor,
        head: Head,
        targets: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        needs_slope = ctx.needs_input_grad[0]
        slope = torch.empty_like(hidden) if needs_slope else None
        for here in _blocks(len(targets)):
            sums = _Sums.over(hidden[here], head, targets[here], with_others=needs_slope)
            total -= sums.told().sum()
            if slope is not None:
                slope[here] = sums.slope(head, targets[here]).mul_(scale)
        ctx.save_for_backward(slope)
        return total * scale

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:  # noqa: ANN401
        (slope,) = ctx.saved_tensors
        return slope * upstream, None, None, None


class _LogProbabilities(torch.autograd.Function):
    """How much each row counts is known only once all are told, so scores are calculated again."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 (torch gives it no type)
        hidden: torch.Tensor,
        head: Head,
        targets: torch.Tensor,
    ) -> torch.Tensor:
        told = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        for here in _blocks(len(targets)):
            told[here] = _Sums.over(hidden[here], head, targets[here], with_others=False).told()
        ctx.save_for_backward(hidden, head.weight, head.bias, targets)
        ctx.treatment = head.treatment
        return told

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:  # noqa: ANN401
        hidden, weight, bias, targets = ctx.saved_tensors
        head = Head(weight, bias, ctx.treatment)
        slope = torch.empty_like(hidden)
        for here in _blocks(len(targets)):
            sums = _Sums.over(hidden[here], head, targets[here], with_others=True)
            slope[here] = sums.slope(head, targets[here]).mul_(-upstream[here, None])
        return slope, None, None


def _blocks(rows: int) -> Iterator[slice]:
    return (slice(start, start + ANSWERS_AT_ONCE) for start in range(0, rows, ANSWERS_AT_ONCE))


@dataclass
class _Sums:
    """What is summed up over the vocabulary, for some rows; all in fp32.

    Attributes:
        reference: (rows, 1), about the largest score so far; exponentials are those of the
            difference to it.
        whole: (rows, 1), the sum of exponentials.
        target: (rows, 1), the target's score.
        others: (rows, width), the sum of the head's weights of all words but the target, each
            times its exponential and its score's steepness; None where nobody wants a slope.
    """

    reference: torch.Tensor
    whole: torch.Tensor
    target: torch.Tensor
    others: torch.Tensor | None

    @classmethod
    def over(
        cls, hidden: torch.Tensor, head: Head, targets: torch.Tensor, *, with_others: bool
    ) -> "_Sums":
        """Return the sums over the whole vocabulary."""
        nothing = torch.zeros((len(hidden), 1), dtype=torch.float32, device=hidden.device)
        others = torch.zeros_like(hidden, dtype=torch.float32) if with_others else None
        sums = cls(nothing - torch.inf, nothing.clone(), nothing.clone(), others)
        is_card = hidden.device.type != "cpu"
        at_once = WORDS_AT_ONCE_ON_A_CARD if is_card else WORDS_AT_ONCE
        for first in range(0, len(head.weight), at_once):
            words = slice(first, first + at_once)
            bias = None if head.bias is None else head.bias[words]
            given = functional.linear(hidden, head.weight[words], bias).float()
            tile = Head(head.weight[words], bias, head.treatment)
            sums._take(head.treatment.treat(given), tile, targets - first)
        return sums

    def _take(self, scores: torch.Tensor, head: Head, places: torch.Tensor) -> None:
        """Add a tile, whose scores may be overwritten.

        Args:
            scores: (rows, words).
            head: of these words only.
            places: (rows,), where among these words the target would be; outside of them, if it is
                another one.
        """
        rows = ((places >= 0) & (places < len(head.weight))).nonzero()[:, 0]
        targets = (rows, places[rows])
        self.target[rows, 0] = scores[targets]
        self._follow(scores.amax(dim=-1, keepdim=True))
        steepness = None if self.others is None else head.treatment.steepness(scores)
        parts = scores.sub_(self.reference).exp_()
        self.whole += parts.sum(dim=-1, keepdim=True)
        if self.others is not None:
            parts[targets] = 0.0
            if steepness is not None:
                parts *= steepness
            _add_product(self.others, parts, head.weight)

    def _follow(self, largest: torch.Tensor) -> None:
        """Bring the sums down to another reference where scores have left the old one."""
        is_far = largest > self.reference + _SLACK
        if not bool(is_far.any()):
            return
        reference = torch.where(is_far, largest, self.reference)
        shrinking = (self.reference - reference).exp_()
        self.reference = reference
        self.whole *= shrinking
        if self.others is not None:
            self.others *= shrinking

    def told(self) -> torch.Tensor:
        """Return the target's log-probability: (rows,)."""
        return (self.target - self.reference - self.whole.log())[:, 0]

    def slope(self, head: Head, targets: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the cross-entropy with respect to what the head read.

        The target's own part is added apart: once a word is as good as certain, what is left of it
        would be lost in the rounding of a sum with the others.
        """
        if self.others is None:
            raise RuntimeError("a slope that was not asked for is wanted")
        missing = torch.expm1(self.told())[:, None]
        steepness = head.treatment.steepness(self.target)
        if steepness is not None:
            missing *= steepness
        return (self.others / self.whole).addcmul_(head.weight[targets].float(), missing)


def _add_product(sums: torch.Tensor, parts: torch.Tensor, weight: torch.Tensor) -> None:
    if weight.dtype == sums.dtype:
        sums.addmm_(parts, weight)
    else:
        sums += torch.mm(parts.to(weight.dtype), weight)
