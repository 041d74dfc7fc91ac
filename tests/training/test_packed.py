"""The way without filling calculates what the models and peft calculate themselves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, GraniteConfig, GraniteForCausalLM

from tests.support.tiny_models import VOCABULARY, make_tiny_model
from worker.training.model import base_sha256
from worker.training.packed import attention
from worker.training.packed.attention import Heads, attend, attend_backward
from worker.training.packed.decoder import PackedDecoder
from worker.training.packed.stream import Stream

# Two rows of like length that go together, one alone, and one that is longer than a chunk.
LENGTHS = (150, 60, 55, 3)
MakeModel = Callable[..., Any]


@pytest.fixture(scope="module")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    folders: dict[str, Path] = {}

    def make(kind: str, dtype: torch.dtype = torch.float32, **settings: Any) -> Any:  # noqa: ANN401
        if kind not in folders:
            folders[kind] = make_tiny_model(tmp_path_factory.mktemp(kind), kind)
        base = AutoModelForCausalLM.from_pretrained(folders[kind], dtype=dtype)
        return with_adapter(base, **settings)

    return make


def with_adapter(base: Any, **settings: Any) -> Any:  # noqa: ANN401
    config = LoraConfig(
        **{"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **settings},
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(1)
    model = get_peft_model(base.requires_grad_(requires_grad=False), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model.eval()


def rows() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, VOCABULARY, (sum(LENGTHS),), generator=generator)


def plain_hidden(model: Any) -> torch.Tensor:  # noqa: ANN401
    decoder = model.get_base_model().base_model
    return torch.cat(
        [decoder(input_ids=row[None], use_cache=False)[0][0] for row in rows().split(LENGTHS)]
    )


def gradients(model: Any, hidden: torch.Tensor) -> dict[str, torch.Tensor]:  # noqa: ANN401
    model.zero_grad()
    (hidden * torch.linspace(-1, 1, hidden.numel()).view_as(hidden)).sum().backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["llama", "llama_tied", "qwen", "qwen3", "smollm3"])
def test_hidden_states_and_gradients_equal_those_of_peft(kind: str, make_model: MakeModel) -> None:
    model = make_model(kind)
    before = base_sha256(model)
    packed = PackedDecoder.of(model.get_base_model())
    assert packed is not None
    assert base_sha256(model) == before

    expected = plain_hidden(model)
    expected_gradients = gradients(model, expected)
    ours = packed.hidden(rows(), LENGTHS)
    our_gradients = gradients(model, ours)

    assert torch.allclose(ours, expected, rtol=1e-4, atol=1e-5)
    assert our_gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        assert gradient.dtype == our_gradients[name].dtype == torch.float32
        difference = (our_gradients[name] - gradient).norm()
        assert difference <= 1e-4 * gradient.norm(), name


def test_sixteen_bits_differ_by_rounding_only(make_model: MakeModel) -> None:
    exact = gradients(model := make_model("qwen3"), plain_hidden(model))
    model = make_model("qwen3", torch.bfloat16)
    packed = PackedDecoder.of(model.get_base_model())
    assert packed is not None
    theirs = gradients(model, plain_hidden(model).float())
    ours = gradients(model, packed.hidden(rows(), LENGTHS).float())
    for name, gradient in exact.items():
        assert ours[name].dtype == torch.float32
        # No further from the truth than the plain way in the same numbers, give or take.
        our_distance = (ours[name] - gradient).norm()
        assert our_distance <= 1.5 * (theirs[name] - gradient).norm() + 1e-2 * gradient.norm(), name


def test_only_some_layers_may_wear_an_adapter(make_model: MakeModel) -> None:
    model = make_model("llama", target_modules=["k_proj", "up_proj"])
    packed = PackedDecoder.of(model.get_base_model())
    assert packed is not None
    expected = gradients(model, plain_hidden(model))
    ours = gradients(model, packed.hidden(rows(), LENGTHS))
    assert ours.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(ours[name], gradient, rtol=1e-3, atol=1e-4), name


def test_a_switched_off_adapter_stays_switched_off(make_model: MakeModel) -> None:
    model = make_model("llama")
    packed = PackedDecoder.of(model.get_base_model())
    assert packed is not None
    with torch.no_grad(), model.disable_adapter():
        expected = plain_hidden(model)
        assert torch.allclose(packed.hidden(rows(), LENGTHS), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(packed.hidden(rows(), LENGTHS), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("kind", ["gemma_soft_cap", "gpt2", "olmo3", "granite_4"])
def test_other_models_keep_their_own_way(kind: str, make_model: MakeModel) -> None:
    assert PackedDecoder.of(make_model(kind).get_base_model()) is None


@pytest.mark.parametrize(
    ("kind", "settings", "is_quick"),
    [
        ("mistral", {"sliding_window": 32}, False),
        ("mistral", {"sliding_window": None}, True),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 1},
            False,
        ),
        # As most of its family name a window that they do not use.
        ("qwen2", {"use_sliding_window": False, "sliding_window": 32}, True),
        ("qwen3", {"use_sliding_window": False, "sliding_window": 32}, True),
        # Its queries grow from a far place on.
        ("ministral3", {"sliding_window": None}, False),
    ],
)
def test_models_that_are_different_in_long_rows_keep_their_own_way(
    kind: str, settings: dict[str, Any], *, is_quick: bool
) -> None:
    """Rows as short as those of the trial would not tell."""
    config = AutoConfig.for_model(
        kind,
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        **settings,
    )
    model = with_adapter(AutoModelForCausalLM.from_config(config))
    packed = PackedDecoder.of(model.get_base_model())
    assert (packed is not None) == is_quick
    if packed is not None:
        assert torch.allclose(
            packed.hidden(rows(), LENGTHS), plain_hidden(model), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("settings", [{"lora_dropout": 0.1}, {"use_dora": True}])
def test_other_adapters_keep_their_own_way(settings: dict[str, Any], make_model: MakeModel) -> None:
    assert PackedDecoder.of(make_model("llama", **settings).get_base_model()) is None


def test_a_model_that_only_looks_alike_is_found_out() -> None:
    # Its parts have a Llama's names, but it halves what each part adds.
    config = GraniteConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        residual_multiplier=0.5,
    )
    assert PackedDecoder.of(with_adapter(GraniteForCausalLM(config)).get_base_model()) is None


@pytest.mark.parametrize("sharing", [1, 2])
def test_the_kernels_for_graphics_cards_give_the_same(sharing: int) -> None:
    """As far as a processor can tell: row by row, with torch's own way back."""
    heads = Heads(queries=4, keys=4 // sharing, size=8, scaling=0.4)
    stream = Stream.of(LENGTHS, torch.device("cpu"))
    generator = torch.Generator().manual_seed(5)
    shapes = [(sum(LENGTHS), count, 8) for count in (heads.queries, heads.keys, heads.keys)]
    parts = [torch.randn(shape, generator=generator) for shape in shapes]
    upstream = torch.randn(shapes[0], generator=generator)

    ours, kept = attend(parts[0], parts[1], parts[2], heads, stream)
    slopes = [torch.empty_like(part) for part in parts]
    attend_backward(upstream, kept, heads, stream, (slopes[0], slopes[1], slopes[2]))
    out, (kernel_out, inputs) = attention._by_kernel(parts[0], parts[1], parts[2], heads, stream)  # noqa: SLF001

    assert torch.allclose(ours, out, rtol=1e-4, atol=1e-5)
    expected = torch.autograd.grad(kernel_out, inputs, upstream)
    for slope, other in zip(slopes, expected, strict=True):
        assert torch.allclose(slope, other, rtol=1e-3, atol=1e-5)
