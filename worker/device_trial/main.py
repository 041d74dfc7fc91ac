"""Measure what the planner calculates with: `… main FILE`.

A process of its own that takes some seconds: it lets the loop's own parts (adapter, loss, backward
pass) go through random models of a few shapes, and writes an app.runs.device_constants
.DeviceConstants into FILE, under the planner's key. A run that begins ends it.
"""

import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.runs.device_constants import MEASURED_KEY, DeviceConstants, KeptBytes, PassSeconds
from app.storage.durable import write_atomically

_BILLION: Final = 1e9
_RANK: Final = 16


@dataclass(frozen=True)
class Probe:
    """A random model's measures, and the rows that go through it."""

    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    layers: int
    rows: int
    length: int
    head_dim: int = 32
    vocabulary: int = 512

    @property
    def tokens(self) -> int:
        return self.rows * self.length

    @property
    def query(self) -> int:
        return self.heads * self.head_dim

    @property
    def key(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def layer_weights(self) -> int:
        return 2 * self.hidden * (self.query + self.key) + 3 * self.hidden * self.ffn

    @property
    def adapter(self) -> int:
        sides = 4 * self.hidden + 2 * (self.query + self.key) + 3 * (self.hidden + self.ffn)
        return _RANK * sides

    def costs(self) -> list[float]:
        """What PassSeconds has a price for, in its order."""
        here = self.layers * self.tokens / _BILLION
        numbers = self.hidden + self.query + self.key + self.ffn
        return [
            float(self.layers),
            4.0 * (self.layer_weights + 1.5 * self.adapter) * here,
            numbers * here,
            self.query * self.length * here,
            4.0 * self.vocabulary * self.hidden * self.tokens * _ANSWERS / _BILLION,
        ]


_ANSWERS: Final = 0.5
_KEEPING: Final = (
    Probe(64, 2, 2, 128, 1, 4, 32),
    Probe(128, 2, 2, 128, 1, 4, 32),
    Probe(64, 4, 4, 128, 1, 4, 32),
    Probe(64, 4, 1, 128, 1, 4, 32),
    Probe(64, 2, 2, 384, 1, 4, 32),
    Probe(192, 4, 2, 256, 1, 4, 32),
)
_TIMING: Final = (
    Probe(64, 2, 2, 128, 6, 2, 16),
    Probe(192, 6, 6, 512, 4, 8, 32),
    Probe(256, 8, 8, 704, 2, 8, 64),
    Probe(256, 8, 4, 704, 2, 8, 256),
    Probe(512, 16, 8, 1408, 2, 8, 64),
    Probe(512, 16, 16, 1408, 1, 2, 768),
    Probe(768, 24, 8, 2048, 1, 8, 96),
    Probe(256, 8, 8, 704, 1, 8, 64, vocabulary=16_384),
)
_HEAP: Final = Probe(384, 12, 4, 1024, 4, 8, 160)


class _Built:
    """A random model that wears an adapter, with the loss that the loop would use."""

    def __init__(self, probe: Probe, weight_bytes: int) -> None:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        from worker.methods.learners import make_learner
        from worker.training.lora_layers import speed_up
        from worker.training.loss import AnswerLoss

        config = LlamaConfig(
            vocab_size=probe.vocabulary,
            hidden_size=probe.hidden,
            intermediate_size=probe.ffn,
            num_hidden_layers=probe.layers,
            num_attention_heads=probe.heads,
            num_key_value_heads=probe.kv_heads,
            head_dim=probe.head_dim,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
        )
        model: Any = LlamaForCausalLM(config)
        model = model.to(torch.bfloat16 if weight_bytes == 2 else torch.float32)
        model.requires_grad_(False)
        self.loss = AnswerLoss(model)
        recipe = _recipe()
        self.adapted = make_learner(
            recipe.method,
            recipe.method_settings,
            model,
            total_steps=1,
            seed=recipe.seed,
            load_again=lambda: LlamaForCausalLM(config),
        ).model
        speed_up(self.adapted)
        self.loss.try_packed()
        self.adapted.train()
        self._vocabulary = probe.vocabulary

    def forward(self, rows: int, length: int) -> Any:  # noqa: ANN401 (torch is imported late)
        import torch

        from worker.training.batches import MicroBatch

        ids = torch.randint(0, self._vocabulary, (rows, length))
        places = torch.arange(int(rows * length * _ANSWERS))
        targets = torch.randint(0, self._vocabulary, (len(places),))
        return self.loss.total(MicroBatch(ids, places, targets, rows * length), scale=1.0)


def _recipe() -> Any:  # noqa: ANN401 (only what an adapter asks for has a meaning here)
    from app.runs.recipe import Preset, Recipe

    return Recipe(
        preset=Preset.BALANCED,
        method_settings={"rank": _RANK},
        base_model_id="trial",
        base_model_name="trial",
        base_model_folder=Path("trial"),
        base_model_fingerprint="",
        learning_rate=1e-3,
        epochs=1,
        examples_per_update=8,
        max_tokens_per_example=1024,
    )


def kept_bytes(weight_bytes: int) -> KeptBytes:
    """Count what a layer keeps for the backward pass: the memory of all tensors that appeared."""
    rows, kept = [], []
    for probe in _KEEPING:
        one, three = (_kept(probe, layers, weight_bytes) / probe.tokens for layers in (1, 3))
        rows.append([probe.hidden, probe.query, probe.key, probe.ffn, _RANK])
        kept.append((three - one) / 2)
    hidden, query, key, ffn, rank = solve(rows, kept)
    return KeptBytes(hidden=hidden, query=query, key=key, ffn=ffn, rank=rank)


def _kept(probe: Probe, layers: int, weight_bytes: int) -> int:
    from dataclasses import replace

    import torch

    built = _Built(replace(probe, layers=layers), weight_bytes)
    built.forward(probe.rows, probe.length).backward()
    before = _storages()
    found: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = built.forward(probe.rows, probe.length)
    appeared = {**_storages(), **found}
    del loss
    return sum(size for place, size in appeared.items() if place not in before)


def _storages() -> dict[int, int]:
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if type(thing) in _tensor_types()]
    storages = [tensor.untyped_storage() for tensor in tensors if not tensor.is_meta]
    return {storage.data_ptr(): storage.nbytes() for storage in storages}


def _tensor_types() -> tuple[type, ...]:
    import torch

    return (torch.Tensor, torch.nn.Parameter)


def pass_seconds(weight_bytes: int, clock: Callable[[], float]) -> PassSeconds:
    """Find the price of each part of a pass from what passes through several models took."""
    rows, seconds = [], []
    for probe in _TIMING:
        built = _Built(probe, weight_bytes)
        built.forward(probe.rows, probe.length).backward()
        least = min(_time(built, probe, clock) for _ in range(4))
        # Each point counts by its share, so that the small ones have a say.
        rows.append([cost / least for cost in probe.costs()])
        seconds.append(1.0)
    layer, operations, numbers, attention, head = solve(rows, seconds)
    return PassSeconds(
        layer=layer, operations=operations, numbers=numbers, attention=attention, head=head
    )


def _time(built: _Built, probe: Probe, clock: Callable[[], float]) -> float:
    started = clock()
    built.forward(probe.rows, probe.length).backward()
    return clock() - started


def heap_factor(weight_bytes: int, kept: KeptBytes) -> float:
    """Return what the process takes for each byte that is kept, after a few different updates."""
    built = _Built(_HEAP, weight_bytes)
    begin = resident_bytes()
    most = 0
    for part in (1.0, 0.8, 1.0, 0.9, 1.0):
        built.forward(_HEAP.rows, int(_HEAP.length * part)).backward()
        most = max(most, resident_bytes())
    per_token = (
        kept.hidden * _HEAP.hidden
        + kept.query * _HEAP.query
        + kept.key * _HEAP.key
        + kept.ffn * _HEAP.ffn
        + kept.rank * _RANK
    )
    running = 12.0 * max(_HEAP.ffn, _HEAP.query) * _HEAP.tokens
    return max(1.0, (most - begin - running) / (per_token * _HEAP.layers * _HEAP.tokens))


def resident_bytes() -> int:
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def solve(rows: Sequence[Sequence[float]], values: Sequence[float]) -> list[float]:
    """Return the least squares solution without negative numbers (which would be no price)."""
    import numpy as np

    matrix, wanted = np.asarray(rows, dtype=float), np.asarray(values, dtype=float)
    scale = np.abs(matrix).max(axis=0)
    used = list(range(matrix.shape[1]))
    while used:
        found = np.linalg.lstsq(matrix[:, used] / scale[used], wanted, rcond=None)[0]
        if found.min() >= 0:
            break
        used.pop(int(found.argmin()))
    solution = np.zeros(matrix.shape[1])
    solution[used] = found / scale[used]
    return [float(number) for number in solution]


def measure(weight_bytes: int, clock: Callable[[], float] = time.perf_counter) -> DeviceConstants:
    """Measure all of it, in a process that has done nothing else."""
    started = time.monotonic()
    import torch

    from worker.training.precision import Numbers, _libraries, choose_device

    Numbers(choose_device(), torch.float32, torch.get_num_threads(), _libraries()).apply()
    _Built(_KEEPING[0], weight_bytes).forward(2, 16).backward()
    process = resident_bytes()
    imports = time.monotonic() - started
    kept = kept_bytes(weight_bytes)
    usual = DeviceConstants.of(None)
    return usual.model_copy(
        update={
            "weight_bytes": weight_bytes,
            "process_bytes": float(process),
            "kept": kept,
            "heap_factor": heap_factor(weight_bytes, kept),
            "passes": pass_seconds(weight_bytes, clock),
            "start_seconds": imports + 3.0,
            "libraries": _libraries(),
        }
    )


def main() -> None:
    from worker.training.process import keep_memory, share_the_processor, stay_offline

    file = Path(sys.argv[1])
    stay_offline()
    share_the_processor()
    keep_memory()
    constants = measure(_weight_bytes(file.parent))
    try:
        content = dict(json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        content = {}
    content[MEASURED_KEY] = constants.model_dump(mode="json")
    write_atomically(file, json.dumps(content, indent=2).encode())


def _weight_bytes(runs_folder: Path) -> int:
    """Return the size of a frozen number in the format that runs on this machine use."""
    from worker.training.precision import NOTEBOOK, Numbers

    return int(Numbers.choose(runs_folder / NOTEBOOK).dtype.itemsize)


if __name__ == "__main__":
    main()
