"""Makes Tailor Starter: `python -m worker.starter.train --out FOLDER`.

Writes the practice text, trains the tokenizer and the model on it, and puts the files in place.
"""

# ruff: noqa: T201 -- a command prints
from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from worker.starter.batches import Batch, batches
from worker.starter.model_files import write_model_files
from worker.starter.muon import Muon
from worker.starter.tokenization import CONTEXT_LENGTH, END, PAD, TOKEN_NUMBER, train_tokenizer
from worker.starter.unseen_tokens import tell_unseen_tokens_apart

_MEMORY_SETTINGS = {
    # Giving memory back to the system after each step cost a third of the time on CPU.
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    # Beside other work, a thread that waits must not take the core from the one it waits for.
    "OMP_WAIT_POLICY": "passive",
}


@dataclass(frozen=True)
class Plan:
    """All that decides how the model comes out."""

    seed: int = 20261123
    vocabulary_size: int = 3072
    hidden_size: int = 192
    intermediate_size: int = 512
    layers: int = 5
    heads: int = 6
    tokens: int = 14_000_000
    tokens_per_batch: int = 4096
    matrix_learning_rate: float = 0.01
    other_learning_rate: float = 0.003
    warmup_share: float = 0.02
    decay_share: float = 0.45


def main() -> None:
    arguments = _arguments()
    if arguments.device == "cpu":
        _restart_with_memory_settings()
        torch.set_num_threads(arguments.threads)
    plan = Plan(tokens=arguments.tokens) if arguments.tokens else Plan()
    torch.manual_seed(plan.seed)
    started = time.monotonic()
    tokenizer = train_tokenizer(plan.vocabulary_size, plan.seed)
    model = new_model(plan).to(arguments.device)
    if arguments.start_from:
        tokenizer, model = _earlier_model(arguments.start_from)
        model = model.to(arguments.device)
        plan = _plan_to_go_on(plan, arguments.start_from)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    figures = train(model, tokenizer, plan, arguments.device, arguments.minutes)
    figures["parameters"] = sum(each.numel() for each in model.parameters())
    figures["minutes"] = round((time.monotonic() - started) / 60, 1)
    if arguments.start_from:
        figures = _summed(figures, arguments.start_from)
    tell_unseen_tokens_apart(model, tokenizer.pad_token_id)
    write_model_files(model, tokenizer, arguments.out)
    record = {"plan": asdict(plan), "figures": figures, "device": _device_name(arguments.device)}
    (arguments.out / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


def new_model(plan: Plan) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=plan.vocabulary_size,
            hidden_size=plan.hidden_size,
            intermediate_size=plan.intermediate_size,
            num_hidden_layers=plan.layers,
            num_attention_heads=plan.heads,
            num_key_value_heads=plan.heads,
            max_position_embeddings=CONTEXT_LENGTH,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=TOKEN_NUMBER[END],
            pad_token_id=TOKEN_NUMBER[PAD],
        )
    )


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    plan: Plan,
    device: str,
    minutes: float | None,
) -> dict[str, float]:
    optimizers = _optimizers(model, plan)
    first_rates = [[group["lr"] for group in each.param_groups] for each in optimizers]
    started = time.monotonic()
    seen, step = 0, 0
    recent: deque[float] = deque(maxlen=100)
    model.train()
    for batch in batches(tokenizer.backend_tokenizer, plan.seed + 1, plan.tokens_per_batch):
        elapsed = time.monotonic() - started
        progress = elapsed / (minutes * 60) if minutes else seen / plan.tokens
        if progress >= 1:
            break
        for optimizer, rates in zip(optimizers, first_rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * rate_share(progress, plan)
        loss, answer_loss = _loss(model, batch, device)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        seen += batch.real_tokens
        step += 1
        recent.append(answer_loss)
        if step % 100 == 0:
            speed = seen / (time.monotonic() - started)
            print(
                f"step {step} {progress:.1%} answers {fmean(recent):.3f} tokens/s {speed:.0f}",
                flush=True,
            )
    return {"steps": step, "tokens": seen, "answer_loss": round(fmean(recent), 4)}


def rate_share(progress: float, plan: Plan) -> float:
    """Warm up, hold, then fall to almost nothing: the last part is where the loss settles."""
    if progress < plan.warmup_share:
        return progress / plan.warmup_share + 0.01
    if progress < 1 - plan.decay_share:
        return 1.0
    return max(0.01, (1 - progress) / plan.decay_share)


def _loss(model: LlamaForCausalLM, batch: Batch, device: str) -> tuple[torch.Tensor, float]:
    tokens = batch.tokens.to(device)
    weights = batch.weights.to(device)[:, 1:].reshape(-1)
    with torch.autocast("cuda", torch.bfloat16, enabled=device.startswith("cuda")):
        logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
    each = functional.cross_entropy(
        logits.float().reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1), reduction="none"
    )
    answers = weights == 1.0
    answer_loss = each.detach()[answers].mean().item()
    return (each * weights).sum() / weights.sum(), answer_loss


def _optimizers(model: LlamaForCausalLM, plan: Plan) -> list[torch.optim.Optimizer]:
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        Muon(matrices, lr=plan.matrix_learning_rate, weight_decay=0.05),
        torch.optim.AdamW(
            others, lr=plan.other_learning_rate, weight_decay=0.0, betas=(0.9, 0.98)
        ),
    ]  # fmt: skip


def _restart_with_memory_settings() -> None:
    """The C library reads these only when a process begins."""
    if all(os.environ.get(name) == value for name, value in _MEMORY_SETTINGS.items()):
        return
    os.environ.update(_MEMORY_SETTINGS)
    arguments = [sys.executable, "-m", "worker.starter.train", *sys.argv[1:]]
    os.execv(sys.executable, arguments)  # noqa: S606 -- this very program, anew


def _plan_to_go_on(plan: Plan, folder: Path) -> Plan:
    """A gentler rate, and text that the earlier training has not met."""
    seen = int(_record(folder)["figures"]["tokens"])
    return replace(plan, seed=plan.seed + seen, matrix_learning_rate=0.006, decay_share=0.9)


def _record(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return record


def _earlier_model(folder: Path) -> tuple[PreTrainedTokenizerFast, LlamaForCausalLM]:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    model = LlamaForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    return tokenizer, model


def _summed(figures: dict[str, float], earlier: Path) -> dict[str, float]:
    """Minutes, steps and tokens are those of all trainings that led to this model."""
    before = _record(earlier)["figures"]
    sums = {name: figures[name] + before[name] for name in ("steps", "tokens")}
    minutes = round(figures["minutes"] + before["minutes"], 1)
    return {**figures, **sums, "minutes": minutes}


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name())
    return f"{torch.get_num_threads()} CPU cores"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model's files")
    parser.add_argument("--tokens", type=int, help="how much text to learn from")
    parser.add_argument("--minutes", type=float, help="learn for this long instead")
    parser.add_argument("--start-from", type=Path, help="a folder to go on from")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=2, help="CPU cores to use")
    arguments = parser.parse_args()
    if arguments.device == "auto":
        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    return arguments


if __name__ == "__main__":
    main()
