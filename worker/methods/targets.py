"""Which layers of a base model a method works on, found by looking at the model, not at its name.

peft knows targets for the models that it has in its tables; new models come faster than tables.
"""

from collections.abc import Iterable
from math import gcd
from typing import Any, Final

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from worker.methods.front import USUAL_MEMORY, memory_name, reads_in_pieces

ALL_LINEAR: Final = "all-linear"
# What the many families of models call the layers that IA3 scales (Liu et al., 2022, section 3.3):
# keys and values of the attention, and what goes into the last layer of the feed-forward part.
_KEYS_AND_VALUES: Final = ("k_proj", "v_proj", "qkv_proj", "query_key_value", "c_attn", "Wqkv")
_FEEDFORWARD_ENDS: Final = (
    *("down_proj", "w2", "fc2", "fc_out", "dense_4h_to_h", "output_linear"),
    *("mlp.c_proj",),
)
# peft keeps LoRA off the last layer of Mamba's mixers, whose weight its fast kernels read directly.
_READ_BY_KERNELS: Final = "out_proj"
_OF_MAMBA: Final = frozenset({"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"})


class UnsuitableModelError(Exception):
    """A method cannot work on this base model.

    Args:
        why: as the end of a sentence.
        instead: what would help before another method does, as the beginning of one.
    """

    def __init__(self, why: str, instead: str = "") -> None:
        super().__init__(why)
        self.instead = instead


def linear_layers(model: PreTrainedModel) -> dict[str, torch.nn.Module]:
    """Return all linear layers but the output head, by their full names."""
    head = model.get_output_embeddings()
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear | Conv1D) and layer is not head
    }


def lora_layers(model: PreTrainedModel) -> dict[str, torch.nn.Module]:
    """Return the linear layers that LoRA and its kin can be put on, by their full names."""
    is_of_mamba = model.config.model_type in _OF_MAMBA
    return {
        name: layer
        for name, layer in linear_layers(model).items()
        if not (is_of_mamba and name.rsplit(".", 1)[-1] == _READ_BY_KERNELS)
    }


def lora_targets(model: PreTrainedModel) -> str | list[str]:
    """Return what peft is to be told of them: its word for all, where none is left out."""
    layers = lora_layers(model)
    return ALL_LINEAR if layers.keys() == linear_layers(model).keys() else sorted(layers)


def require_rank(model: PreTrainedModel, rank: int) -> None:
    """Raise UnsuitableModelError if a layer's weight has fewer directions than the rank."""
    most = min(min(_sizes(layer)) for layer in lora_layers(model).values())
    if rank > most:
        raise UnsuitableModelError(
            f"it begins with what is in the layers already, which is enough for a rank of {most} "
            f"at most, and {rank} was asked for",
            instead=f"Choose a rank of {most} or less",
        )


def ia3_targets(model: PreTrainedModel) -> tuple[list[str], list[str]]:
    """Return the names of the layers that are scaled, and those of them scaled at their input."""
    names = linear_layers(model)
    ends = _present(names, _FEEDFORWARD_ENDS)
    targets = [*_present(names, _KEYS_AND_VALUES), *ends]
    if not targets:
        raise UnsuitableModelError("its layers have names that are not known to this method")
    return targets, ends


def normalising_layers(model: PreTrainedModel) -> list[str]:
    """Return the last parts of the names of all layers that normalise and have weights."""
    names = {
        name.rsplit(".", 1)[-1]
        for name, layer in model.named_modules()
        if "norm" in type(layer).__name__.lower() and any(True for _ in layer.parameters())
    }
    if not names:
        raise UnsuitableModelError("it has no layers that normalise")
    return sorted(names)


def common_block_size(model: PreTrainedModel, wanted: int) -> int:
    """Return the largest even size up to the wanted one that divides the input of every layer."""
    inputs = gcd(*(_input_size(layer) for layer in linear_layers(model).values()))
    size = next((size for size in range(wanted, 1, -1) if inputs % size == 0 and size % 2 == 0), 0)
    if not size:
        raise UnsuitableModelError("the sizes of its layers have no even number in common")
    return size


def require_linear(model: PreTrainedModel) -> None:
    """Raise UnsuitableModelError if the model keeps its weights transposed, as GPT-2 does."""
    if any(isinstance(layer, Conv1D) for layer in linear_layers(model).values()):
        raise UnsuitableModelError("it keeps its layers in an older form (Conv1D)")


def require_memory(model: PreTrainedModel) -> None:
    """Raise UnsuitableModelError if virtual tokens cannot be read into the model's memory."""
    if memory_name(model) != USUAL_MEMORY or not reads_in_pieces(model):
        raise UnsuitableModelError("it remembers what it has read in a form of its own")


@torch.no_grad()
def require_vectors(model: PreTrainedModel) -> None:
    """Raise UnsuitableModelError if virtual tokens cannot stand where tokens would.

    Some families look up more than one vector for a token, so they must know which one it is.
    """
    require_memory(model)
    weight: Any = model.get_input_embeddings().weight
    reads: Any = model.base_model
    nobodys = torch.linspace(-1, 1, weight.shape[-1], dtype=weight.dtype, device=weight.device)
    try:
        reads(inputs_embeds=nobodys[None, None], use_cache=False)
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise UnsuitableModelError("it reads the tokens that it knows and no others") from error


def require_plain_memory(model: PreTrainedModel) -> None:
    """Raise UnsuitableModelError if some layers remember otherwise than by keys and values."""
    require_memory(model)
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    if kinds - {"full_attention", "sliding_attention", "attention"}:
        raise UnsuitableModelError("some of its layers have no keys and values to put before")


def _input_size(layer: Any) -> int:  # noqa: ANN401 (Conv1D has no types)
    return _sizes(layer)[0]


def _sizes(layer: Any) -> tuple[int, int]:  # noqa: ANN401 (Conv1D has no types)
    """Return how many numbers go into a layer and how many come out."""
    if isinstance(layer, torch.nn.Linear):
        return layer.in_features, layer.out_features
    return layer.nx, layer.nf


def _present(names: Iterable[str], endings: tuple[str, ...]) -> list[str]:
    known = list(names)
    return [end for end in endings if any(f".{name}".endswith(f".{end}") for name in known)]
