"""Losses of preferences against the published formulas, written down here in plain numbers."""

import math

import pytest
import torch

from worker.training.objectives.dpo import dpo_losses
from worker.training.objectives.kto import kto_losses
from worker.training.objectives.orpo import orpo_losses

# Log-probabilities of whole answers: those of the model, those of the base model.
CHOSEN = [-12.5, -30.25, -3.0, -80.0]
REJECTED = [-14.0, -28.5, -9.75, -79.5]
REFERENCE_CHOSEN = [-13.0, -29.0, -4.5, -81.0]
REFERENCE_REJECTED = [-13.5, -29.5, -9.0, -77.0]


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


@pytest.mark.parametrize(("beta", "smoothing"), [(0.1, 0.0), (0.5, 0.0), (0.1, 0.2)])
def test_dpo_is_equation_7(beta: float, smoothing: float) -> None:
    expected = []
    for w, l, rw, rl in zip(CHOSEN, REJECTED, REFERENCE_CHOSEN, REFERENCE_REJECTED, strict=True):  # noqa: E741 (the paper's letter)
        # The ratio form of the paper: beta log(pi/ref)(y_w) - beta log(pi/ref)(y_l).
        inner = beta * (w - rw) - beta * (l - rl)
        expected.append(
            -(1 - smoothing) * math.log(sigmoid(inner)) - smoothing * math.log(sigmoid(-inner))
        )
    found = dpo_losses(
        torch.tensor(CHOSEN) - torch.tensor(REJECTED),
        torch.tensor(REFERENCE_CHOSEN) - torch.tensor(REFERENCE_REJECTED),
        beta=beta,
        label_smoothing=smoothing,
    )
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("weight", [0.1, 1.0])
def test_orpo_is_equations_6_and_7(weight: float) -> None:
    chosen, rejected = [-0.3, -1.5, -4.0, -0.001], [-0.9, -1.2, -6.5, -0.002]
    expected = []
    for log_w, log_l in zip(chosen, rejected, strict=True):
        p_w, p_l = math.exp(log_w), math.exp(log_l)
        ratio = (p_w / (1 - p_w)) / (p_l / (1 - p_l))
        expected.append(-log_w - weight * math.log(sigmoid(math.log(ratio))))
    found = orpo_losses(
        torch.tensor(chosen, dtype=torch.float64),
        torch.tensor(rejected, dtype=torch.float64),
        odds_weight=weight,
    )
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_orpo_stays_finite_where_an_answer_is_certain() -> None:
    chosen = torch.tensor([0.0, -1e-9, -200.0], requires_grad=True)
    losses = orpo_losses(chosen, torch.tensor([-1.0, -1e-9, -300.0]), odds_weight=0.1)
    losses.sum().backward()
    assert bool(losses.isfinite().all())
    assert chosen.grad is not None
    assert bool(chosen.grad.isfinite().all())


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.33, 1.0), (1.0, 4.0)])
def test_kto_is_equation_8(weights: tuple[float, float]) -> None:
    beta, (desirable, undesirable) = 0.1, weights
    liked = [True, False, True, False]
    crossed = [-40.0, -21.0, -33.0, -18.0]
    reference_crossed = [-41.5, -20.0, -36.0, -18.5]
    # z0: the mean log-ratio over all mismatched answers of the batch, never below zero.
    z0 = max(
        0.0, sum(a - b for a, b in zip(crossed, reference_crossed, strict=True)) / len(crossed)
    )
    assert z0 > 0
    expected = []
    for log_p, log_ref, is_liked in zip(CHOSEN, REFERENCE_CHOSEN, liked, strict=True):
        reward = log_p - log_ref
        if is_liked:
            value, weight = desirable * sigmoid(beta * (reward - z0)), desirable
        else:
            value, weight = undesirable * sigmoid(beta * (z0 - reward)), undesirable
        expected.append(weight - value)
    found = kto_losses(
        torch.tensor(CHOSEN) - torch.tensor(REFERENCE_CHOSEN),
        torch.tensor(z0),
        torch.tensor(liked),
        beta=beta,
        desirable=desirable,
        undesirable=undesirable,
    )
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
