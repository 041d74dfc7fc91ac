"""Whether a model remembers what it reads in pieces, asked of the model itself."""

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3Config, Gemma3TextConfig, PreTrainedModel

from worker.methods.front import reads_in_pieces
from worker.methods.targets import require_vectors


@pytest.fixture
def with_pictures() -> PreTrainedModel:
    """As most Gemma 3: its configuration has one part for texts and another for pictures."""
    text = Gemma3TextConfig(
        vocab_size=120,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        layer_types=["sliding_attention", "full_attention"],
    )
    pictures = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = Gemma3Config(text_config=text, vision_config=pictures, mm_tokens_per_image=4)
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    return model


def test_a_model_that_sees_pictures_too_takes_virtual_tokens(
    with_pictures: PreTrainedModel,
) -> None:
    assert reads_in_pieces(with_pictures)
    require_vectors(with_pictures)
