"""The proof that the base model stays as it was."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.support.tiny_models import VOCABULARY
from worker.training.model import base_sha256


def test_what_a_model_calculates_anew_for_long_rows_is_no_change_of_it() -> None:
    """As Phi-3 does, whose rotations of long and of short rows differ."""
    config = AutoConfig.for_model(
        "phi3",
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        original_max_position_embeddings=64,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 1e4,
            "short_factor": [1.0] * 4,
            "long_factor": [2.0] * 4,
            "original_max_position_embeddings": 64,
        },
    )
    model = AutoModelForCausalLM.from_config(config).requires_grad_(requires_grad=False)
    before = base_sha256(model)
    rotations = model.base_model.rotary_emb.inv_freq.clone()
    with torch.no_grad():
        model(input_ids=torch.arange(100)[None])
    assert not torch.equal(model.base_model.rotary_emb.inv_freq, rotations)
    assert base_sha256(model) == before


def test_a_changed_weight_or_buffer_is_a_change() -> None:
    model = torch.nn.BatchNorm1d(2).requires_grad_(requires_grad=False)
    found = {base_sha256(model)}
    for name in ("weight", "running_mean"):
        model.state_dict()[name][0] += 1
        found.add(base_sha256(model))
    assert len(found) == 3
