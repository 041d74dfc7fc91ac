"""The quick LoRA layers calculate what peft calculates."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tests.support.tiny_models import make_tiny_model
from worker.training.lora_layers import speed_up


def model_with_adapter(folder: Path, dropout: float = 0.0) -> torch.nn.Module:
    base = AutoModelForCausalLM.from_pretrained(folder)
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules="all-linear", lora_dropout=dropout, task_type="CAUSAL_LM"
    )
    torch.manual_seed(1)
    model: torch.nn.Module = get_peft_model(base, config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model


def test_outputs_and_gradients_equal_those_of_peft(tmp_path: Path) -> None:
    # Qwen has biases in its attention.
    folder = make_tiny_model(tmp_path, "qwen")
    plain, quick = model_with_adapter(folder), model_with_adapter(folder)
    assert speed_up(quick) == 14
    ids = torch.arange(24).reshape(2, 12)
    for model in (plain, quick):
        model(input_ids=ids).logits.square().mean().backward()
    assert torch.allclose(plain(ids).logits, quick(ids).logits, rtol=1e-4, atol=1e-4)
    expected = dict(plain.named_parameters())
    for name, weight in quick.named_parameters():
        if weight.requires_grad:
            other = expected[name].grad
            assert weight.grad is not None
            assert other is not None
            assert torch.allclose(weight.grad, other, rtol=1e-3, atol=1e-5), name


def test_a_switched_off_adapter_stays_switched_off(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path)
    quick = model_with_adapter(folder)
    speed_up(quick)
    base = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.arange(12)[None]
    with torch.no_grad(), quick.disable_adapter():  # type: ignore[operator]
        assert torch.equal(quick(ids).logits, base(ids).logits)


def test_a_model_may_change_what_a_layer_gave_in_place(tmp_path: Path) -> None:
    # As Gemma 3n does with its gates.
    model = model_with_adapter(make_tiny_model(tmp_path))
    speed_up(model)
    layer = model.get_submodule("base_model.model.model.layers.0.mlp.up_proj")
    gave = layer(torch.ones(1, 3, 32))
    gave *= 2
    gave.sum().backward()
    assert all(w.grad is not None for w in layer.parameters() if w.requires_grad)


def test_what_is_not_plain_stays_with_peft(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path)
    assert speed_up(model_with_adapter(folder, dropout=0.1)) == 0
