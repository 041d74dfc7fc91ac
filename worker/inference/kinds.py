"""Versions that sort: their head, and their adapter as one on the causal model that is loaded.

A version that sorts is saved as plain peft loads it, on a model for sequence classification. The
body of that model is the same as that of the base model which the server holds anyway, so only the
head comes on top of it, and one base model in memory serves those who chat and those who sort.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file

_WEIGHTS_FILE: Final = "adapter_model.safetensors"
_CONFIG_FILE: Final = "adapter_config.json"
_HEAD: Final = "base_model.model.score.weight"


@dataclass(frozen=True)
class KindShare:
    """How sure the model is that a text is of a kind, from 0 to 1; all kinds together are 1."""

    kind: str
    score: float


@dataclass(frozen=True)
class Head:
    """What gives each kind its score: (kinds, width), in fp32."""

    kinds: list[str]
    weight: torch.Tensor

    @classmethod
    def read(cls, folder: Path, device: torch.device) -> "Head":
        config: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        names = config["id2label"]
        kinds = [str(names[str(number)]) for number in range(len(names))]
        weight = load_file(folder / _WEIGHTS_FILE)[_HEAD]
        return cls(kinds, weight.float().to(device))

    def shares(self, hidden: torch.Tensor) -> list[KindShare]:
        """Return all kinds, the surest first, from the last token's hidden state: (width,)."""
        scores = torch.nn.functional.linear(hidden.float(), self.weight)
        pairs = zip(self.kinds, scores.softmax(dim=-1).tolist(), strict=True)
        return [KindShare(kind, share) for kind, share in sorted(pairs, key=lambda p: -p[1])]


@contextmanager
def without_head(folder: Path) -> Iterator[Path]:
    """Give a folder with the same adapter as one on a causal model, for as long as it is read."""
    config = json.loads((folder / _CONFIG_FILE).read_text(encoding="utf-8"))
    if config.get("task_type") != "SEQ_CLS":
        yield folder
        return
    weights = load_file(folder / _WEIGHTS_FILE)
    weights.pop(_HEAD, None)
    config |= {"task_type": "CAUSAL_LM", "modules_to_save": None}
    with TemporaryDirectory(prefix="tailor-adapter-") as temporary:
        view = Path(temporary)
        (view / _CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
        save_file(weights, view / _WEIGHTS_FILE, metadata={"format": "pt"})
        yield view


def as_json(shares: Sequence[KindShare]) -> list[dict[str, str | float]]:
    return [{"kind": share.kind, "score": round(share.score, 6)} for share in shares]
