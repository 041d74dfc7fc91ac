"""The loss at the answers, and nothing calculated anywhere else.

A language model's head is its largest single product: hidden size times vocabulary, for each
token. So only the hidden states that tell an answer token go through it, tile by tile (`head.py`),
so that the scores of the whole vocabulary never pile up.

Some models do more after the head: a soft cap or a scale (`scores.py`). Whether the short way is
the same as the model's own is not guessed from names but tried once on a few tokens; where it is
not, the model's own full scores are used.
"""

from typing import Any, Final

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from worker.methods.front import Front
from worker.training import head
from worker.training.batches import MicroBatch
from worker.training.packed.decoder import PackedDecoder
from worker.training.scores import Treatment, find_treatment

_PROBE_TOKENS: Final = 7


class AnswerLoss:
    """Sums the cross-entropy over a micro-batch's answer tokens.

    Attributes:
        packed: the way to the hidden states without filling, where the model has one.
        front: the virtual tokens that stand before every row, if there are any.
    """

    front: Front | None = None

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._head: Any = model.get_output_embeddings()
        self._treatment = self._find_treatment()
        self.packed: PackedDecoder | None = None

    @property
    def is_short(self) -> bool:
        """Whether the head is applied at the answers only."""
        return self._treatment is not None

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

    @property
    def _frozen_head(self) -> head.Head | None:
        """The head for the short way; None where the model's scores are needed as a whole."""
        if self._treatment is None or self._head.weight.requires_grad:
            return None
        return head.Head(self._head.weight, self._head.bias, self._treatment)

    def total(self, batch: MicroBatch, scale: float = 1.0) -> torch.Tensor:
        """Return scale times the summed loss."""
        if (frozen := self._frozen_head) is None:
            scores = self._scores_at(batch)
            return functional.cross_entropy(scores, batch.targets, reduction="sum") * scale
        return head.loss(self.hidden_at(batch), frozen, batch.targets, scale)

    def log_probabilities(self, batch: MicroBatch) -> torch.Tensor:
        """Return the log-probability of each target, in fp32: (targets,)."""
        if (frozen := self._frozen_head) is None:
            scores = self._scores_at(batch)
            return -functional.cross_entropy(scores, batch.targets, reduction="none")
        return head.log_probabilities(self.hidden_at(batch), frozen, batch.targets)

    def _scores_at(self, batch: MicroBatch) -> torch.Tensor:
        """Return the scores of the whole vocabulary, in fp32: (positions, vocabulary)."""
        if self._treatment is not None:
            # The head itself learns, so the way back leads through it as well.
            return self._treatment.treat(self._head(self.hidden_at(batch)).float())
        scores = self._model(**self._inputs(batch.ids), use_cache=False).logits
        scores = scores[:, self._places :]
        chosen: torch.Tensor = scores.reshape(-1, scores.shape[-1])[batch.positions].float()
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
        # Some families, such as Mamba, add their layers up in fp32, whatever the head is in.
        return hidden[:, self._places :].to(self._head.weight.dtype)

    def _inputs(self, ids: torch.Tensor) -> dict[str, Any]:
        return {"input_ids": ids} if self.front is None else self.front.inputs(ids)

    @property
    def _places(self) -> int:
        """Places of the output that belong to no token of the row."""
        return 0 if self.front is None else self.front.places

    @torch.no_grad()
    def _find_treatment(self) -> Treatment | None:
        """Compare both ways on a few tokens; None if they differ in what is not known here."""
        if type(self._head) is not torch.nn.Linear or self._model.base_model is self._model:
            return None
        was_training = self._model.training
        self._model.eval()
        vocabulary = self._head.weight.shape[0]
        ids = torch.arange(_PROBE_TOKENS, device=self._head.weight.device)[None] % vocabulary
        scores = self._model(input_ids=ids, use_cache=False).logits
        given = self._head(self._hidden(ids))
        self._model.train(was_training)
        return find_treatment(self._model.config, given, scores)
