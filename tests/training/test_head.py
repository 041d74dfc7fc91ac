"""The head in tiles gives what the whole scores give, however they lie over the tiles."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from worker.training import head
from worker.training.scores import Treatment

_ROWS = 700
_WIDTH = 24
_WORDS = 2500
_SCALE = 0.25
_UNTREATED = Treatment()

Case = tuple[torch.Tensor, head.Head, torch.Tensor]


def case(scores: float = 1.0, *, has_bias: bool = False, treatment: Treatment = _UNTREATED) -> Case:
    """Return rows, a head and targets over several tiles and none of them full."""
    torch.manual_seed(3)
    hidden = torch.randn(_ROWS, _WIDTH) * scores
    bias = torch.randn(_WORDS) if has_bias else None
    of = head.Head(torch.randn(_WORDS, _WIDTH), bias, treatment)
    return hidden, of, torch.randint(_WORDS, (_ROWS,))


def whole_scores(hidden: torch.Tensor, of: head.Head) -> torch.Tensor:
    bias = None if of.bias is None else of.bias.double()
    given = functional.linear(hidden.double(), of.weight.double(), bias)
    scale, cap = of.treatment
    return given * scale if cap is None else cap * torch.tanh(given * scale / cap)


def whole_loss(hidden: torch.Tensor, of: head.Head, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(whole_scores(hidden, of), targets, reduction="sum") * _SCALE


def whole_told(hidden: torch.Tensor, of: head.Head, targets: torch.Tensor) -> torch.Tensor:
    return -functional.cross_entropy(whole_scores(hidden, of), targets, reduction="none")


def slope_of(loss: Callable[[torch.Tensor], torch.Tensor], hidden: torch.Tensor) -> torch.Tensor:
    leaf = hidden.clone().requires_grad_()
    loss(leaf).backward()
    assert leaf.grad is not None
    return leaf.grad


CASES = {
    "ordinary": case(),
    "with_bias": case(has_bias=True),
    "scores_that_leave_every_number_format": case(60.0),
    "a_scale": case(has_bias=True, treatment=Treatment(0.125)),
    "a_soft_cap": case(8.0, treatment=Treatment(cap=30.0)),
    "a_scale_and_then_a_soft_cap": case(8.0, has_bias=True, treatment=Treatment(0.5, 10.0)),
    "the_largest_in_the_last_tile": (
        torch.ones(_ROWS, 1),
        head.Head(torch.linspace(-400, 400, _WORDS)[:, None], None),
        torch.arange(_ROWS) * 3,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_loss_and_slope_are_those_of_the_whole_scores(name: str) -> None:
    hidden, of, targets = CASES[name]
    loss = head.loss(hidden, of, targets, _SCALE)
    torch.testing.assert_close(loss.double(), whole_loss(hidden, of, targets), rtol=1e-5, atol=1e-4)
    mine = slope_of(lambda leaf: head.loss(leaf, of, targets, _SCALE), hidden)
    theirs = slope_of(lambda leaf: whole_loss(leaf, of, targets), hidden)
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_log_probabilities_and_their_slope_too(name: str) -> None:
    hidden, of, targets = CASES[name]
    counts = torch.linspace(-1, 2, len(targets))
    told = head.log_probabilities(hidden, of, targets)
    torch.testing.assert_close(told.double(), whole_told(hidden, of, targets), rtol=1e-4, atol=1e-3)
    mine = slope_of(lambda leaf: (head.log_probabilities(leaf, of, targets) * counts).sum(), hidden)
    theirs = slope_of(lambda leaf: (whole_told(leaf, of, targets) * counts).sum(), hidden)
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-3)


def test_what_is_left_of_a_word_as_good_as_certain_survives_bf16() -> None:
    """One minus its probability is 1e-5, where bf16 knows no number between 0.996 and 1."""
    of = head.Head(torch.eye(2, 8, dtype=torch.bfloat16), None)
    hidden = torch.zeros(1, 8, dtype=torch.bfloat16)
    hidden[0, 0] = 11.5
    targets = torch.tensor([0])
    mine = slope_of(lambda leaf: head.loss(leaf, of, targets, 1.0), hidden).float()
    theirs = slope_of(lambda leaf: whole_loss(leaf, of, targets) / _SCALE, hidden).float()
    assert theirs[0, 0] < -9e-6
    torch.testing.assert_close(mine, theirs, rtol=1e-2, atol=0.0)


def test_scores_that_are_no_numbers_give_a_loss_that_is_none() -> None:
    hidden, of, targets = case()
    hidden[5, 5] = torch.nan
    assert head.loss(hidden, of, targets, 1.0).isnan()
