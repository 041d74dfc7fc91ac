"""What the files of a base model say about it, read without loading it.

The layout of a safetensors file (eight bytes of header length, then a JSON header) is from its
format description: https://github.com/huggingface/safetensors#format
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.base_models.transformer_shape import TransformerShape
from app.errors import InvalidInputError

MOST_CONFIGURATION_BYTES = 16 * 1024**2
"""More than any real configuration; read into memory whole, so bounded."""
_MOST_HEADER_BYTES = 32 * 1024**2
_CHUNK_BYTES = 1024**2
_MOST_TOKENS = 2**31

WANTED_NAMES = frozenset(
    {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "model.safetensors.index.json",
    }
)
"""Files that are read besides *.safetensors; nothing else is downloaded or trusted."""


class UnreadableModelError(InvalidInputError):
    """The folder does not hold a base model that Tailor can read.

    Attributes:
        details: what tells of the inside of this machine, for those who look after it alone.
    """

    def __init__(
        self, what: str, *, why: str = "", next_step: str = "", field: str = "", details: str = ""
    ) -> None:
        super().__init__(what, why=why, next_step=next_step, field=field)
        self.details = details


@dataclass(frozen=True)
class ModelShape:
    """What the configuration says.

    Attributes:
        architecture: the class name, such as LlamaForCausalLM.
        parameters: how many numbers the weights hold, counted in the safetensors headers.
        context_length: tokens that the model reads at once.
    """

    architecture: str
    parameters: int
    context_length: int


def model_files(folder: Path) -> list[Path]:
    """Return the files that make up the model, in a fixed order."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and (path.name in WANTED_NAMES or path.suffix == ".safetensors")
    )


def weights_bytes(folder: Path) -> int:
    """Return how large the files with the weights are, together."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def fingerprint(folder: Path, between: Callable[[], None] = lambda: None) -> str:
    """Return the SHA-256 over the names and sums of all files of the model.

    Args:
        folder: where the files lie.
        between: called again and again meanwhile; what it raises ends the reading.
    """
    total = hashlib.sha256()
    for path in model_files(folder):
        total.update(f"{path.name}:{_file_sha256(path, between)}\n".encode())
    return total.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a sensible size.

    Raises:
        UnreadableModelError: if the file is missing, too large, or holds something else.
    """
    if not path.is_file():
        raise UnreadableModelError(
            f"{path.name} is missing.",
            next_step="A base model is a folder with config.json, *.safetensors and a tokenizer.",
        )
    try:
        with path.open("rb") as file:
            content = file.read(MOST_CONFIGURATION_BYTES + 1)
        value = json.loads(content) if len(content) <= MOST_CONFIGURATION_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableModelError(
            f"{path.name} cannot be read.",
            why="It is damaged, or it is not JSON.",
            next_step="Fetch the model again.",
        ) from error
    if not isinstance(value, dict):
        raise UnreadableModelError(
            f"{path.name} cannot be used.",
            why="It is far too large, or it does not hold a JSON object.",
            next_step="Fetch the model again, or choose another one.",
        )
    return value


def read_shape(folder: Path) -> ModelShape:
    """Return the model's shape from config.json and the safetensors headers.

    Raises:
        UnreadableModelError: if one of them is missing or damaged.
    """
    config = read_json(folder / "config.json")
    text_config = config.get("text_config")
    shapes = {**config, **text_config} if isinstance(text_config, dict) else config
    architectures = config.get("architectures")
    context = shapes.get("max_position_embeddings") or shapes.get("n_positions")
    return ModelShape(
        architecture=str(architectures[0])
        if isinstance(architectures, list) and architectures
        else "unknown",
        parameters=sum(_count_parameters(path) for path in sorted(folder.glob("*.safetensors"))),
        context_length=context if isinstance(context, int) and 0 < context < _MOST_TOKENS else 2048,
    )


def read_measures(folder: Path) -> TransformerShape | None:
    """Return the measures of the model's layers; None if its configuration does not say them."""
    parameters = sum(_count_parameters(path) for path in sorted(folder.glob("*.safetensors")))
    return TransformerShape.from_config(read_json(folder / "config.json"), parameters)


def read_header(path: Path) -> dict[str, Any]:
    """Return the JSON header of a safetensors file.

    Raises:
        UnreadableModelError: if the file is cut short or is no safetensors file.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(_MOST_HEADER_BYTES, path.stat().st_size):
                raise ValueError("the header's length makes no sense")
            header = json.loads(file.read(length))
        end = max(
            (entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"),
            default=0,
        )
        if path.stat().st_size < 8 + length + end:
            raise ValueError("the file is cut short")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableModelError(
            f"{path.name} is not a whole safetensors file.",
            why="It is cut short or damaged, or it is something else under that name.",
            next_step="Fetch the model again.",
        ) from error
    return dict(header)


def _count_parameters(path: Path) -> int:
    header = read_header(path)
    try:
        return sum(
            math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__"
        )
    except (KeyError, TypeError) as error:
        raise UnreadableModelError(
            f"{path.name} is not a whole safetensors file.",
            why="It does not say how large its parts are.",
            next_step="Fetch the model again.",
        ) from error


def _file_sha256(path: Path, between: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            between()
    return digest.hexdigest()
