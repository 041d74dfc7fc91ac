"""What a run says about itself, in the events that app/runs/child_events.py names.

What is shown for good (curves and sample answers) goes into each checkpoint too. Whoever listens
writes it down a moment later, and may die in that moment; a run that goes on from the checkpoint
does not come to those steps again, so it says once more what was said of them.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from app.runs.child_events import Ending
from worker.training.checkpoints import Published
from worker.training.events import EventSink
from worker.training.measured import Measured
from worker.training.plan import TrainingPlan
from worker.training.progress import RunState, Speedometer, memory_bytes, peak_memory_bytes
from worker.training.questions import SampleQuestion
from worker.training.recall import Recall
from worker.training.result import SavedAdapter
from worker.training.tokens import TokenTables


class Reports:
    """Turns where a run stands into events.

    Attributes:
        devices: on how many the run learns.
    """

    devices = 1

    def __init__(self, events: EventSink) -> None:
        self._events = events
        self._speed = Speedometer()
        self._for_good: list[dict[str, Any]] = []

    @property
    def said_for_good(self) -> Sequence[dict[str, Any]]:
        """All curves and answers so far, as a checkpoint keeps them: some hundred events."""
        return self._for_good

    def repeat(self, said: Sequence[dict[str, Any]]) -> None:
        """Say once more what a checkpoint has kept; what is known already changes nothing."""
        for entry in said:
            self._say_for_good(**entry)

    def phase(self, phase: str, message: str) -> None:
        self._events.emit("phase", phase=phase, message=message)

    def share(self, share: float, seconds_left: float | None) -> None:
        """Say how much of the reading of the examples is done, from 0 to 1."""
        self._events.emit("share", phase_share=share, seconds_left=seconds_left)

    def inform(self, message: str) -> None:
        self._events.emit("log", level="info", message=message)

    def warn(self, message: str) -> None:
        self._events.emit("log", level="warning", message=message)

    def memory(self, note: str) -> None:
        """Say what was done because memory ran short; it stands on the page from here on."""
        self._events.emit("memory", note=note)

    def begin_anew(self, reason: str) -> None:
        """Say that nothing of what was said so far counts any longer."""
        self._for_good.clear()
        self._events.emit("restarted")
        self.warn(reason)

    def plan(self, plan: TrainingPlan, tables: TokenTables, epochs: int, state: RunState) -> None:
        train, validation = tables.train.counts, tables.validation.counts
        self._events.emit(
            "plan",
            total_steps=plan.total_steps,
            total_epochs=epochs,
            train_examples=train.rows,
            validation_examples=validation.rows,
            train_tokens=train.tokens,
            examples_cut=train.examples_cut + validation.examples_cut,
            examples_left_out=train.examples_left_out + validation.examples_left_out,
            held_out_left_out=validation.examples_left_out,
            steps_per_epoch=plan.steps_per_epoch,
            resumed_from_step=state.step,
        )

    def held_out(self, step: int, measured: Measured) -> None:
        values = {"validation_loss": measured.loss}
        if measured.right is not None:
            values["validation_right"] = measured.right
        self._say_for_good("metrics", step=step, values=values)

    def samples(
        self,
        step: int,
        questions: list[SampleQuestion],
        answers: list[str],
        base_answers: list[str],
    ) -> None:
        """Show what it answers now, beside what was expected and what the base model says."""
        for position, question in enumerate(questions):
            self._say_for_good(
                "sample",
                step=step,
                position=position,
                question=question.question,
                expected=question.expected,
                base_answer=base_answers[position],
                answer=answers[position],
            )

    def update(
        self,
        plan: TrainingPlan,
        state: RunState,
        device: torch.device,
        *,
        rate: float,
        norm: float,
        tokens: int,
        seconds: float,
    ) -> None:
        """Say where the run stands after an update of so many tokens, now and then."""
        self._speed.add(seconds, tokens)
        is_last = state.step == plan.total_steps
        if self._speed.report_is_due() or is_last:
            state.peak_memory_bytes = max(state.peak_memory_bytes, peak_memory_bytes(device))
            self._events.emit(
                "progress",
                step=state.step,
                total_steps=plan.total_steps,
                epoch=state.passes(plan.steps_per_epoch),
                tokens_per_second=self._speed.tokens_per_second,
                seconds_left=self._speed.seconds_left(plan.total_steps - state.step)
                + plan.evaluations_after(state.step) * state.seconds_per_evaluation,
                memory_bytes=memory_bytes(device),
            )
        if state.step % plan.report_every == 0 or is_last:
            self._say_for_good(
                "metrics",
                step=state.step,
                values={
                    "train_loss": state.end_span(),
                    "learning_rate": rate,
                    "gradient_norm": norm,
                    "tokens_per_second": self._speed.tokens_per_second,
                    "memory_bytes": memory_bytes(device),
                },
            )

    def checkpoint(self, step: int, published: Published, *, is_best: bool) -> None:
        self._events.emit(
            "checkpoint",
            step=step,
            folder=published.folder,
            manifest_sha256=published.manifest_sha256,
            is_best=is_best,
        )

    def result(
        self,
        saved: SavedAdapter,
        tables: TokenTables,
        plan: TrainingPlan,
        state: RunState,
        device: torch.device,
        kinds: list[str],
        ending: Ending,
        recall: Recall | None,
    ) -> None:
        train, validation = tables.train.counts, tables.validation.counts
        self._events.emit(
            "result",
            loss_before=_finite(state.loss_before),
            loss_at_start=_finite(state.loss_at_start),
            loss_after=_finite(state.best_loss),
            right_before=state.right_before,
            right_after=state.best_right,
            kinds=kinds,
            confusion=state.best_confusion,
            train_loss=state.train_loss,
            best_step=state.best_step or state.step,
            steps=state.step,
            epochs=state.passes(plan.steps_per_epoch),
            planned_steps=plan.total_steps,
            ending=ending,
            tokens_seen=state.tokens_seen,
            seconds=state.seconds,
            evaluation_seconds=state.evaluation_seconds,
            evaluations=state.evaluations,
            peak_memory_bytes=max(state.peak_memory_bytes, peak_memory_bytes(device)),
            devices=self.devices,
            held_as=state.held_as,
            adapter_folder=saved.folder,
            adapter_sha256=saved.sha256,
            adapter_bytes=saved.size_bytes,
            recall=asdict(recall) if recall else None,
            examples_cut=train.examples_cut + validation.examples_cut,
            examples_left_out=train.examples_left_out + validation.examples_left_out,
        )

    def _say_for_good(self, event: str, **fields: Any) -> None:  # noqa: ANN401 (JSON of any kind)
        self._for_good.append({"event": event, **fields})
        self._events.emit(event, **fields)


def _finite(loss: float | None) -> float | None:
    """Return None for what is no number: whoever listens could not read it."""
    return loss if loss is not None and math.isfinite(loss) else None
