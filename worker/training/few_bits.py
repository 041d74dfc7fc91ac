"""A base model held in few bits: in 4 as NF4 with double quantisation, or in 8, by bitsandbytes.

Dettmers et al., "QLoRA", 2023, and "LLM.int8()", 2022. Only the frozen matrices of the layers are
held like this, and each is calculated back to the run's own number format when its turn comes.
Tables of embeddings, the head and all that learns stay as they are.
"""

from collections.abc import Iterable
from typing import Any

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel

from app.runs.methods import Quantization
from worker.few_bits import LIBRARY
from worker.training import failures
from worker.training.precision import MISSING, installed_version


def loading_options(
    quantization: Quantization, dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    """Return what `from_pretrained` is told besides, so that no more is ever held than that."""
    if quantization is Quantization.NONE:
        return {}
    config = (
        BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
        if quantization is Quantization.FOUR_BIT
        else BitsAndBytesConfig(load_in_8bit=True)
    )
    return {"quantization_config": config, "device_map": {"": device}}


def require_library(quantization: Quantization) -> None:
    """Refuse to hold a base model in few bits where what does it is not installed.

    Raises:
        TrainingFailureError: if it is missing.
    """
    if quantization is not Quantization.NONE and installed_version(LIBRARY) == MISSING:
        raise failures.few_bits_missing(f"{LIBRARY} is not installed")


def keep_their_form(model: PreTrainedModel) -> None:
    """Keep layers from putting their bits into another order whenever they do not learn.

    On some processors a 4-bit layer does so at the first answer that it gives, to be quicker, and
    can learn no more from then on.
    """
    layers: Iterable[Any] = model.modules()
    for layer in layers:
        if getattr(layer, "support_avx512bf16_for_cpu", False):
            layer.support_avx512bf16_for_cpu = False


def held_layer(
    layer: torch.nn.Linear, form: Quantization, dtype: torch.dtype, device: torch.device
) -> torch.nn.Module:
    """Return a layer without a bias as a base model in few bits would hold it."""
    from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt

    sizes = (layer.in_features, layer.out_features)
    held: torch.nn.Module = (
        Linear4bit(*sizes, bias=False, compute_dtype=dtype, quant_type="nf4")
        if form is Quantization.FOUR_BIT
        else Linear8bitLt(*sizes, bias=False, has_fp16_weights=False, threshold=6.0)
    )
    held.load_state_dict({"weight": layer.weight.detach().to(dtype)})
    return held.to(device)
