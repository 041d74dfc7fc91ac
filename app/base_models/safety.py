"""What a base model may not bring along.

transformers reads configuration keys that make it fetch and run code, even when remote code is not
trusted (CVE-2026-4372, CVE-2026-5241). So nothing of that kind reaches it: such a folder is refused
before anything loads it.
"""

from pathlib import Path
from typing import Any, Final

from app.base_models.files import UnreadableModelError, read_header, read_json

_FORBIDDEN_KEYS: Final = frozenset(
    {
        "auto_map",
        "custom_pipelines",
        "custom_generate",
        "trust_remote_code",
        "attn_implementation",
        "experts_implementation",
        "use_kernels",
        "kernel_config",
        "code_revision",
    }
)
_HARMLESS_PRIVATE_KEYS: Final = frozenset(
    {"_name_or_path", "_attn_implementation_autoset", "_commit_hash", "_from_model_config"}
)
_CONFIGURATIONS: Final = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
)
_TOKENIZERS: Final = ("tokenizer.json", "tokenizer.model", "vocab.json")
_PICKLES: Final = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


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
            f"The folder {folder} is not there.",
            why="It may have been moved, or this machine cannot see it.",
            next_step="Put it back, or register the model again from its new place.",
        )
    read_json(folder / "config.json")
    for name in _CONFIGURATIONS:
        if (folder / name).exists():
            check_configuration(name, read_json(folder / name))
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        _refuse_without_weights(folder)
    for path in weights:
        read_header(path)
    if not any(
        (folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")
    ):
        raise UnreadableModelError(
            "The folder holds no tokenizer.",
            why="Without tokenizer.json (or tokenizer.model) no text can be read.",
            next_step="Add the tokenizer's files from where the model comes from.",
        )


def check_configuration(name: str, configuration: dict[str, Any]) -> None:
    """Refuse a configuration with a key that leads to code.

    Raises:
        UnsafeModelError: naming the key.
    """
    key = _forbidden_key(configuration)
    if key is not None:
        raise UnsafeModelError(
            "This model needs program code of its own, and Tailor never runs code from a model.",
            why=f"Its {name} sets “{key}”.",
            next_step="Choose a model that the transformers library knows by itself.",
        )


def _forbidden_key(value: object) -> str | None:
    if isinstance(value, list):
        return next((found for item in value if (found := _forbidden_key(item))), None)
    if not isinstance(value, dict):
        return None
    for key, inner in value.items():
        private = key.startswith("_") and key not in _HARMLESS_PRIVATE_KEYS
        if key in _FORBIDDEN_KEYS or private:
            return str(key)
        if found := _forbidden_key(inner):
            return found
    return None


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
