"""Choosing the next token."""

import secrets
from dataclasses import dataclass, field

import torch

_MOST_SEED = 2**63 - 1


@dataclass(frozen=True)
class SamplingSettings:
    """How the next token is chosen.

    Attributes:
        temperature: 0 always takes the likeliest token.
        top_p: the smallest set of tokens that holds this much probability is drawn from.
        seed: the same seed, question and settings give the same answer on the same machine.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    repetition_penalty: float = 1.0


@dataclass
class Sampler:
    """One answer's way of choosing, with random numbers of its own: neighbours change nothing."""

    settings: SamplingSettings
    _generator: torch.Generator = field(default_factory=torch.Generator)

    def __post_init__(self) -> None:
        seed = self.settings.seed
        self._generator.manual_seed(secrets.randbits(63) if seed is None else seed % _MOST_SEED)

    def choose(self, logits: torch.Tensor, seen: list[int]) -> int:
        """Return the next token.

        Args:
            logits: one row over the vocabulary.
            seen: all tokens so far, for models whose own settings ask for fewer repetitions.
        """
        scores = logits.to(dtype=torch.float32, copy=True)
        if self.settings.repetition_penalty != 1.0:
            _penalise(scores, seen, self.settings.repetition_penalty)
        if self.settings.temperature <= 0:
            return int(torch.argmax(scores).item())
        probabilities = torch.softmax(scores.cpu() / self.settings.temperature, dim=-1)
        if self.settings.top_p < 1.0:
            probabilities = _keep_likeliest(probabilities, self.settings.top_p)
        return int(torch.multinomial(probabilities, 1, generator=self._generator).item())


def _penalise(scores: torch.Tensor, seen: list[int], penalty: float) -> None:
    # The rule of transformers' generate, so that both give the same answer.
    places = torch.tensor(sorted(set(seen)), device=scores.device)
    values = scores[places]
    scores[places] = torch.where(values < 0, values * penalty, values / penalty)


def _keep_likeliest(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    ordered, places = torch.sort(probabilities, descending=True)
    surplus = torch.cumsum(ordered, dim=-1) - ordered > top_p
    ordered[surplus] = 0.0
    kept = torch.zeros_like(probabilities)
    kept[places] = ordered
    return kept
