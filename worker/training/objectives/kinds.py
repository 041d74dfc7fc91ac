"""Sorting into kinds: a head that gives each kind a score, at the last token of a text.

The head stands beside the causal model and reads its last hidden state, which is what transformers'
models for sequence classification do: their body is the same. So any method of learning goes with
it, the chat server answers with the base model that it holds anyway, and what is saved is what
plain peft loads (`task_type` SEQ_CLS, the head as a module that is saved whole).
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from app.runs.recipe import Recipe
from worker.training import failures
from worker.training.batches import MicroBatch
from worker.training.chat_templates import ChatFormat
from worker.training.encoded import Encoder
from worker.training.encoders import KindEncoder, encode_texts
from worker.training.examples import SPLITS, data_file, read_examples
from worker.training.measured import Measured
from worker.training.objectives.objective import (
    AdapterAdditions,
    Objective,
)
from worker.training.tokens import TokenTable, TokenTables

HEAD: Final = "score"


class Kinds(Objective):
    """Cross-entropy over the kinds.

    Attributes:
        kinds: their names, in the order of their numbers.
    """

    def __init__(
        self, recipe: Recipe, chat: ChatFormat, device: torch.device, run_folder: Path
    ) -> None:
        super().__init__(recipe, chat, device)
        self.kinds = kinds_of(run_folder)
        if len(self.kinds) < 2:
            raise failures.one_kind_only()
        self._numbers = {kind: number for number, kind in enumerate(self.kinds)}

    @property
    def encoder(self) -> Encoder:
        return KindEncoder(self.chat, self._numbers)

    def attach(self, base: PreTrainedModel) -> None:
        """Put a head beside the model; all kinds begin with the same score.

        Raises:
            TrainingFailureError: if transformers has no form of this model that plain peft could
                load the head into.
        """
        super().attach(base)
        if type(base.config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
            raise failures.cannot_sort(self.recipe.base_model_name, type(base.config).__name__)
        self._config = base.config
        width = int(base.config.get_text_config().hidden_size)
        self.head = torch.nn.Parameter(torch.zeros(len(self.kinds), width, device=self.device))

    def weights(self) -> dict[str, torch.nn.Parameter]:
        return {f"{HEAD}.weight": self.head}

    def lay_out(self, table: TokenTable, items: Sequence[int]) -> MicroBatch:
        rows = [table.row(item)[0] for item in items]
        numbers = torch.from_numpy(table.notes[list(items)]).long()
        return self._laid_out(rows, numbers)

    def total(self, batch: MicroBatch, scale: float = 1.0) -> torch.Tensor:
        return scale * functional.cross_entropy(
            self._scores(batch),
            batch.targets,
            reduction="sum",
            label_smoothing=float(self.recipe.objective_settings["label_smoothing"]),
        )

    def measure(
        self, table: TokenTable, most_tokens: int, check_stop: Callable[[], None]
    ) -> Measured:
        """Return the mean loss, the share that is sorted rightly, and what is taken for what."""
        count = len(self.kinds)

        def ask(items: list[int]) -> tuple[float, torch.Tensor]:
            batch = self.lay_out(table, items)
            scores = self._scores(batch)
            loss = functional.cross_entropy(scores, batch.targets, reduction="sum")
            return float(loss), batch.targets * count + scores.argmax(dim=-1)

        asked = self.ask_all(table, most_tokens, check_stop, ask)
        (total,) = self.team.sum(sum(loss for loss, _ in asked))
        taken = torch.zeros(count**2, dtype=torch.int64, device=self.device)
        for _, pairs in asked:
            taken += torch.bincount(pairs, minlength=count**2)
        taken = self.team.sum_tensor(taken.view(count, count)).cpu()
        right = float(taken.diagonal().sum())
        return Measured(total / len(table), right / len(table), _as_confusion(taken))

    def measure_base(
        self,
        tables: TokenTables,
        most_tokens: int,  # noqa: ARG002 (nothing is read)
        check_stop: Callable[[], None],  # noqa: ARG002 (it takes no time)
    ) -> Measured:
        """Return what can be done without reading: to say how frequent each kind is.

        The base model cannot sort, so this is the honest thing to be better than.
        """
        held_out = tables.validation.notes
        frequency = np.bincount(tables.train.notes, minlength=len(self.kinds)) + 1e-9
        log_share = np.log(frequency / frequency.sum())
        loss = -float(log_share[held_out].mean())
        right = float((held_out == int(frequency.argmax())).mean())
        return Measured(min(loss, math.log(len(self.kinds))), right)

    @torch.no_grad()
    def scores_of(self, ids: Sequence[int]) -> list[tuple[str, float]]:
        """Return the kinds of a text and how sure the model is of each, the surest first."""
        batch = self._laid_out([np.asarray(ids)], torch.zeros(1, dtype=torch.int64))
        shares = self._scores(batch)[0].softmax(dim=-1).tolist()
        return sorted(zip(self.kinds, shares, strict=True), key=lambda pair: -pair[1])

    def encode(self, text: str) -> list[int]:
        return encode_texts(self.chat, [text])[0][: self.recipe.max_tokens_per_example]

    def additions(self) -> AdapterAdditions:
        """Return the head, and a configuration that names the kinds, as plain peft wants them."""
        config: dict[str, Any] = self._config.to_dict()
        known: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(self._config)]
        config |= {
            "architectures": [known.__name__],
            "id2label": {str(number): kind for number, kind in enumerate(self.kinds)},
            "label2id": self._numbers,
            "num_labels": len(self.kinds),
            "pad_token_id": self.filling,
            "problem_type": "single_label_classification",
        }
        return AdapterAdditions(
            tensors={f"base_model.model.{HEAD}.weight": self.head},
            adapter_config={"task_type": "SEQ_CLS", "modules_to_save": [HEAD]},
            model_config=config,
        )

    def _scores(self, batch: MicroBatch) -> torch.Tensor:
        return functional.linear(self.loss.hidden_at(batch).float(), self.head)

    def _laid_out(self, rows: Sequence[Any], numbers: torch.Tensor) -> MicroBatch:
        lengths = np.asarray([len(row) for row in rows])
        ids = np.full((len(rows), lengths.max()), self.filling, dtype=np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
        # The last token of each text has read all of it.
        last = np.arange(len(rows)) * ids.shape[1] + lengths - 1
        return MicroBatch(
            ids=torch.from_numpy(ids).to(self.device),
            positions=torch.from_numpy(last).to(self.device),
            targets=numbers.to(self.device),
            tokens=int(lengths.sum()),
            lengths=tuple(lengths.tolist()),
        )


def _as_confusion(taken: torch.Tensor) -> dict[tuple[int, int], int]:
    """Return how often a text of one kind (first) was taken for another, where it was."""
    return {(kind, found): int(taken[kind, found]) for kind, found in taken.nonzero().tolist()}


def kinds_of(run_folder: Path) -> list[str]:
    """Return the names of all kinds in a run's examples, in alphabetical order."""
    return sorted(
        {
            example.kind
            for split in SPLITS
            for example in read_examples(data_file(run_folder, split))
        }
    )
