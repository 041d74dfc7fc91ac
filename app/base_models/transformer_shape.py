"""The measures of a transformer: what its memory and its time follow from.

They are read from config.json, whose keys differ between families of models. Where a key is missing
the measure is derived from the ones that are there; where nothing is known but the number of
parameters, a model of the usual proportions stands in, and says so.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from math import sqrt
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

SHAPE_FACT: Final = "shape"

_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "hidden": ("hidden_size", "n_embd", "d_model", "dim"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    "head_dim": ("head_dim", "attention_head_dim"),
    "ffn": ("shared_intermediate_size", "intermediate_size", "n_inner", "ffn_dim", "d_ff"),
    "vocabulary": ("vocab_size",),
    "experts_used": ("num_experts_per_tok", "num_experts_per_token", "top_k_experts"),
    "expert_ffn": ("moe_intermediate_size",),
}
_MOST: Final = 10**8
# Of a model that nothing is known of but its size.
_USUAL_HEAD: Final = 64
_USUAL_VOCABULARY: Final = 50_000
_USUAL_LAYERS: Final = ((3e7, 6), (1e8, 12), (5e8, 28), (2e9, 26), (1e10, 34))
_MANY_LAYERS: Final = 64


class TransformerShape(BaseModel):
    """A decoder's measures; widths and counts are numbers, never bytes.

    Attributes:
        hidden: width of the stream that runs through the layers.
        head_dim: width of one head of attention.
        ffn: inner width of the feed-forward part, of all experts that see one token together.
        is_gated: whether the feed-forward part has three matrices (gate, up, down) or two.
        is_tied: whether the output head is the table of embeddings.
        parameters: of the whole model, as counted in its files where they are here.
        is_derived: whether the measures were worked out from the number of parameters.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    hidden: int = Field(gt=0, le=_MOST)
    layers: int = Field(gt=0, le=10_000)
    heads: int = Field(gt=0, le=100_000)
    kv_heads: int = Field(gt=0, le=100_000)
    head_dim: int = Field(gt=0, le=_MOST)
    ffn: int = Field(gt=0, le=_MOST)
    vocabulary: int = Field(gt=0, le=_MOST)
    is_gated: bool = True
    is_tied: bool = True
    parameters: int = Field(default=0, ge=0)
    is_derived: bool = False

    @property
    def query_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def key_width(self) -> int:
        """Width of the keys, and of the values."""
        return self.kv_heads * self.head_dim

    @property
    def layer_matrices(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of each matrix of a layer: what an adapter is put on."""
        up = (self.hidden, self.ffn)
        return (
            (self.hidden, self.query_width),
            (self.hidden, self.key_width),
            (self.hidden, self.key_width),
            (self.query_width, self.hidden),
            *([up] * (2 if self.is_gated else 1)),
            (self.ffn, self.hidden),
        )

    @property
    def matrix_inputs(self) -> int:
        """Inputs of all matrices of one layer."""
        return sum(inputs for inputs, _ in self.layer_matrices)

    @property
    def matrix_outputs(self) -> int:
        """Outputs of all matrices of one layer."""
        return sum(outputs for _, outputs in self.layer_matrices)

    @property
    def matrix_sides(self) -> int:
        """Both; at rank one, LoRA has as many numbers in a layer."""
        return self.matrix_inputs + self.matrix_outputs

    @property
    def layer_weights(self) -> int:
        """Numbers in the matrices of one layer."""
        return sum(inputs * outputs for inputs, outputs in self.layer_matrices)

    @property
    def counted(self) -> int:
        """Parameters as they follow from the measures; small vectors are left out."""
        tables = self.vocabulary * self.hidden * (1 if self.is_tied else 2)
        return tables + self.layers * self.layer_weights

    @property
    def size(self) -> int:
        """Parameters that a loaded model holds.

        Some files hold a tied table twice; when it is loaded, it is there once.
        """
        table = self.vocabulary * self.hidden
        if self.is_tied and abs(self.parameters - self.counted - table) < 0.02 * table:
            return self.counted
        return self.parameters or self.counted

    def as_fact(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    @classmethod
    def from_config(cls, config: Mapping[str, Any], parameters: int = 0) -> Self | None:
        """Read a config.json of any family; None if it does not even say the width and depth.

        Args:
            config: its content. Of a model for several senses the part for text counts.
            parameters: counted in the weights' files; decides what the configuration leaves open.
        """
        text = config.get("text_config")
        content = {**config, **text} if isinstance(text, dict) else config
        found = {name: _whole(content, keys) for name, keys in _KEYS.items()}
        hidden, layers, heads = found["hidden"], found["layers"], found["heads"] or 1
        if not hidden or not layers:
            return None
        ffn = found["ffn"] or 4 * hidden
        if found["experts_used"]:
            ffn = (found["expert_ffn"] or ffn) * found["experts_used"]
        measures: dict[str, Any] = {
            "hidden": hidden,
            "layers": layers,
            "heads": heads,
            "kv_heads": found["kv_heads"] or (1 if content.get("multi_query") is True else heads),
            "head_dim": found["head_dim"] or max(1, hidden // heads),
            "ffn": ffn,
            "vocabulary": found["vocabulary"] or _USUAL_VOCABULARY,
            "parameters": parameters,
        }
        try:
            return min(
                (cls(**measures, **way) for way in _ways(content)),
                key=lambda shape: abs(shape.counted - parameters) if parameters else 0,
            )
        except ValidationError:
            return None

    @classmethod
    def usual_for(cls, parameters: int) -> Self:
        """Return the measures that a model of this size usually has."""
        size = max(parameters, 100_000)
        layers = next((count for limit, count in _USUAL_LAYERS if size < limit), _MANY_LAYERS)
        vocabulary = min(_USUAL_VOCABULARY, max(256, size // 1000))
        # size = vocabulary * h + layers * 12 * h * h, solved for h.
        root = sqrt(vocabulary**2 + 48.0 * layers * size)
        hidden = max(16, round((root - vocabulary) / (24.0 * layers)))
        heads = max(1, hidden // _USUAL_HEAD)
        return cls(
            hidden=hidden,
            layers=layers,
            heads=heads,
            kv_heads=heads,
            head_dim=max(1, hidden // heads),
            ffn=max(1, round(hidden * 8 / 3)),
            vocabulary=vocabulary,
            parameters=parameters,
            is_derived=True,
        )


def shape_from_facts(facts: Mapping[str, Any]) -> TransformerShape | None:
    """Return the measures that are known of a base model, or the usual ones for its size.

    None if not even its size is known.
    """
    parameters = facts.get("parameters")
    try:
        return TransformerShape.model_validate(facts[SHAPE_FACT])
    except (KeyError, ValidationError):
        pass
    if isinstance(parameters, int) and parameters > 0:
        return TransformerShape.usual_for(parameters)
    return None


def _whole(content: Mapping[str, Any], keys: tuple[str, ...]) -> int:
    """Return the first of the keys that is a positive whole number, else 0."""
    for key in keys:
        value = content.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST:
            return value
    return 0


def _ways(content: Mapping[str, Any]) -> Iterator[dict[str, bool]]:
    """Yield what a configuration may mean, the likeliest first."""
    tied = content.get("tie_word_embeddings")
    gated = not str(content.get("model_type", "")).startswith(("gpt", "opt", "bloom", "phi"))
    ties = [tied] if isinstance(tied, bool) else [True, False]
    for is_tied, is_gated in product(ties, (gated, not gated)):
        yield {"is_tied": is_tied, "is_gated": is_gated}
