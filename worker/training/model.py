"""The base model, loaded without trusting it, frozen, and wearing a fresh adapter."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from app.base_models.files import UnreadableModelError, fingerprint
from app.base_models.safety import UnsafeModelError, check_folder
from app.runs.methods import Quantization
from app.runs.recipe import Recipe
from worker.own_weights import hold_weights
from worker.training import failures, few_bits
from worker.training.team.divided import own_part


def check_base_model(recipe: Recipe, check_stop: Callable[[], None]) -> None:
    """Refuse a base model that is gone, changed since the run was planned, or dangerous.

    All its bytes are read, which takes a while with a large one, so a stop is heeded meanwhile.

    Raises:
        TrainingFailureError: saying which.
    """
    folder, name = recipe.base_model_folder, recipe.base_model_name
    try:
        found = fingerprint(folder, between=check_stop)
        if found != recipe.base_model_fingerprint:
            details = f"fingerprint {found}, expected {recipe.base_model_fingerprint}"
            raise failures.base_model_changed(name, details)
        # It was checked when it came; whoever puts a folder in its place meets the same rules.
        check_folder(folder)
    except UnsafeModelError as error:
        raise failures.base_model_refused(name, error.why) from error
    except (OSError, UnreadableModelError) as error:
        raise failures.base_model_missing(name, str(error)) from error


def load_tokenizer(recipe: Recipe) -> Tokenizer:
    """Load the tokenizer and see to it that it can fill up rows."""
    try:
        tokenizer: Tokenizer = AutoTokenizer.from_pretrained(
            recipe.base_model_folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise failures.base_model_missing(recipe.base_model_name, str(error)) from error
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        # Any token can fill a row, as nothing is learned there; the vocabulary stays as it is.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(
    recipe: Recipe, bits: Quantization, dtype: torch.dtype, device: torch.device
) -> PreTrainedModel:
    """Load the frozen base model.

    Raises:
        TrainingFailureError: if its files cannot be read, or it cannot be held in few bits here.
    """
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            recipe.base_model_folder,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            **few_bits.loading_options(bits, dtype, device),
        )
    except ImportError as error:
        raise failures.few_bits_missing(str(error)) from error
    except (OSError, ValueError, KeyError) as error:
        raise failures.base_model_missing(recipe.base_model_name, str(error)) from error
    model.requires_grad_(requires_grad=False)
    few_bits.keep_their_form(model)
    # In few bits it was loaded where it belongs.
    moved: PreTrainedModel = model.to(device) if bits is Quantization.NONE else model
    hold_weights(moved)
    return moved


def base_sha256(model: torch.nn.Module) -> str:
    """Return a digest over the bits of all frozen weights and buffers that this process holds.

    Buffers that no file holds are left out: some models calculate theirs anew for each length of
    row, such as the rotations of those that read very long texts.
    """
    digest = hashlib.sha256()
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    for name, tensor in sorted({**frozen, **_saved_buffers(model)}.items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}\n".encode())
        content = own_part(tensor).detach().cpu().contiguous().view(-1).view(torch.uint8)
        digest.update(content.numpy().data)
    return digest.hexdigest()


def _saved_buffers(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {
        f"{place}.{name}".removeprefix("."): buffer
        for place, module in model.named_modules()
        for name, buffer in module.named_buffers(recurse=False)
        if name not in module._non_persistent_buffers_set  # noqa: SLF001 (told nowhere else)
    }
