"""Tiny random base models of many shapes, as folders on disk. A second each, and really run.

They differ where models differ: no pad token, no chat template, tied or own output head, GPT-2's
transposed layers, Qwen's biases, Gemma's soft cap.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY: Final = 400
CONTEXT: Final = 512

MARKED_TEMPLATE: Final = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|end|>' }}"
    "{% endgeneration %}{% else %}{{ m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
UNMARKED_TEMPLATE: Final = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
# As Qwen3 does it: a last answer is shown with its thoughts, and who wants none is given a closed
# block at the end of the question.
THINKING_TEMPLATE: Final = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{{ m['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"
)
# As SmolLM3 does it: the markers stand around the whole turn, its header included.
MARKED_THINKING_TEMPLATE: Final = (
    "{% set closed = '' if enable_thinking | default(true) else '<think>\\n\\n</think>\\n' %}"
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ '<|assistant|>\\n' + closed + m['content'] + '<|end|>\\n' }}{% endgeneration %}"
    "{% else %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' + closed }}{% endif %}"
)
ROLE_MARKS: Final = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")


def _sentences() -> Iterator[str]:
    for number in range(200):
        yield f"What is {number} and {number % 7}? It is {number + number % 7}. Yes. Hello there."


def make_tokenizer(
    *, template: str | None = MARKED_TEMPLATE, with_pad: bool = True, with_marks: bool = True
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on a few sentences."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    marks = [*(ROLE_MARKS if with_marks else ()), "<|pad|>", "<|endoftext|>"]
    backend.train_from_iterator(
        _sentences(),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=marks,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|end|>" if with_marks else "<|endoftext|>",
        pad_token="<|pad|>" if with_pad else None,
        additional_special_tokens=list(ROLE_MARKS) if with_marks else [],
        model_max_length=CONTEXT,
    )
    tokenizer.chat_template = template
    return tokenizer


def _config(kind: str) -> Any:  # noqa: ANN401 (transformers ships no types)
    import transformers

    shape: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        # Larger than usual: scores of such a small model must be able to grow.
        "initializer_range": 0.2,
    }
    ids: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    state: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "initializer_range": 0.2,
        **ids,
    }
    makers: dict[str, Callable[[], Any]] = {
        "llama": lambda: transformers.LlamaConfig(**shape, tie_word_embeddings=False),
        "llama_tied": lambda: transformers.LlamaConfig(**shape, tie_word_embeddings=True),
        "qwen": lambda: transformers.Qwen2Config(**shape, tie_word_embeddings=True),
        "gemma_soft_cap": lambda: transformers.Gemma2Config(
            **shape, head_dim=8, final_logit_softcapping=0.5, sliding_window=16
        ),
        # It looks up vectors of a token for each layer too.
        "gemma_4": lambda: transformers.Gemma4TextConfig(
            **shape,
            head_dim=8,
            vocab_size_per_layer_input=VOCABULARY,
            hidden_size_per_layer_input=8,
            num_kv_shared_layers=0,
            layer_types=["sliding_attention", "full_attention"],
        ),
        "granite_scaled": lambda: transformers.GraniteConfig(**shape, logits_scaling=8.0),
        "qwen3": lambda: transformers.Qwen3Config(**shape, head_dim=8),
        "smollm3": lambda: transformers.SmolLM3Config(**shape),
        "olmo3": lambda: transformers.Olmo3Config(**shape, sliding_window=16),
        # Dense, as the small Granite 4 models are: no experts, and attention in every layer.
        "granite_4": lambda: transformers.GraniteMoeHybridConfig(
            **shape,
            num_local_experts=0,
            shared_intermediate_size=64,
            layer_types=["attention"] * 2,
            mamba_n_heads=8,
            logits_scaling=8.0,
        ),
        # Three of four layers of the real ones carry a state instead of keys and values.
        "qwen3_5": lambda: transformers.Qwen3_5TextConfig(
            **shape,
            head_dim=8,
            layer_types=["linear_attention", "full_attention"],
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
        ),
        # Dense but for a convolution in every other layer, which remembers otherwise.
        "lfm2": lambda: transformers.Lfm2Config(
            **shape, layer_types=["conv", "full_attention"], block_multiple_of=8
        ),
        # These have no attention at all and call their memory by another name, or give none.
        "mamba": lambda: transformers.MambaConfig(**state, state_size=8),
        "rwkv": lambda: transformers.RwkvConfig(
            **state, attention_hidden_size=32, intermediate_size=64, context_length=CONTEXT
        ),
        "recurrent_gemma": lambda: transformers.RecurrentGemmaConfig(
            **{**shape, "num_hidden_layers": 3}, attention_window_size=64
        ),
        # Its attention knows distances only, so it is told no positions.
        "bloom": lambda: transformers.BloomConfig(
            vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.2, **ids
        ),
        "gpt2": lambda: transformers.GPT2Config(
            vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT, **ids
        ),
    }
    return makers[kind]()


KINDS: Final = (
    *("llama", "llama_tied", "qwen", "gemma_soft_cap", "granite_scaled", "gpt2"),
    *("qwen3", "smollm3", "olmo3", "granite_4"),
)


def make_tiny_model(
    folder: Path,
    kind: str = "llama",
    *,
    template: str | None = MARKED_TEMPLATE,
    with_pad: bool = True,
    with_marks: bool = True,
) -> Path:
    """Write a base model with random weights that are the same each time."""
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = AutoModelForCausalLM.from_config(_config(kind), dtype=torch.float32)
    model.save_pretrained(folder)
    make_tokenizer(template=template, with_pad=with_pad, with_marks=with_marks).save_pretrained(
        folder
    )
    return folder
