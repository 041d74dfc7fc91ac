"""What a base model may not bring along.

transformers reads configuration keys that make it fetch and run code, even when remote code is not
trusted (CVE-2026-4372, CVE-2026-5241). So nothing of that kind reaches it: such a folder is refused
before anything loads it, and where it can be seen from the small files, before it is downloaded.
"""

import re
from pathlib import Path
from typing import Any, Final

from app.base_models.files import UnreadableModelError, read_header, read_json

_FORBIDDEN_KEYS: Final = frozenset(
    {
        "auto_map",
        "custom_pipelines",
        "custom_generate",
        "trust_remote_code",
        "use_kernels",
        "kernel_config",
        "code_revision",
    }
)
_IMPLEMENTATION: Final = re.compile(r"_?\w*_implementation(_internal)?")
# These name a part of torch or transformers itself; any other name may be fetched from the hub.
_HARMLESS_IMPLEMENTATIONS: Final = (None, "eager", "sdpa")
_HARMLESS_PRIVATE_KEYS: Final = frozenset({"_name_or_path", "_commit_hash"})
# So transformers writes numbers that JSON has no word for.
_NUMBER_KEY: Final = "__float__"
_NUMBERS_IN_WORDS: Final = ("Infinity", "-Infinity", "NaN")
_CONFIGURATIONS: Final = ("config.json", "generation_config.json", "tokenizer_config.json")
_TOKENIZERS: Final = ("tokenizer.json", "tokenizer.model", "vocab.json")
_PICKLES: Final = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_INDEX: Final = "model.safetensors.index.json"
_WRITERS: Final = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
WEIGHT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,180}\.safetensors")
"""A plain file name: no folder, no dot in front, nothing that a shell or a disk takes amiss."""


class UnsafeModelError(UnreadableModelError):
    """The folder wants something that Tailor never does for a model."""


def check_folder(folder: Path) -> None:
    """Check that a folder can be loaded without running anything of its own.

    Raises:
        UnsafeModelError: if it needs remote code or has weights as pickles only.
        UnreadableModelError: if a part is missing or damaged.
    """
    if not folder.is_dir():
        raise UnreadableModelError(
            "The model's folder is not there.",
            why="It may have been moved, or this machine cannot see it.",
            next_step="Put it back, or register the model again from its new place.",
            details=str(folder),
        )
    if (folder / "adapter_config.json").exists():
        # transformers would go and load the model that this file names instead of this folder.
        raise UnreadableModelError(
            "This folder holds an adapter, not a base model.",
            why="It has an adapter_config.json, which leads to another model.",
            next_step="Choose the folder of the base model itself.",
        )
    read_json(folder / "config.json")
    for name in (*_CONFIGURATIONS, _INDEX):
        if (folder / name).exists():
            check_configuration(name, read_json(folder / name))
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        _refuse_without_weights(folder)
    for path in weights:
        read_header(path)
    if not any((folder / name).exists() for name in _TOKENIZERS):
        raise UnreadableModelError(
            "The folder holds no tokenizer.",
            why="Without tokenizer.json (or tokenizer.model) no text can be read.",
            next_step="Add the tokenizer's files from where the model comes from.",
        )


def is_checked_by_content(name: str) -> bool:
    """Say whether a file is one that `check_configuration` looks into."""
    return name in _CONFIGURATIONS or name == _INDEX


def check_configuration(name: str, configuration: dict[str, Any]) -> None:
    """Refuse a configuration that leads to code, or that no training could use.

    Raises:
        UnsafeModelError: naming the key.
        UnreadableModelError: if it is not a model that writes text, or a compressed one.
    """
    if name == _INDEX:
        _check_index(configuration)
        return
    key = _forbidden_key(configuration)
    if key is not None:
        raise UnsafeModelError(
            "This model needs program code of its own, and Tailor never runs code from a model.",
            why=f"Its {name} sets “{key}”.",
            next_step="Choose a model that the transformers library knows by itself.",
        )
    if name == "config.json":
        _check_kind(configuration)


def _check_kind(configuration: dict[str, Any]) -> None:
    architectures = configuration.get("architectures")
    if isinstance(architectures, list) and architectures:
        first = str(architectures[0])[:80]
        if not first.endswith(_WRITERS):
            raise UnreadableModelError(
                "This model does not write text.",
                why=f"It says of itself that it is a {first}; Tailor tunes models that write, "
                "whose kind ends in ForCausalLM.",
                next_step="Choose a model for text generation.",
            )
    if configuration.get("quantization_config"):
        raise UnreadableModelError(
            "This is a compressed edition of a model, and Tailor tunes the full one.",
            why="Its config.json says that the weights are quantised.",
            next_step="Choose the same model without GPTQ, AWQ, FP8 or a similar word in its name.",
        )


def _check_index(index: dict[str, Any]) -> None:
    """The index says which file holds which weight; those files are opened without asking again."""
    files = index.get("weight_map")
    names = files.values() if isinstance(files, dict) else ()
    if not all(isinstance(name, str) and WEIGHT_NAME.fullmatch(name) for name in names):
        raise UnsafeModelError(
            "This model's list of weights leads to files that Tailor does not open.",
            why=f"{_INDEX} names something else than .safetensors files beside it.",
            next_step="Choose another model.",
        )


def _forbidden_key(configuration: dict[str, Any]) -> str | None:
    # A heap of values instead of recursion: the nesting is as deep as the file's author likes.
    values: list[object] = [configuration]
    while values:
        value = values.pop()
        if isinstance(value, list):
            values.extend(value)
        elif isinstance(value, dict):
            for key, inner in value.items():
                if _is_forbidden(str(key), inner):
                    return str(key)[:80]
                values.append(inner)
    return None


def _is_forbidden(key: str, value: object) -> bool:
    if _IMPLEMENTATION.fullmatch(key):
        return value not in _HARMLESS_IMPLEMENTATIONS
    if key == _NUMBER_KEY:
        return value not in _NUMBERS_IN_WORDS
    # A number cannot name code; many models keep one under a private name.
    if key.startswith("_") and not isinstance(value, (bool, int, float, type(None))):
        return key not in _HARMLESS_PRIVATE_KEYS
    return key in _FORBIDDEN_KEYS and bool(value)


def _refuse_without_weights(folder: Path) -> None:
    if any(path.suffix in _PICKLES for path in folder.iterdir()):
        raise UnsafeModelError(
            "This model's weights are Python pickles, and Tailor never opens those.",
            why="A pickle can run any program when it is read.",
            next_step="Look for the same model with files that end in .safetensors.",
        )
    raise UnreadableModelError(
        "The folder holds no weights.",
        why="There is no file that ends in .safetensors.",
        next_step="Choose the folder that has config.json and the .safetensors files side by side.",
    )
