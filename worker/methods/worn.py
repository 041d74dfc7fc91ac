"""The adapters that one base model in memory wears, and which of them is at work.

peft allows one kind of adapter in a model at a time. So each kind's layers are a set of their own
that is laid into the base model and lifted out again as a whole, in a moment and without reading
anything anew; two versions of different kinds can answer in turns. Plain LoRA adapters share one
set; any other adapter has a set to itself, because some kinds share matrices between adapters.
Nothing is ever merged: the base model's weights are the same bits before and after.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel, PeftType
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import DynamicCache, PreTrainedModel

from worker.methods.adapter_files import read_adapter_config
from worker.methods.configs import without_compiler
from worker.methods.front import PROMPT_TYPES, Front

_MOST_ADAPTERS: Final = 16


@dataclass
class _Set:
    """Layers that stand in the places of the base model's own, or virtual tokens.

    Attributes:
        places: the module around each, its name there, and the layer.
    """

    model: Any
    kind: PeftType
    front: Front | None = None
    places: list[tuple[torch.nn.Module, str, Any]] = field(default_factory=list)
    active: str | None = None


class WornAdapters:
    """Puts adapters on a base model and takes them off. Not for several threads at once."""

    def __init__(self, base: PreTrainedModel) -> None:
        self._base = base
        self._sets: OrderedDict[str, _Set] = OrderedDict()
        self._laid: _Set | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._sets

    def take_off(self) -> None:
        """Let the base model answer alone; what it wore stays at hand."""
        self._lay(None)

    def put_on(self, name: str, folder: Path) -> None:
        """Let the adapter of this name answer, read from its folder if it is not at hand."""
        if name not in self._sets:
            self._attach(name, folder)
        self._sets.move_to_end(name)
        wanted = self._sets[name]
        self._lay(wanted)
        if wanted.front is None and wanted.active != name:
            wanted.model.set_adapter(name, inference_mode=True)
            wanted.active = name

    def new_cache(self) -> DynamicCache | None:
        """Return what an answer's memory begins with, if the adapter puts anything there."""
        if self._laid is None or self._laid.front is None:
            return None
        return self._laid.front.filled_cache()

    def _attach(self, name: str, folder: Path) -> None:
        kind = PeftType(read_adapter_config(folder)["peft_type"])
        if len(self._sets) >= _MOST_ADAPTERS:
            self._forget_oldest()
        shared = next((s for s in self._sets.values() if s.kind == kind == PeftType.LORA), None)
        self._lay(shared)
        if shared is None:
            self._sets[name] = self._laid = self._fresh(name, folder, kind)
            return
        shared.model.load_adapter(folder, name, is_trainable=False)
        shared.places = self._found()
        self._sets[name] = shared

    def _fresh(self, name: str, folder: Path, kind: PeftType) -> _Set:
        without_compiler()
        model: Any = PeftModel.from_pretrained(
            self._base, folder, adapter_name=name, is_trainable=False
        ).eval()
        # Left there by peft, it makes the next one say that something is wrong.
        if hasattr(self._base, "peft_config"):
            del self._base.peft_config
        if kind in PROMPT_TYPES:
            return _Set(model, kind, front=Front(model, self._base))
        return _Set(model, kind, places=self._found(), active=name)

    def _found(self) -> list[tuple[torch.nn.Module, str, Any]]:
        return [
            (around, name, layer)
            for around in self._base.modules()
            for name, layer in around.named_children()
            if isinstance(layer, BaseTunerLayer)
        ]

    def _lay(self, wanted: _Set | None) -> None:
        if self._laid is wanted:
            return
        for around, name, layer in self._laid.places if self._laid else ():
            around.register_module(name, layer.get_base_layer())
        for around, name, layer in wanted.places if wanted else ():
            around.register_module(name, layer)
        self._laid = wanted

    def _forget_oldest(self) -> None:
        oldest, owner = self._sets.popitem(last=False)
        if all(other is not owner for other in self._sets.values()):
            if self._laid is owner:
                self._lay(None)
            return
        self._lay(owner)
        owner.model.delete_adapter(oldest)
        owner.active = None
