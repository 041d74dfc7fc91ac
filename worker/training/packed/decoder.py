"""The way through a Llama-like model without filling: which models can take it, and the way.

A model is taken apart by the names of its parts, and only if it has these parts and no others.
Names prove nothing, so the result is then tried: a few rows go both ways, forwards and backwards,
and where the two differ by more than rounding, the model's own way is kept.
"""

from collections.abc import Sequence
from typing import Any, Final, Self

import torch
from transformers.activations import SiLUActivation

from worker.training.packed.attention import Heads
from worker.training.packed.layer import Attention, GatedMlp, Layer
from worker.training.packed.linears import AdaptedLinears, is_suitable
from worker.training.packed.norm import RmsNorm
from worker.training.packed.rotary import Rotation
from worker.training.packed.stream import Stream

_MODEL_PARTS: Final = {"embed_tokens", "layers", "norm", "rotary_emb"}
_LAYER_PARTS: Final = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_ATTENTION_PARTS: Final = {"q_proj", "k_proj", "v_proj", "o_proj"}
_HEAD_NORMS: Final = {"q_norm", "k_norm"}
_MLP_PARTS: Final = {"gate_proj", "up_proj", "down_proj", "act_fn"}
# Tables of these kinds depend on the longest row seen, which a stream does not show.
_STEADY_ROTATIONS: Final = {"default", "linear", "llama3", "yarn"}
# With this, queries grow from a far place on, as in Ministral 3; the trial's short rows end before.
_SHARPENS_FAR_QUERIES: Final = "llama_4_scaling_beta"
_TRIAL_ROWS: Final = (3, 17, 8)
_TOLERANCE: Final = {torch.float32: 1e-3, torch.bfloat16: 1e-1, torch.float16: 1e-2}


class PackedDecoder:
    """Calculates the last hidden states of a stream of tokens.

    Args:
        model: the decoder of a causal model, as transformers made it, with adapters on its layers.

    Attributes:
        recomputes: whether layers keep nothing but what went into them, see `recompute.py`.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 (transformers' models share no type)
        self._model = model
        self.recomputes = False
        self._layers = [_layer(layer) for layer in model.layers]

    @classmethod
    def of(cls, model: Any) -> Self | None:  # noqa: ANN401 (see above)
        """Return the quick way through a causal model, or None if it has none."""
        decoder = model.base_model
        if not _is_alike(decoder):
            return None
        packed = cls(decoder)
        return packed if _gives_the_same(packed, decoder) else None

    def hidden(self, ids: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """Return the hidden states after the last norm.

        Args:
            ids: (tokens,), row after row.
            lengths: of the rows.
        """
        stream = Stream.of(lengths, ids.device)
        x: torch.Tensor = self._model.embed_tokens(ids)
        rotation = Rotation.of(*self._model.rotary_emb(x[None], stream.positions[None]))
        for layer in self._layers:
            x = layer(x, stream, rotation, recomputes=self.recomputes)
        result: torch.Tensor = self._model.norm(x)
        return result


def _is_alike(model: Any) -> bool:  # noqa: ANN401 (transformers' models share no type)
    config: Any = getattr(model, "config", None)
    rotation = getattr(config, "rope_parameters", None) or {}
    return (
        _names(model) == _MODEL_PARTS
        and rotation.get("rope_type") in _STEADY_ROTATIONS
        and _SHARPENS_FAR_QUERIES not in rotation
        and getattr(config, "attention_dropout", None) == 0.0
        and _looks_back_to_the_first(config)
        and type(model.embed_tokens) is torch.nn.Embedding
        and _is_rms_norm(model.norm)
        and len(model.layers) == config.num_hidden_layers
        and all(_is_alike_layer(layer) for layer in model.layers)
    )


def _looks_back_to_the_first(config: Any) -> bool:  # noqa: ANN401 (see above)
    """Whether every token sees all that come before it, however long the row is.

    Where a window slides over the tokens, the trial's short rows would not show it.
    """
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return set(kinds) <= {"full_attention"}
    # Some models name a window that they do not use.
    is_used = getattr(config, "use_sliding_window", True)
    return not is_used or getattr(config, "sliding_window", None) is None


def _is_alike_layer(layer: Any) -> bool:  # noqa: ANN401 (see above)
    if _names(layer) != _LAYER_PARTS:
        return False
    attention, mlp = layer.self_attn, layer.mlp
    linears = [getattr(attention, name, None) for name in _ATTENTION_PARTS]
    linears += [getattr(mlp, name, None) for name in _MLP_PARTS - {"act_fn"}]
    norms = [layer.input_layernorm, layer.post_attention_layernorm]
    norms += [getattr(attention, name) for name in _HEAD_NORMS & _names(attention)]
    return (
        _names(attention) in (_ATTENTION_PARTS, _ATTENTION_PARTS | _HEAD_NORMS)
        and _names(mlp) == _MLP_PARTS
        and isinstance(mlp.act_fn, SiLUActivation | torch.nn.SiLU)
        and all(is_suitable(linear) for linear in linears)
        and all(_is_rms_norm(norm) for norm in norms)
        and getattr(attention, "sliding_window", None) is None
        and isinstance(getattr(attention, "scaling", None), float)
    )


def _names(module: torch.nn.Module) -> set[str]:
    return {name for name, _ in module.named_children()}


def _is_rms_norm(norm: Any) -> bool:  # noqa: ANN401 (each model brings its own class)
    return (
        type(norm).__name__.endswith("RMSNorm")
        and isinstance(getattr(norm, "variance_epsilon", None), float)
        and not norm.weight.requires_grad
    )


def _layer(layer: Any) -> Layer:  # noqa: ANN401 (see above)
    attention, mlp = layer.self_attn, layer.mlp
    size = attention.head_dim
    inputs = AdaptedLinears.of(attention, ("q_proj", "k_proj", "v_proj"))
    output = AdaptedLinears.of(attention, ("o_proj",))
    keys = attention.k_proj.out_features // size
    has_head_norms = hasattr(attention, "q_norm")
    return Layer(
        Attention(
            norm=_norm(layer.input_layernorm),
            inputs=inputs,
            output=output,
            heads=Heads(attention.q_proj.out_features // size, keys, size, attention.scaling),
            rotates=bool(getattr(attention, "use_rope", True)),
            query_norm=_norm(attention.q_norm) if has_head_norms else None,
            key_norm=_norm(attention.k_norm) if has_head_norms else None,
        ),
        GatedMlp(
            norm=_norm(layer.post_attention_layernorm),
            inputs=AdaptedLinears.of(mlp, ("gate_proj", "up_proj")),
            output=AdaptedLinears.of(mlp, ("down_proj",)),
        ),
    )


def _norm(norm: Any) -> RmsNorm:  # noqa: ANN401 (each model brings its own class)
    return RmsNorm(norm.weight.data, norm.variance_epsilon)


def _gives_the_same(packed: PackedDecoder, model: Any) -> bool:  # noqa: ANN401 (see above)
    """Send a few rows both ways and compare hidden states and the adapters' gradients."""
    trained = [p for p in model.parameters() if p.requires_grad]
    vocabulary = len(model.embed_tokens.weight)
    device = model.embed_tokens.weight.device
    ids = (torch.arange(sum(_TRIAL_ROWS), device=device) * 7 + 1) % vocabulary
    was_training = model.training
    model.eval()
    try:
        ours = packed.hidden(ids, _TRIAL_ROWS)
        theirs = torch.cat(
            [model(input_ids=row[None], use_cache=False)[0][0] for row in ids.split(_TRIAL_ROWS)]
        )
        pairs = [(ours, theirs)]
        if trained:
            pairs.append((_gradients(ours, trained), _gradients(theirs, trained)))
    except (RuntimeError, TypeError, ValueError):
        return False
    finally:
        model.train(was_training)
    tolerance = _TOLERANCE.get(ours.dtype, 0.0)
    return all(_differ_by(a, b) <= tolerance for a, b in pairs)


def _gradients(hidden: torch.Tensor, trained: list[torch.nn.Parameter]) -> torch.Tensor:
    """Return the gradients of a sum over the hidden states in which no two count the same."""
    weights = torch.linspace(-1, 1, hidden.numel(), device=hidden.device).view_as(hidden)
    gradients = torch.autograd.grad((hidden * weights).sum(), trained)
    return torch.cat([gradient.reshape(-1) for gradient in gradients])


@torch.no_grad()
def _differ_by(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the size of the difference as a part of the whole."""
    whole = theirs.float().norm()
    difference = (ours.float() - theirs.float()).norm()
    return float(difference / whole) if whole > 0 else float(difference)
