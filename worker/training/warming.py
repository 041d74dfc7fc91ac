"""What a process that waits for its work does meanwhile: it loads what every training needs.

Nothing of it can be told by a training that comes after: what it calculates is thrown away, and a
training sets its random seed, its threads and its number format itself.
"""

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from worker.training.batches import MicroBatch
from worker.training.loss import AnswerLoss

_TINY = LlamaConfig(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
)


def warm_up() -> None:
    """Teach a tiny model one step, so that what is loaded on first use is loaded."""
    base = LlamaForCausalLM(_TINY).requires_grad_(requires_grad=False)
    loss = AnswerLoss(base)
    model = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear"))
    loss.try_packed()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, fused=True)
    ids = torch.arange(16).reshape(2, 8)
    loss.total(MicroBatch(ids, torch.arange(7), ids.reshape(-1)[1:8], ids.numel())).backward()
    optimizer.step()
