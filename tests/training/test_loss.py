"""The loss at the answers equals the plain computation over everything."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM

from tests.support.tiny_models import KINDS, VOCABULARY, make_tiny_model
from worker.training.batches import MicroBatch
from worker.training.loss import AnswerLoss


def random_batch() -> MicroBatch:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, VOCABULARY, (3, 20), generator=generator)
    learned = torch.rand(3, 20, generator=generator) < 0.4
    learned[:, 0] = False
    told = learned.reshape(-1).nonzero()[:, 0]
    return MicroBatch(ids, told - 1, ids.reshape(-1)[told], ids.numel())


@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_the_full_computation(kind: str, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(make_tiny_model(tmp_path, kind)).eval()
    loss = AnswerLoss(model)
    model.requires_grad_(requires_grad=False)
    trained = model.get_input_embeddings()
    trained.weight = torch.nn.Parameter(trained.weight.detach().clone())
    batch = random_batch()

    ours = loss.total(batch, scale=0.5)
    (our_gradient,) = torch.autograd.grad(ours, trained.weight)
    logits = model(input_ids=batch.ids).logits.flatten(0, 1)[batch.positions].float()
    plain = 0.5 * functional.cross_entropy(logits, batch.targets, reduction="sum")
    (plain_gradient,) = torch.autograd.grad(plain, trained.weight)

    assert torch.allclose(ours, plain, rtol=1e-5)
    assert torch.allclose(our_gradient, plain_gradient, rtol=1e-4, atol=1e-6)
    # The scores of the whole vocabulary are never there, whatever the model does to them.
    assert loss.is_short


def test_a_model_that_adds_up_in_32_bits_has_a_head_in_16_bits_all_the_same(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path, "mamba")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    batch = random_batch()
    loss = AnswerLoss(model)
    with torch.no_grad():
        logits = model(input_ids=batch.ids).logits.flatten(0, 1)[batch.positions].float()
        plain = functional.cross_entropy(logits, batch.targets, reduction="sum")
        assert loss.is_short
        assert torch.allclose(loss.total(batch), plain, rtol=1e-2)


def test_filling_at_the_right_changes_nothing(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(make_tiny_model(tmp_path)).eval()
    loss = AnswerLoss(model)
    ids = torch.randint(0, VOCABULARY, (1, 12))
    bare = MicroBatch(ids, torch.arange(11), ids[0, 1:], 12)
    filled_ids = torch.cat([ids, torch.full((1, 9), 5)], dim=1)
    filled = MicroBatch(filled_ids, torch.arange(11), ids[0, 1:], 12)
    with torch.no_grad():
        assert torch.allclose(loss.total(bare), loss.total(filled), rtol=1e-6)
