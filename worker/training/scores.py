"""What some models do to their scores after the head: a scale, a soft cap, or one after the other.

Such models are Gemma 2, 3n and 4 (a cap), Granite and Cohere (a scale). Both are done word by word,
so the scores of a tile of the vocabulary can be treated without the others.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import torch

# What models call these numbers. Some multiply with what others divide by under the same name.
_SCALES: Final = ("logits_scaling", "logit_scale", "lm_head_multiplier", "output_multiplier")
_CAPS: Final = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
_SAME: Final = 1e-3
# Whatever is done to scores rounds them some more times in the format of the model.
_TOLERANCE: Final = {torch.float32: _SAME, torch.bfloat16: 2e-2, torch.float16: 4e-3}


class Treatment(NamedTuple):
    """How a model's scores come from what its head gives: cap * tanh(scale * given / cap).

    Attributes:
        scale: 1 if there is none.
        cap: None if there is none, and the scores are scale * given.
    """

    scale: float = 1.0
    cap: float | None = None

    @property
    def is_any(self) -> bool:
        """Whether it changes anything."""
        return self != (1.0, None)

    def treat(self, given: torch.Tensor) -> torch.Tensor:
        """Return the scores; what the head gave may be overwritten, unless someone needs its slope.

        Args:
            given: in fp32, of any shape.
        """
        if not self.is_any:
            return given
        if given.requires_grad:
            scaled = given * self.scale
            return scaled if self.cap is None else (scaled / self.cap).tanh() * self.cap
        scaled = given.mul_(self.scale)
        return scaled if self.cap is None else scaled.div_(self.cap).tanh_().mul_(self.cap)

    def steepness(self, scores: torch.Tensor) -> torch.Tensor | None:
        """Return how much each score changes with what the head gave; None stands for as much."""
        if not self.is_any:
            return None
        if self.cap is None:
            return torch.full_like(scores, self.scale)
        return (scores / self.cap).square_().neg_().add_(1.0).mul_(self.scale)


def find_treatment(
    config: Any,  # noqa: ANN401 (transformers' configurations share no useful type)
    given: torch.Tensor,
    scores: torch.Tensor,
) -> Treatment | None:
    """Return the treatment that makes a model's scores of what its head gave.

    Its numbers stand in the configuration. What is done with them is not guessed from their names
    but tried on a few tokens.

    Args:
        config: the model's.
        given: by the head, in the format of the model: (..., vocabulary).
        scores: of the model, of the same shape if it has any treatment that is known here.

    Returns:
        None if none that is known here makes them.
    """
    if given.shape != scores.shape or any(_texts(config)):
        return None
    for treatment in _candidates(config):
        ours = treatment.treat(given.float().clone())
        tolerance = _TOLERANCE.get(given.dtype, 0.0) if treatment.is_any else _SAME
        if torch.allclose(ours, scores.float(), rtol=tolerance, atol=tolerance / 10):
            return treatment
    return None


def _candidates(config: Any) -> Iterator[Treatment]:  # noqa: ANN401 (see above)
    """Yield what a configuration may mean.

    A cap that is named is never left out: it hardly shows in small scores.
    """
    cap = next(_numbers(config, _CAPS), None)
    scale = next(_numbers(config, _SCALES), None)
    for one in (1.0,) if scale is None else (1.0 / scale, scale):
        yield Treatment(one, cap)


def _texts(config: Any) -> Iterator[bool]:  # noqa: ANN401 (see above)
    """Say of each name whether a rule stands there in words, as in MPT; none of them is known."""
    text = config.get_text_config()
    return (isinstance(getattr(text, name, None), str) for name in (*_SCALES, *_CAPS))


def _numbers(config: Any, names: tuple[str, ...]) -> Iterator[float]:  # noqa: ANN401 (see above)
    text = config.get_text_config()
    return (float(value) for name in names if (value := getattr(text, name, None)))
