"""The training loop, from top to bottom: setup, train, evaluate, save_checkpoint, cleanup.

What must hold whatever happens: the base weights stay as they are, to the bit; a run that was
interrupted ends with the same adapter as one that was not; what is learned are the answers.
"""

import time
from pathlib import Path
from typing import Final

import torch

from app.runs.child_events import Ending
from app.runs.methods import Quantization
from app.runs.recipe import Recipe
from worker.few_bits import bits_of
from worker.methods.learner import Learner
from worker.training import failures, random_state, resume, sanity
from worker.training.batches import plan_epoch
from worker.training.chat_templates import ChatFormat
from worker.training.checkpoints import Checkpoint, CheckpointFolder, Published
from worker.training.ending import early_end
from worker.training.evaluate import Evaluator
from worker.training.events import EventSink
from worker.training.examples import check_data, data_file, read_examples
from worker.training.gradients import add_up_gradients
from worker.training.learner import load_learner
from worker.training.lora_layers import speed_up
from worker.training.memory import (
    MemoryBudget,
    Ways,
    falling_to_four_bits,
    less_the_next_time,
    twice_if_short,
)
from worker.training.model import (
    base_sha256,
    check_base_model,
    load_tokenizer,
)
from worker.training.objectives.making import make_objective
from worker.training.objectives.objective import Surroundings
from worker.training.plan import TrainingPlan
from worker.training.precision import NOTEBOOK, choose_device
from worker.training.progress import RunState
from worker.training.questions import sample_questions
from worker.training.recall import Recall, Recaller
from worker.training.recompute import trial, way_to_recompute
from worker.training.reports import Reports
from worker.training.result import SavedAdapter, save_adapter
from worker.training.start import wear_start
from worker.training.stopping import StopFlag, StoppedError
from worker.training.team.members import Members
from worker.training.team.team import ALONE, Team, join
from worker.training.tokens import prepare_tokens

# A whole model and what is known of its steps take many seconds to save. Who saves for as long as
# this learns so many times as long before the next time.
_LONG_SAVE_SECONDS: Final = 1.0
_LEARNS_LONGER: Final = 10


class TrainingRun:
    """One run of a recipe: in this process alone, or as the lead of a team of processes."""

    def __init__(
        self,
        run_folder: Path,
        fence: int,
        events: EventSink,
        stop: StopFlag,
        members: Members | None = None,
    ) -> None:
        self.run_folder, self.fence = run_folder, fence
        self.reports = Reports(events)
        self.stop, self.members = stop, members
        self.team: Team = ALONE
        self.finishes = False
        self.recipe = Recipe.read(run_folder)
        self.state = RunState()
        self.checkpoints = CheckpointFolder(run_folder, fence)
        self.saved: tuple[int, int] | None = None
        self.next_save = 0.0

    def setup(self) -> None:
        """Bring everything to where the last checkpoint left it, or to the beginning."""
        self.check_inputs()
        self._setup_data()
        self.reports.phase("loading_model", f"Loading {self.recipe.base_model_name}")
        checkpoint = self.find_beginning(bits := bits_of(self.recipe, self.run_folder))
        self.objective.team = self.team
        self.numbers.apply()
        self._setup_model(bits)
        random_state.seed_everything(self.recipe.seed)
        if checkpoint is not None:
            self.state = resume.unpack(checkpoint, self.learner, self.optimizer, self.reports)
            self.saved = (self.state.step, self.state.evaluated_step)
            for name in checkpoint.skipped:
                self.reports.warn(f"The saved state {name} was damaged and has been passed over.")
            self.reports.inform(f"Going on from step {checkpoint.step}.")
        self.state.held_as = bits.value
        self._setup_evaluation()
        self.model.train()
        self.reports.plan(self.plan, self.tables, self.recipe.epochs, self.state)

    def train(self) -> None:
        """Go through all updates of all epochs."""
        recipe, state, table = self.recipe, self.state, self.tables.train
        self._heed_people()
        self._measure_base()
        self.reports.phase("training", "Learning from your examples")
        self.next_save = _next_save(recipe)
        while state.epoch < recipe.epochs and not self._early_end():
            updates = plan_epoch(
                table.lengths, recipe.seed, state.epoch, recipe.examples_per_update
            )
            while state.updates_done < len(updates):
                self._evaluate_if_due()
                self._heed_people()
                if self._early_end():
                    break
                if time.monotonic() >= self.next_save:
                    self.save_checkpoint()
                self._update([int(row) for row in updates[state.updates_done]])
            if state.updates_done == len(updates):
                state.end_epoch()
                table.release_pages()
        self._finish_learning()

    def _early_end(self) -> Ending | None:
        bounds = (self.plan.total_steps, self.recipe.patience)
        return early_end(self.state, *bounds, finishes=self.finishes)

    def _finish_learning(self) -> None:
        """Measure the last state too, so that the best of all can be kept."""
        if self._early_end():
            # Asking the held-out questions takes a while, and what was learned is not to be lost.
            self.save_checkpoint()
        self._evaluate_if_due(is_last=True)
        self.save_checkpoint()

    def _update(self, rows: list[int]) -> None:
        """One optimizer update: the mean loss over these examples."""
        started = time.perf_counter()
        step = self.state.step + 1
        self.team.draw_apart(self.recipe.seed, step)
        rate = self.plan.learning_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["rate_factor"]
        loss, units, tokens = self.budget.within(lambda most: self._add_up_gradients(rows, most))
        norm = float(
            torch.nn.utils.clip_grad_norm_(self.weights.values(), self.recipe.max_gradient_norm)
        )
        sanity.require_finite(step, loss, norm)
        sanity.require_sense(self.state, step, loss, len(self.chat.tokenizer))
        _step(self)
        self.learner.after_update(step)
        sanity.require_small_weights(step, self.weights.values())
        seconds = time.perf_counter() - started
        self.state.count_update(loss, units, tokens, seconds)
        self.reports.update(
            self.plan,
            self.state,
            self.numbers.device,
            rate=rate,
            norm=norm,
            tokens=tokens,
            seconds=seconds,
        )

    def _add_up_gradients(self, rows: list[int], most_tokens: int) -> tuple[float, int, int]:
        self.optimizer.zero_grad(set_to_none=True)
        added_up = add_up_gradients(
            self.objective, self.tables.train, rows, most_tokens, self.weights, self.budget.look
        )
        self.team.sum_gradients(self.weights.values())
        # What the method asks for besides is the same for all, so nobody adds it up.
        self.learner.regularise()
        return added_up

    def _evaluate_if_due(self, *, is_last: bool = False) -> None:
        state, due = self.state, self.plan.evaluation_steps
        if state.evaluated_step != state.step and (state.step in due or (is_last and due)):
            self.evaluate()
            self.save_checkpoint()

    def evaluate(self) -> None:
        """Ask the held-out questions. Nothing of what follows depends on having done so."""
        state = self.state
        started = time.perf_counter()
        self.reports.phase("evaluating", "Asking what it never learned from")
        measured = self.evaluator.measure()
        # Once, at the first evaluation rather than before the start, which it would put off.
        state.base_answers = state.base_answers or self.evaluator.base_answers()
        self.reports.samples(
            state.step, self.evaluator.samples, self.evaluator.answers(), state.base_answers
        )
        self.reports.held_out(state.step, measured)
        state.note_evaluation(measured, time.perf_counter() - started)
        self.reports.phase("training", "Learning from your examples")

    def save_checkpoint(self) -> None:
        """Save everything that the rest of the run depends on, unless it is saved already."""
        state = self.state
        if self.saved == (state.step, state.evaluated_step):
            return
        started = time.monotonic()
        published = twice_if_short(lambda: _publish_checkpoint(self))
        self.next_save = _next_save(self.recipe, time.monotonic() - started)
        self.saved = (state.step, state.evaluated_step)
        self.reports.checkpoint(state.step, published, is_best=state.best_step == state.step)

    def cleanup(self) -> None:
        """Keep the best weights, prove that the base is untouched, and hand the adapter over."""
        state = self.state
        if state.best_step is not None and state.best_step != state.step:
            self._go_back_to(state.best_step)
        self.reports.phase("evaluating", "Asking a few of its own examples again")
        recall = _recaller_of(self).measure(self.run_folder, self.recipe.max_tokens_per_example)
        if base_sha256(self.model) != self.base_before:
            raise RuntimeError("the base model's weights changed during the training")
        self.hand_over(recall)

    def hand_over(self, recall: Recall | None) -> None:
        """Write the adapter, and say what came of the run."""
        state, device = self.state, self.numbers.device
        self.reports.phase("saving", "Saving what was learned")
        saved = twice_if_short(lambda: _save_adapter(self))
        ending, kinds = self._early_end() or Ending.PLANNED, self.objective.kinds
        self.reports.result(saved, self.tables, self.plan, state, device, kinds, ending, recall)

    # The parts of the steps above, in the order in which they are needed.

    def check_inputs(self) -> None:
        """Take the run over, and refuse examples and base models other than the recipe's."""
        self.checkpoints.take_over()
        check_data(self.run_folder, self.recipe)
        check_base_model(self.recipe, self.check_stop)

    def _setup_data(self) -> None:
        """Turn the examples into tokens, or find them done."""
        recipe = self.recipe
        self.chat = ChatFormat(load_tokenizer(recipe))
        self.objective = make_objective(recipe, self.chat, choose_device(), self.run_folder)
        self.tables = prepare_tokens(
            self.run_folder,
            self.chat,
            self.objective.encoder,
            recipe.max_tokens_per_example,
            recipe.snapshot_sha256,
            self.check_stop,
            self.reports.share,
        )
        train, held_out = self.tables.train, self.tables.validation
        if len(train) == 0:
            raise failures.no_usable_examples(train.counts.examples_left_out)
        self.plan = TrainingPlan.for_rows(recipe, len(train), len(held_out))

    def find_beginning(self, bits: Quantization) -> Checkpoint | None:
        """Choose where to go on and with which numbers, and have others begin there, too."""
        checkpoint = resume.find_resumable(
            self.checkpoints, self.reports, bits, finishes=self.stop.finishes
        )
        notebook = self.run_folder.parent / NOTEBOOK
        self.numbers = resume.numbers_for(checkpoint, notebook, bits)
        if self.members is not None:
            place, divides = self.checkpoints.temporary("team"), self.recipe.divides_model
            self.members.call(place, checkpoint.step if checkpoint else None, self.numbers)
            self.team = join(0, self.members.team_size, place, divides=divides)
            self.reports.devices = self.team.size
        return checkpoint

    def _setup_model(self, bits: Quantization) -> None:
        """Load the base, frozen, and make ready what is to be trained of it."""
        self.learner = _load(self, bits)
        wear_start(self.learner, self.recipe, self.run_folder)
        self.model, self.weights = self.learner.model, self.learner.weights
        speed_up(self.model)
        if not self.team.is_divided:
            self.objective.go_the_quick_way(self.numbers.threads)
        self.base_before = base_sha256(self.model)
        self.optimizer = _optimizer_of(self)

    def _setup_evaluation(self) -> None:
        """Prepare the held-out questions, and how much may be read at once."""
        self.budget = _budget_of(self)
        self.evaluator = _evaluator_of(self)
        if self.objective.asks_base_first:
            self.reports.phase("measuring_base", "Asking the model what it would say now")
        self.model.eval()
        self.objective.begin(_surroundings_of(self))

    def _measure_base(self) -> None:
        """Find out what the base model does without any training, once."""
        if self.state.loss_before is not None or not self.plan.evaluation_steps:
            return
        self.reports.phase("measuring_base", "Measuring the model as it is now")
        measured = self.evaluator.measure_base()
        self.state.loss_before, self.state.right_before = measured.loss, measured.right
        if self.recipe.continues_from is not None:
            self.state.loss_at_start = self.evaluator.measure().loss
        self.reports.held_out(0, measured)

    def _go_back_to(self, step: int) -> None:
        """Take the weights of the best state in the place of the last one's."""
        checkpoint = self.checkpoints.load_step(step)
        if checkpoint is not None:
            resume.take_weights(checkpoint, self.weights)
            return
        self.reports.warn(f"The best state (step {step}) is damaged; the last one is kept.")
        # What is said of the result must be true of the weights that are handed over.
        self.state.note_best(self.evaluator.measure())

    def _heed_people(self) -> None:
        self.check_stop()
        self.finishes = self.team.lead_says(here=self.stop.finishes)

    def check_stop(self) -> None:
        """Raise StoppedError if the run was asked to stop."""
        if self.stop.is_up:
            raise StoppedError(self.state.step)


def _load(run: TrainingRun, bits: Quantization) -> Learner:
    with falling_to_four_bits(run.run_folder):
        return load_learner(run.recipe, bits, run.numbers, run.objective, run.plan.total_steps)


def _optimizer_of(run: TrainingRun) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        run.learner.groups(),
        lr=run.recipe.learning_rate,
        weight_decay=run.recipe.weight_decay,
        fused=True,
    )


def _step(run: TrainingRun) -> None:
    """Change the weights; the first time, the optimizer asks for two numbers to each of them."""
    with falling_to_four_bits(run.run_folder):
        run.optimizer.step()


def _next_save(recipe: Recipe, seconds_to_save: float = 0.0) -> float:
    """Return when to save again: a run learns for most of its time, however much there is."""
    wait = recipe.seconds_between_checkpoints
    if wait and seconds_to_save >= _LONG_SAVE_SECONDS:
        wait = max(wait, _LEARNS_LONGER * seconds_to_save)
    return time.monotonic() + wait


def _publish_checkpoint(run: TrainingRun) -> Published:
    state = run.state
    tensors, plain = resume.pack(state, run.numbers, run.learner, run.optimizer, run.reports)
    return run.checkpoints.save(state.step, tensors, plain, state.best_step)


def _save_adapter(run: TrainingRun) -> SavedAdapter:
    return save_adapter(run.run_folder, run.fence, run.learner, run.objective, run.recipe)


def _budget_of(run: TrainingRun) -> MemoryBudget:
    loss, tables = run.objective.loss, run.tables
    rows = tables.train.rows_per_item
    # Transformers lets go of what was put before the text when it calculates twice.
    can_recompute = run.learner.front is None
    return MemoryBudget(
        run.recipe.tokens_per_micro_batch,
        tables.longest,
        run.state,
        run.numbers.device,
        run.reports,
        run.run_folder,
        team=run.team,
        ways=Ways(
            recompute=way_to_recompute(run.model, loss) if can_recompute else None,
            probe=trial(loss, rows, run.optimizer),
            longest_row=tables.longest // rows,
        ),
    )


def _evaluator_of(run: TrainingRun) -> Evaluator:
    held_out = read_examples(data_file(run.run_folder, "validation"))
    most_tokens = run.recipe.max_tokens_per_example
    return Evaluator(
        run.learner,
        run.objective,
        run.tables,
        sample_questions(run.objective, held_out, most_tokens),
        run.budget,
        run.check_stop,
    )


def _surroundings_of(run: TrainingRun) -> Surroundings:
    return Surroundings(
        run.run_folder,
        run.tables,
        Quantization(run.state.held_as),
        run.numbers.dtype,
        run.learner.as_base,
        run.budget.within,
        run.check_stop,
    )


def _recaller_of(run: TrainingRun) -> Recaller:
    return Recaller(run.learner, run.objective, run.tables.train, run.budget, run.check_stop)


def run_training(
    run_folder: Path,
    fence: int,
    events: EventSink,
    stop: StopFlag,
    members: Members | None = None,
) -> None:
    """Do a whole run, with the help of other processes if there are any.

    Raises:
        TrainingFailureError: if it cannot go on, with the reason.
        StoppedError: if it was asked to stop; what is done is saved.
    """
    run = TrainingRun(run_folder, fence, events, stop, members)
    with less_the_next_time(run_folder):
        run.setup()
        try:
            run.train()
        except StoppedError:
            run.save_checkpoint()
            raise
        run.cleanup()
