"""The training loop, from top to bottom: setup, train, evaluate, save_checkpoint, cleanup.

What must hold whatever happens: the base weights stay as they are, to the bit; a run that was
interrupted ends with the same adapter as one that was not; what is learned are the answers.
"""

import math
import time
from pathlib import Path
from typing import Any, Final

import torch

from app.runs.recipe import Recipe
from worker.training import failures, random_state
from worker.training.batches import divide, lay_out, plan_epoch
from worker.training.chat_templates import ChatFormat
from worker.training.checkpoints import Checkpoint, CheckpointFolder
from worker.training.evaluate import SAMPLE_COUNT, answer, held_out_loss, sample_questions
from worker.training.events import EventSink
from worker.training.examples import data_file, first_examples
from worker.training.lora_layers import speed_up
from worker.training.loss import AnswerLoss
from worker.training.model import (
    adapter_parameters,
    attach_adapter,
    base_sha256,
    check_base_model,
    load_base,
    load_tokenizer,
)
from worker.training.precision import choose_device, choose_dtype
from worker.training.progress import RunState, Speedometer, memory_bytes, peak_memory_bytes
from worker.training.result import save_adapter
from worker.training.stopping import StopFlag, StoppedError
from worker.training.tokens import prepare_tokens

_REPORTED_POINTS: Final = 400
_LOWEST_RATE: Final = 0.1
_SENSELESS_UPDATES: Final = 5
# Far beyond what any adapter that works holds; what comes next are numbers without meaning.
_LARGEST_WEIGHT: Final = 1e4


class TrainingRun:
    """One run of a recipe, in one process."""

    def __init__(self, run_folder: Path, fence: int, events: EventSink, stop: StopFlag) -> None:
        self.run_folder = run_folder
        self.fence = fence
        self.events = events
        self.stop = stop
        self.recipe = Recipe.read(run_folder)
        self.state = RunState()
        self.checkpoints = CheckpointFolder(run_folder, fence)
        self.saved: tuple[int, int] | None = None

    def setup(self) -> None:
        """Bring everything to where the last checkpoint left it, or to the beginning."""
        recipe = self.recipe
        self.checkpoints.take_over()
        check_base_model(recipe)
        self._setup_data()
        self.events.emit(
            "phase", phase="loading_model", message=f"Loading {recipe.base_model_name}"
        )
        checkpoint = self._comparable(self.checkpoints.load_newest())
        self._setup_numbers(checkpoint)
        base = load_base(recipe, self.dtype, self.device)
        self.filling = self.chat.tokenizer.pad_token_id or 0
        self.vocabulary = len(self.chat.tokenizer)
        self.loss = AnswerLoss(base)
        self.model = attach_adapter(base, recipe)
        speed_up(self.model)
        self.weights = adapter_parameters(self.model)
        self.base_before = base_sha256(self.model)
        self.optimizer = torch.optim.AdamW(
            self.weights.values(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        random_state.seed_everything(recipe.seed)
        if checkpoint is not None:
            self._restore(checkpoint)
        self.model.train()
        self._say_plan()

    def train(self) -> None:
        """Go through all updates of all epochs."""
        recipe, state, table = self.recipe, self.state, self.tables.train
        self._measure_base()
        self.events.emit("phase", phase="training", message="Learning from your examples")
        self.speed = Speedometer()
        last_save = time.monotonic()
        while state.epoch < recipe.epochs:
            updates = plan_epoch(
                table.lengths, recipe.seed, state.epoch, recipe.examples_per_update
            )
            while state.updates_done < len(updates):
                self._evaluate_if_due()
                self._check_stop()
                if time.monotonic() - last_save > recipe.seconds_between_checkpoints:
                    self.save_checkpoint()
                    last_save = time.monotonic()
                self._update([int(row) for row in updates[state.updates_done]])
            state.epoch += 1
            state.updates_done = 0
            state.last_epoch_loss = state.epoch_loss / max(state.epoch_answers, 1)
            state.epoch_loss, state.epoch_answers = 0.0, 0
            table.release_pages()
        self._evaluate_if_due()
        self.save_checkpoint()

    def _update(self, rows: list[int]) -> None:
        """One optimizer update: the mean loss over all answer tokens of these examples."""
        state = self.state
        started = time.perf_counter()
        step = state.step + 1
        rate = self._learning_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total, answers, tokens = self._gradients(rows)
        norm = float(
            torch.nn.utils.clip_grad_norm_(self.weights.values(), self.recipe.max_gradient_norm)
        )
        if not math.isfinite(total):
            raise failures.lost_its_way(step, f"the loss ({total})")
        if not math.isfinite(norm):
            raise failures.lost_its_way(step, f"the gradient ({norm})")
        self._require_sense(step, total)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        largest = float(torch.nn.utils.get_total_norm(self.weights.values(), norm_type=math.inf))
        if not largest < _LARGEST_WEIGHT:
            raise failures.lost_its_way(step, f"a weight of the adapter ({largest:g})")
        seconds = time.perf_counter() - started
        state.step = step
        state.updates_done += 1
        state.tokens_seen += tokens
        state.seconds += seconds
        state.epoch_loss += total * answers
        state.epoch_answers += answers
        state.span_loss += total * answers
        state.span_answers += answers
        self.speed.add(seconds, tokens)
        self._report(rate, norm)

    def _gradients(self, rows: list[int]) -> tuple[float, int, int]:
        """Add up the gradient; where memory is short, once more with half as much at once."""
        try:
            return self._add_up_gradients(rows)
        except (RuntimeError, MemoryError) as error:
            if self.state.reads_less_at_once or not failures.is_out_of_memory(error):
                raise
        # Outside of the handler: what the first attempt held is free only now.
        self.state.reads_less_at_once = True
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self._log(
            "warning",
            "Memory ran short, so less is read at once from here on. What is learned stays the "
            "same; it only takes longer.",
        )
        return self._add_up_gradients(rows)

    def _add_up_gradients(self, rows: list[int]) -> tuple[float, int, int]:
        """Return the loss, and how many answer tokens and tokens it was measured on."""
        table = self.tables.train
        batches = [
            lay_out(table, group, self.filling, self.device)
            for group in divide(rows, table.lengths, self._tokens_at_once())
        ]
        answers = sum(len(batch.targets) for batch in batches)
        total = 0.0
        for batch in batches:
            loss = self.loss.total(batch, scale=1.0 / answers)
            loss.backward()
            total += float(loss.detach())
        return total, answers, sum(batch.tokens for batch in batches)

    def _tokens_at_once(self) -> int:
        most = self.recipe.tokens_per_micro_batch
        return most // 2 if self.state.reads_less_at_once else most

    def _evaluate_if_due(self) -> None:
        state = self.state
        if state.step in self.evaluation_steps and state.evaluated_step != state.step:
            self.evaluate()
            self.save_checkpoint()

    def evaluate(self) -> None:
        """Ask the held-out questions. Nothing of what follows depends on having done so."""
        state = self.state
        started = time.perf_counter()
        self.events.emit(
            "phase", phase="evaluating", message="Asking questions that were held back"
        )
        self.model.eval()
        loss = self._held_out_loss()
        self._answer_base_samples()
        for position, sample in enumerate(self.samples):
            self.events.emit(
                "sample",
                step=state.step,
                position=position,
                question=sample.question,
                expected=sample.expected,
                base_answer=state.base_answers[position],
                answer=answer(self.model, self.chat, sample.prompt_ids, self._check_stop),
            )
        self.model.train()
        self.events.emit("metrics", step=state.step, values={"validation_loss": loss})
        if state.best_loss is None or loss < state.best_loss:
            state.best_loss, state.best_step = loss, state.step
        state.evaluated_step = state.step
        state.seconds += time.perf_counter() - started
        self.events.emit("phase", phase="training", message="Learning from your examples")

    def save_checkpoint(self) -> None:
        """Save everything that the rest of the run depends on, unless it is saved already."""
        state = self.state
        if self.saved == (state.step, state.evaluated_step):
            return
        moments = self.optimizer.state
        plain_random, tensor_random = random_state.capture()
        published = self.checkpoints.save(
            state.step,
            {
                "adapter": {name: p.detach().cpu() for name, p in self.weights.items()},
                "optimizer": {
                    f"{part}.{name}": moments[p][part].detach().cpu()
                    for name, p in self.weights.items()
                    for part in ("exp_avg", "exp_avg_sq", "step")
                    if p in moments
                },
                "random": tensor_random,
            },
            {"run": state.as_json(), "random": plain_random, "numbers": self.numbers},
            state.best_step,
        )
        self.saved = (state.step, state.evaluated_step)
        self.events.emit(
            "checkpoint",
            step=state.step,
            folder=published.folder,
            manifest_sha256=published.manifest_sha256,
            is_best=state.best_step == state.step,
        )

    def cleanup(self) -> None:
        """Keep the best weights, prove that the base is untouched, and hand the adapter over."""
        recipe, state = self.recipe, self.state
        self.events.emit("phase", phase="saving", message="Saving what was learned")
        if base_sha256(self.model) != self.base_before:
            raise RuntimeError("the base model's weights changed during the training")
        if state.best_step is not None and state.best_step != state.step:
            self._take_weights_of(state.best_step)
        saved = save_adapter(self.run_folder, self.fence, self.model, self.chat, recipe)
        train, validation = self.tables.train.counts, self.tables.validation.counts
        self.events.emit(
            "result",
            loss_before=state.loss_before,
            loss_after=state.best_loss,
            train_loss=state.last_epoch_loss,
            best_step=state.best_step or state.step,
            steps=state.step,
            epochs=float(recipe.epochs),
            tokens_seen=state.tokens_seen,
            seconds=state.seconds,
            peak_memory_bytes=max(state.peak_memory_bytes, peak_memory_bytes(self.device)),
            adapter_folder=saved.folder,
            adapter_sha256=saved.sha256,
            adapter_bytes=saved.size_bytes,
            examples_cut=train.examples_cut + validation.examples_cut,
            examples_left_out=train.examples_left_out + validation.examples_left_out,
        )

    # The parts of the steps above, in the order in which they are needed.

    def _setup_data(self) -> None:
        """Turn the examples into tokens, or find them done."""
        recipe = self.recipe
        self.chat = ChatFormat(load_tokenizer(recipe))
        self.tables = prepare_tokens(
            self.run_folder, self.chat, recipe.max_tokens_per_example, self._check_stop
        )
        train, held_out = self.tables.train, self.tables.validation
        if len(train) == 0:
            raise failures.no_usable_examples(train.counts.examples_left_out)
        self.steps_per_epoch = math.ceil(len(train) / recipe.examples_per_update)
        self.total_steps = self.steps_per_epoch * recipe.epochs
        self.report_every = math.ceil(self.total_steps / _REPORTED_POINTS)
        self.evaluation_steps: frozenset[int] = frozenset()
        if len(held_out) > 0:
            count = min(recipe.evaluations, self.total_steps)
            self.evaluation_steps = frozenset(
                math.ceil(self.total_steps * part / count) for part in range(1, count + 1)
            )
        examples = first_examples(data_file(self.run_folder, "validation"), SAMPLE_COUNT)
        self.samples = sample_questions(self.chat, examples, recipe.max_tokens_per_example)

    def _comparable(self, checkpoint: Checkpoint | None) -> Checkpoint | None:
        """Return the checkpoint, unless going on from it would not end as one run here would."""
        if checkpoint is None:
            return None
        begun_with = checkpoint.state["numbers"]
        now = {"device": choose_device().type, "torch": str(torch.__version__)}
        if all(begun_with[name] == value for name, value in now.items()):
            return checkpoint
        self.checkpoints.discard_all()
        self._log(
            "warning",
            f"The training began with {begun_with['device']} and torch {begun_with['torch']}; this "
            f"is {now['device']} and torch {now['torch']}, which calculates a little differently. "
            "So the training begins anew.",
        )
        return None

    def _setup_numbers(self, checkpoint: Checkpoint | None) -> None:
        """Choose device, number format and threads, or take those that the run began with."""
        self.device = choose_device()
        if checkpoint is None:
            self.dtype = choose_dtype(self.device)
        else:
            numbers = checkpoint.state["numbers"]
            self.dtype = getattr(torch, numbers["dtype"])
            torch.set_num_threads(numbers["threads"])
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
        # Part of that mode, meant for finding faults: it would write to all memory once more.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self.numbers: dict[str, Any] = {
            "dtype": str(self.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "device": self.device.type,
            "torch": str(torch.__version__),
        }

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Go back to the moment after the checkpoint's step."""
        self.state = RunState.from_json(checkpoint.state["run"])
        self._take_weights(checkpoint)
        moments = checkpoint.tensors["optimizer"]
        for name, weight in self.weights.items():
            if f"step.{name}" in moments:
                self.optimizer.state[weight] = {
                    "step": moments[f"step.{name}"],
                    "exp_avg": moments[f"exp_avg.{name}"].to(self.device),
                    "exp_avg_sq": moments[f"exp_avg_sq.{name}"].to(self.device),
                }
        random_state.restore(checkpoint.state["random"], checkpoint.tensors["random"])
        self.saved = (self.state.step, self.state.evaluated_step)
        for name in checkpoint.skipped:
            self._log("warning", f"The saved state {name} was damaged and has been passed over.")
        self._log("info", f"Going on from step {checkpoint.step}.")

    def _take_weights(self, checkpoint: Checkpoint) -> None:
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(checkpoint.tensors["adapter"][name])

    def _take_weights_of(self, step: int) -> None:
        checkpoint = self.checkpoints.load_step(step)
        if checkpoint is None:
            self._log("warning", f"The best state (step {step}) is damaged; the last one is kept.")
            # What is said of the result must be true of the weights that are handed over.
            self.model.eval()
            self.state.best_step, self.state.best_loss = self.state.step, self._held_out_loss()
        else:
            self._take_weights(checkpoint)

    def _say_plan(self) -> None:
        train, validation = self.tables.train.counts, self.tables.validation.counts
        self.events.emit(
            "plan",
            total_steps=self.total_steps,
            total_epochs=self.recipe.epochs,
            train_examples=train.rows,
            validation_examples=validation.rows,
            train_tokens=train.tokens,
            examples_cut=train.examples_cut + validation.examples_cut,
            examples_left_out=train.examples_left_out + validation.examples_left_out,
            steps_per_epoch=self.steps_per_epoch,
            resumed_from_step=self.state.step,
        )

    def _measure_base(self) -> None:
        """Find out what the base model does without any training, once."""
        if self.state.loss_before is not None or not self.evaluation_steps:
            return
        self.events.emit(
            "phase", phase="measuring_base", message="Measuring the model as it is now"
        )
        self.model.eval()
        with self.model.disable_adapter():
            self.state.loss_before = self._held_out_loss()
        self.model.train()
        self.events.emit("metrics", step=0, values={"validation_loss": self.state.loss_before})

    def _held_out_loss(self) -> float:
        return held_out_loss(
            self.loss,
            self.tables.validation,
            filling=self.filling,
            most_tokens=self._tokens_at_once(),
            device=self.device,
            check_stop=self._check_stop,
        )

    def _answer_base_samples(self) -> None:
        """Let the base model answer, once, at the first evaluation rather than before the start."""
        if not self.state.base_answers:
            with self.model.disable_adapter():
                self.state.base_answers = [
                    answer(self.model, self.chat, sample.prompt_ids, self._check_stop)
                    for sample in self.samples
                ]

    def _learning_rate(self, step: int) -> float:
        """Rise in a straight line, then fall to a tenth along a cosine."""
        recipe = self.recipe
        warmup = round(recipe.warmup_fraction * self.total_steps)
        if step <= warmup:
            return recipe.learning_rate * step / warmup
        done = (step - warmup) / max(1, self.total_steps - warmup)
        share = _LOWEST_RATE + (1 - _LOWEST_RATE) * (1 + math.cos(math.pi * done)) / 2
        return recipe.learning_rate * share

    def _require_sense(self, step: int, loss: float) -> None:
        """End a run that does much worse than guessing blindly, time after time.

        Layers that normalise keep even absurd weights finite, so waiting for NaN is not enough.
        """
        state = self.state
        state.first_loss = loss if state.first_loss is None else state.first_loss
        blind_guess = math.log(self.vocabulary)
        is_senseless = loss > max(2 * blind_guess, 2 * state.first_loss)
        state.senseless_updates = state.senseless_updates + 1 if is_senseless else 0
        if state.senseless_updates >= _SENSELESS_UPDATES:
            raise failures.lost_its_way(step, f"a loss of {loss:g}, worse than blind guessing,")

    def _report(self, rate: float, norm: float) -> None:
        """Say where the run stands."""
        state = self.state
        is_last = state.step == self.total_steps
        if self.speed.report_is_due() or is_last:
            state.peak_memory_bytes = max(state.peak_memory_bytes, peak_memory_bytes(self.device))
            self.events.emit(
                "progress",
                step=state.step,
                total_steps=self.total_steps,
                epoch=state.epoch + state.updates_done / self.steps_per_epoch,
                tokens_per_second=self.speed.tokens_per_second,
                seconds_left=self.speed.seconds_left(self.total_steps - state.step),
                memory_bytes=memory_bytes(self.device),
            )
        if state.step % self.report_every == 0 or is_last:
            self.events.emit(
                "metrics",
                step=state.step,
                values={
                    "train_loss": state.span_loss / state.span_answers,
                    "learning_rate": rate,
                    "gradient_norm": norm,
                    "tokens_per_second": self.speed.tokens_per_second,
                    "memory_bytes": memory_bytes(self.device),
                },
            )
            state.span_loss, state.span_answers = 0.0, 0

    def _check_stop(self) -> None:
        if self.stop.is_up:
            raise StoppedError(self.state.step)

    def _log(self, level: str, message: str) -> None:
        self.events.emit("log", level=level, message=message)


def run_training(run_folder: Path, fence: int, events: EventSink, stop: StopFlag) -> None:
    """Do a whole run.

    Raises:
        TrainingFailureError: if it cannot go on, with the reason.
        StoppedError: if it was asked to stop; what is done is saved.
    """
    run = TrainingRun(run_folder, fence, events, stop)
    run.setup()
    try:
        run.train()
    except StoppedError:
        run.save_checkpoint()
        raise
    run.cleanup()
