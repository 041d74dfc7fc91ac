"""Shapes of Llama-like models with random weights, for whatever is measured."""

from typing import Final

# With SmolLM2's vocabulary the larger two have the parameters that they are named by; the tokens
# are the starter's, whose numbers are the first of it.
SHAPES: Final[dict[str, dict[str, int]]] = {
    "30m": {
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "vocab_size": 12_288,
    },
    "135m": {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49_152,
    },
    "360m": {
        "hidden_size": 960,
        "intermediate_size": 2560,
        "num_hidden_layers": 32,
        "num_attention_heads": 15,
        "num_key_value_heads": 5,
        "vocab_size": 49_152,
    },
}
