"""The loss at the answers, and nothing calculated anywhere else.

A language model's head is its largest single product: hidden size times vocabulary, for each
token. So only the hidden states that tell an answer token go through it, in chunks, and each
chunk's gradient is taken at once, so that the scores of the whole vocabulary never pile up.

Some models do more after the head (a soft cap, a scale). Whether the short way is the same as the
model's own is not guessed from names but tried once on a few tokens; where it is not, the model's
own full scores are used.
"""

from typing import Any, Final

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from worker.methods.front import Front
from worker.training.batches import MicroBatch
from worker.training.packed.decoder import PackedDecoder

_POSITIONS_AT_ONCE: Final = 1024
_PROBE_TOKENS: Final = 7
# Settings of known models that change the scores; small random scores may not show a soft cap.
_SCORE_CHANGING_KEYS: Final = ("final_logit_softcapping", "logits_scaling", "logit_scale")


class AnswerLoss:
    """Sums the cross-entropy over a micro-batch's answer tokens.

    Attributes:
        is_short: whether the head is applied at the answers only.
        packed: the way to the hidden states without filling, where the model has one.
        front: the virtual tokens that stand before every row, if there are any.
    """

    front: Front | None = None

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._head: Any = model.get_output_embeddings()
        self.is_short = self._short_way_is_right()
        self.packed: PackedDecoder | None = None

    @property
    def device(self) -> torch.device:
        return self._head.weight.device  # type: ignore[no-any-return]

    @property
    def fills(self) -> bool:
        """Whether each row is calculated as long as the longest of its micro-batch."""
        return self.packed is None

    def try_packed(self) -> None:
        """Leave out the filling from here on, if that gives the same. The model is complete now."""
        is_frozen = not self._head.weight.requires_grad
        can_be_tried = self.is_short and is_frozen and self.front is None
        self.packed = PackedDecoder.of(self._model) if can_be_tried else None

    def total(self, batch: MicroBatch, scale: float = 1.0) -> torch.Tensor:
        """Return scale times the summed loss."""
        if not self.is_short or self._head.weight.requires_grad:
            logits = self._logits_at(batch)
            return functional.cross_entropy(logits, batch.targets, reduction="sum") * scale
        apply: Any = _HeadLoss.apply
        loss: torch.Tensor = apply(
            self.hidden_at(batch), self._head.weight, self._head.bias, batch.targets, scale
        )
        return loss

    def log_probabilities(self, batch: MicroBatch) -> torch.Tensor:
        """Return the log-probability of each target, in fp32: (targets,)."""
        if not self.is_short or self._head.weight.requires_grad:
            logits = self._logits_at(batch)
            return -functional.cross_entropy(logits, batch.targets, reduction="none")
        apply: Any = _HeadLogProbabilities.apply
        told: torch.Tensor = apply(
            self.hidden_at(batch), self._head.weight, self._head.bias, batch.targets
        )
        return told

    def _logits_at(self, batch: MicroBatch) -> torch.Tensor:
        """Return the scores of the whole vocabulary, in fp32: (positions, vocabulary)."""
        if self.is_short:
            # The head itself learns, so the way back leads through it as well.
            scores: torch.Tensor = self._head(self.hidden_at(batch)).float()
            return scores
        logits = self._model(**self._inputs(batch.ids), use_cache=False).logits
        logits = logits[:, self._places :]
        chosen: torch.Tensor = logits.reshape(-1, logits.shape[-1])[batch.positions].float()
        return chosen

    def pass_idly(self) -> None:
        """Go through the model once, and back where something learns, so that nothing changes."""
        hidden = self._hidden(torch.zeros((1, 2), dtype=torch.long, device=self.device))
        if hidden.requires_grad:
            (hidden.sum() * 0.0).backward()

    def hidden_at(self, batch: MicroBatch) -> torch.Tensor:
        """Return the last hidden states at the batch's positions: (positions, width)."""
        if self.packed is not None:
            rows = batch.packed()
            return self.packed.hidden(rows.ids, rows.lengths).index_select(0, rows.positions)
        hidden = self._hidden(batch.ids)
        return hidden.reshape(-1, hidden.shape[-1])[batch.positions]

    def _hidden(self, ids: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self._model.base_model(**self._inputs(ids), use_cache=False)[0]
        return hidden[:, self._places :]

    def _inputs(self, ids: torch.Tensor) -> dict[str, Any]:
        return {"input_ids": ids} if self.front is None else self.front.inputs(ids)

    @property
    def _places(self) -> int:
        """Places of the output that belong to no token of the row."""
        return 0 if self.front is None else self.front.places

    @torch.no_grad()
    def _short_way_is_right(self) -> bool:
        """Compare both ways on a few tokens."""
        if type(self._head) is not torch.nn.Linear or self._model.base_model is self._model:
            return False
        if any(getattr(self._model.config, key, None) for key in _SCORE_CHANGING_KEYS):
            return False
        was_training = self._model.training
        self._model.eval()
        vocabulary = self._head.weight.shape[0]
        ids = torch.arange(_PROBE_TOKENS, device=self._head.weight.device)[None] % vocabulary
        full = self._model(input_ids=ids, use_cache=False).logits.float()
        short = self._head(self._hidden(ids)).float()
        self._model.train(was_training)
        return full.shape == short.shape and torch.allclose(full, short, rtol=1e-3, atol=1e-4)


class _HeadLoss(torch.autograd.Function):
    """Head and cross-entropy in one, for a head that is not trained."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 (torch gives it no type)
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        needs_gradient = ctx.needs_input_grad[0]
        gradient = torch.empty_like(hidden) if needs_gradient else None
        for start in range(0, len(targets), _POSITIONS_AT_ONCE):
            here = slice(start, start + _POSITIONS_AT_ONCE)
            logits = functional.linear(hidden[here], weight, bias).float()
            wanted = targets[here, None]
            log_sum = logits.logsumexp(dim=-1, keepdim=True)
            total += (log_sum - logits.gather(1, wanted)).sum()
            if gradient is not None:
                # Softmax minus one at the target: the gradient of the cross-entropy.
                slope = logits.sub_(log_sum).exp_()
                slope.scatter_add_(1, wanted, slope.new_full(wanted.shape, -1.0))
                torch.mm(slope.mul_(scale).to(weight.dtype), weight, out=gradient[here])
        ctx.save_for_backward(gradient)
        return total * scale

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:  # noqa: ANN401
        (gradient,) = ctx.saved_tensors
        return gradient * upstream, None, None, None, None


class _HeadLogProbabilities(torch.autograd.Function):
    """Head and log-probabilities in one, for a head that is not trained.

    How much each of them counts is known only once all are, so the scores are calculated again on
    the way back instead of being kept.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 (torch gives it no type)
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
    ) -> torch.Tensor:
        told = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(targets), _POSITIONS_AT_ONCE):
            here = slice(start, start + _POSITIONS_AT_ONCE)
            logits = functional.linear(hidden[here], weight, bias).float()
            told[here] = logits.gather(1, targets[here, None])[:, 0] - logits.logsumexp(dim=-1)
        ctx.save_for_backward(hidden, weight, bias, targets)
        return told

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:  # noqa: ANN401
        hidden, weight, bias, targets = ctx.saved_tensors
        gradient = torch.empty_like(hidden)
        for start in range(0, len(targets), _POSITIONS_AT_ONCE):
            here = slice(start, start + _POSITIONS_AT_ONCE)
            logits = functional.linear(hidden[here], weight, bias).float()
            # One at the target minus the softmax: the gradient of a log-probability.
            slope = logits.softmax(dim=-1).neg_()
            wanted = targets[here, None]
            slope.scatter_add_(1, wanted, slope.new_ones(wanted.shape))
            slope.mul_(upstream[here, None])
            torch.mm(slope.to(weight.dtype), weight, out=gradient[here])
        return gradient, None, None, None
