"""Which number formats a graphics card calculates with itself: for training and chat alike."""

import torch


def card_has_bfloat16() -> bool:
    """Say whether the card multiplies in bfloat16 itself, as those since NVIDIA's Ampere do.

    torch says so of older ones as well, where each product is calculated in float32 and rounded:
    slower than float32 alone, and less exact.
    """
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))
