"""The same base model and the same tokens for every contender, written to a folder."""

import json
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.shapes import SHAPES  # noqa: E402 (the line above must come first)
from benchmarks.training.contest import (  # noqa: E402 (see above)
    ALPHA,
    EXAMPLES_PER_UPDATE,
    LEARNING_RATE,
    MOST_TOKENS,
    RANK,
)


def prepare(folder: Path, shape: str, rows: int, data: Path) -> int:
    """Write `base/`, `run/` (a run folder of Tailor's) and `rows.jsonl`; return the parameters."""
    from tests.support.run_folders import conversation, make_run_folder, recipe_for
    from worker.training.chat_templates import ChatFormat
    from worker.training.examples import read_examples
    from worker.training.model import load_tokenizer

    parameters = _random_llama(folder / "base", SHAPES[shape])
    entries = json.loads(data.read_text(encoding="utf-8"))[:rows]
    recipe = recipe_for(
        folder / "base",
        method_settings={"rank": RANK, "alpha": ALPHA},
        learning_rate=LEARNING_RATE,
        epochs=1,
        examples_per_update=EXAMPLES_PER_UPDATE,
        max_tokens_per_example=MOST_TOKENS,
        seconds_between_checkpoints=3600,
    )
    if recipe.method_settings["rank"] != RANK:
        raise SystemExit("the recipe did not take the rank that the peers have")
    conversations = [
        conversation(
            number, f"{entry['instruction']}\n{entry.get('input', '')}".strip(), entry["output"]
        )
        for number, entry in enumerate(entries)
    ]
    run_folder = make_run_folder(folder / "run", recipe, conversations)
    chat = ChatFormat(load_tokenizer(recipe))
    examples = read_examples(run_folder / "data" / "train.jsonl")
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for row in chat.encode([example.messages for example in examples]):
            if row is None or len(row.ids) > MOST_TOKENS:
                continue
            labels = [i if m else -100 for i, m in zip(row.ids, row.mask, strict=True)]
            file.write(json.dumps({"input_ids": row.ids, "labels": labels}) + "\n")
    return parameters


def _random_llama(folder: Path, shape: dict[str, Any]) -> int:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(REPOSITORY / "app" / "base_models" / "starter")
    torch.manual_seed(0)
    config = LlamaConfig(
        max_position_embeddings=MOST_TOKENS,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        **shape,
    )
    model: Any = LlamaForCausalLM(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(weight.numel() for weight in model.parameters())
