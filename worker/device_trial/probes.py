"""Random models of a few shapes, and what a pass through each has to do."""

import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from app.base_models.transformer_shape import TransformerShape
from app.runs.costs.work import Work
from app.runs.methods import METHODS, Method
from app.runs.setting import fill_settings
from worker.methods.learners import make_learner
from worker.training.batches import MicroBatch
from worker.training.lanes import ONE_LANE, Lanes
from worker.training.lora_layers import speed_up
from worker.training.loss import AnswerLoss

_ANSWERS: Final = 0.5
_MOST_PLACES: Final = 2048


@dataclass(frozen=True)
class Probe:
    """A random model's measures, and the rows that go through it."""

    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    layers: int
    rows: int
    length: int
    head_dim: int = 32
    vocabulary: int = 512

    @property
    def tokens(self) -> int:
        return self.rows * self.length

    @property
    def shape(self) -> TransformerShape:
        return TransformerShape(
            hidden=self.hidden,
            layers=self.layers,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            ffn=self.ffn,
            vocabulary=self.vocabulary,
        )

    def work(self, method: Method) -> Work:
        """Return what one update with one pass has to do."""
        return Work(
            row_tokens=self.length,
            longest_row=self.length,
            examples=self.rows,
            examples_per_update=self.rows,
            tokens_per_micro_batch=max(self.tokens, 64),
            method=method,
            settings=usual_settings(method),
            answer_share=_ANSWERS,
        )


class Built:
    """A random model that learns by a method, with the loss that the loop would use."""

    def __init__(self, probe: Probe, weight_bytes: int, method: Method = Method.LORA) -> None:
        config = LlamaConfig(
            vocab_size=probe.vocabulary,
            hidden_size=probe.hidden,
            intermediate_size=probe.ffn,
            num_hidden_layers=probe.layers,
            num_attention_heads=probe.heads,
            num_key_value_heads=probe.kv_heads,
            head_dim=probe.head_dim,
            max_position_embeddings=_MOST_PLACES,
            tie_word_embeddings=True,
        )
        model: Any = LlamaForCausalLM(config)
        model = model.to(torch.bfloat16 if weight_bytes == 2 else torch.float32)
        model.requires_grad_(False)
        self._loss = AnswerLoss(model)
        settings = usual_settings(method)
        learner = make_learner(
            method,
            settings,
            model,
            total_steps=1,
            seed=1,
            load_again=lambda: LlamaForCausalLM(config),
        )
        self._loss.front = learner.front
        speed_up(learner.model)
        self._loss.try_packed()
        self._lanes = lanes_of(method)
        learner.model.train()
        self._vocabulary = probe.vocabulary

    def go_through(self, rows: int, length: int) -> float:
        """Calculate a loss and its gradients, and let go of all that was needed for it.

        Returns:
            The processor time of it, as `speed.py` counts it.
        """
        started, busy = time.thread_time(), self._lanes.busy_seconds
        lengths = np.full(rows, length)
        shares = self._lanes.shares(range(rows), lengths, rows * length)
        self._lanes.each(shares, lambda share: self._pass(len(share), length), len(shares))
        return time.thread_time() - started + self._lanes.busy_seconds - busy

    def _pass(self, rows: int, length: int) -> None:
        ids = torch.randint(0, self._vocabulary, (rows, length))
        places = torch.arange(int(rows * length * _ANSWERS))
        targets = torch.randint(0, self._vocabulary, (len(places),))
        self._loss.total(MicroBatch(ids, places, targets, rows * length)).backward()


def lanes_of(method: Method) -> Lanes:
    """Return the lanes in which a model goes that learns by a method on this processor."""
    is_quick = Probe(64, 2, 2, 128, 1, 1, 8).work(method).is_quick
    return Lanes(torch.get_num_threads()) if is_quick else ONE_LANE


def usual_settings(method: Method) -> dict[str, Any]:
    settings, _ = fill_settings(METHODS[method].settings, {})
    return dict(settings)
