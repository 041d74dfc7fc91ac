"""Memory that runs short: the run goes down the ladder, rung by rung, and learns the same."""

import errno
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from app.runs.child_events import FailureEvent
from app.runs.methods import Method
from tests.support.run_folders import make_run_folder, recipe_for, start_child, sums
from tests.support.tiny_models import KINDS, make_tiny_model
from tests.support.training_events import RecordedEvents, prepared_run, train_here
from worker.memory_notes import MemoryNotes
from worker.training import loop
from worker.training.answers import CUT_OFF
from worker.training.batches import MicroBatch
from worker.training.checkpoints import CheckpointFolder
from worker.training.failures import TrainingFailureError, describe
from worker.training.loop import TrainingRun
from worker.training.memory import CALCULATED_TWICE, LESS_AT_ONCE, MemoryBudget, Ways
from worker.training.progress import RunState
from worker.training.recompute import recompute_activations
from worker.training.team.team import ALONE, Team

Total = Callable[..., torch.Tensor]


def a_memory(run: TrainingRun, monkeypatch: pytest.MonkeyPatch, most: int, kept_twice: int) -> None:
    """A memory for so many tokens at once, and for other ones once activations are not kept."""

    def limited(total: Total) -> Total:
        def total_within(batch: MicroBatch, scale: float = 1.0) -> torch.Tensor:
            room = kept_twice if run.budget.recomputes else most
            if torch.is_grad_enabled() and batch.ids.numel() > room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return total(batch, scale)

        return total_within

    monkeypatch.setattr(run.objective.loss, "total", limited(run.objective.loss.total))


def adapter_of(run: TrainingRun, events: RecordedEvents) -> str:
    """Train to the end, and return the SHA-256 of what was learned."""
    run.train()
    run.cleanup()
    return str(events.only("result")["adapter_sha256"])


@pytest.mark.parametrize("kind", KINDS)
def test_activations_calculated_twice_give_the_same_gradients_to_the_bit(
    kind: str, tmp_path: Path
) -> None:
    base = make_tiny_model(tmp_path / "base", kind)
    # Dropout draws random numbers: the second time they must be the first time's.
    for dropout in (0.0, 0.1):
        gradients = []
        for twice in (False, True):
            recipe = recipe_for(base, method_settings={"rank": 4, "alpha": 8, "dropout": dropout})
            folder = make_run_folder(tmp_path / f"{dropout} {twice}", recipe, sums(8))
            run, _ = prepared_run(folder)
            for name, weight in run.weights.items():
                if "lora_B" in name:
                    torch.nn.init.constant_(weight, 0.01)
            if twice:
                recompute_activations(run.model, run.objective.loss)
            run._add_up_gradients([0, 1, 2, 3], 4096)  # noqa: SLF001 (its gradients are asked for)
            gradients.append({n: w.grad for n, w in run.weights.items() if w.grad is not None})
        assert gradients[0].keys() == gradients[1].keys()
        assert len(gradients[0]) >= 8
        for name, gradient in gradients[0].items():
            assert torch.equal(gradient, gradients[1][name]), (kind, dropout, name)


def test_activations_that_are_not_kept_take_no_memory(tmp_path: Path) -> None:
    kept = []
    base = make_tiny_model(tmp_path / "base")
    for twice in (False, True):
        folder = make_run_folder(tmp_path / str(twice), recipe_for(base), sums(8))
        run, _ = prepared_run(folder)
        if twice:
            recompute_activations(run.model, run.objective.loss)
        sizes: list[int] = []

        def note(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            ids = torch.zeros(4, 64, dtype=torch.long)
            hidden = run.model.get_base_model().base_model(input_ids=ids, use_cache=False)[0]
        kept.append(sum(sizes))
        hidden.sum().backward()
    assert kept[1] < kept[0] / 4


def test_the_last_rung_changes_nothing_that_is_learned(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where rows stand alone already, calculating twice is all there is, and bits stay the same."""
    settings = {"rank": 4, "alpha": 8, "dropout": 0.1}
    recipe = recipe_for(tiny_model, method_settings=settings, tokens_per_micro_batch=64, epochs=3)
    train, held_out = sums(12), sums(5, first=50)
    enough, events = prepared_run(make_run_folder(tmp_path / "enough", recipe, train, held_out))
    enough.budget._halvings = 0  # noqa: SLF001 (both runs divide alike)
    expected = adapter_of(enough, events)
    short, events = prepared_run(make_run_folder(tmp_path / "short", recipe, train, held_out))
    short.budget._halvings, short.budget._lowest = 0, 1  # noqa: SLF001
    a_memory(short, monkeypatch, most=40, kept_twice=1000)
    assert adapter_of(short, events) == expected
    assert [event["note"] for event in events.of("memory")] == [CALCULATED_TWICE]


@pytest.mark.usefixtures("in_float32")
def test_each_rung_in_its_turn_and_what_is_said(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(tiny_model, epochs=1, tokens_per_micro_batch=512)
    values = []
    for name in ("enough", "short"):
        folder = make_run_folder(tmp_path / name, recipe, sums(16), sums(6, first=50))
        run, events = prepared_run(folder)
        if name == "short":
            longest = int(run.tables.train.lengths.max())
            a_memory(run, monkeypatch, most=longest - 1, kept_twice=longest)
        run.train()
        run.cleanup()
        values.append(events.only("result") | events.of("metrics")[1]["values"])
    assert [event["note"] for event in events.of("memory")] == [LESS_AT_ONCE, CALCULATED_TWICE]
    for value in ("loss_before", "loss_after", "train_loss", "gradient_norm"):
        assert values[0][value] == pytest.approx(values[1][value], rel=1e-3), value
    # An attempt after this one begins where this one ended.
    notes = MemoryNotes.read(folder)
    assert notes.rung == notes.lowest
    again, events = prepared_run(folder, fence=2)
    assert again.budget.recomputes
    assert [event["note"] for event in events.of("memory")] == [CALCULATED_TWICE]


def test_the_smallest_form_that_does_not_fit_ends_the_run_with_what_would(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [*sums(8), {"id": 9, "text": "Hello there. " * 60}]
    folder = make_run_folder(tmp_path / "run", recipe_for(tiny_model), rows)
    run, events = prepared_run(folder)
    longest = int(run.tables.train.lengths.max())
    a_memory(run, monkeypatch, most=50, kept_twice=70)
    with pytest.raises(TrainingFailureError) as caught:
        run.train()
    # Not yet for good: what was freed on the way down may be of no use to this process.
    assert not caught.value.permanent
    assert len(events.of("memory")) == 2
    run, events = prepared_run(folder, fence=2)
    a_memory(run, monkeypatch, most=50, kept_twice=70)
    with pytest.raises(TrainingFailureError) as caught:
        run.train()
    failure = caught.value
    assert failure.permanent
    assert failure.code == "out_of_memory"
    assert failure.fitting_tokens == next(n for n in (longest >> k for k in range(1, 9)) if n <= 70)
    assert f"at most {failure.fitting_tokens:,} tokens" in failure.next_step
    assert "smaller base model" in failure.next_step


class _Divided(Team):
    """Of a divided team nobody can try anything alone."""

    is_divided = True


@pytest.mark.parametrize(
    ("team", "longest_row", "fitting", "untried"),
    [
        (ALONE, 300, 150, 0),
        (ALONE, 40, 0, 0),
        (_Divided(), 300, 0, 150),
        (_Divided(), 40, 0, 0),
    ],
)
def test_only_rows_shorter_than_the_longest_are_proposed(
    team: Team, longest_row: int, fitting: int, untried: int, tmp_path: Path
) -> None:
    budget = MemoryBudget(
        # An item has two rows, as where an answer is compared with another.
        *(2 * longest_row, 2 * longest_row, RunState(), torch.device("cpu"), _Silent(), tmp_path),
        team=team,
        ways=Ways(recompute=None, probe=lambda _: None, longest_row=longest_row),
    )
    with pytest.raises(TrainingFailureError) as caught:
        budget.within(out_of_memory)
    failure = caught.value
    assert (failure.fitting_tokens, failure.untried_tokens) == (fitting, untried)
    assert FailureEvent.model_validate({"event": "failure", **failure.as_event()})
    assert ("could not be tried" in failure.next_step) == bool(untried)


def test_a_divided_team_tries_the_smallest_form_at_its_next_attempt(tmp_path: Path) -> None:
    """Halving by halving, its few attempts would be over long before."""
    for permanent in (False, True):
        budget = MemoryBudget(
            *(4096, 100, RunState(), torch.device("cpu"), _Silent(), tmp_path),
            team=_Divided(),
            ways=Ways(recompute=lambda: None, probe=None, longest_row=100),
        )
        with pytest.raises(TrainingFailureError) as caught:
            budget.within(out_of_memory)
        assert caught.value.permanent == permanent
    assert budget.recomputes


class _Silent:
    def memory(self, note: str) -> None: ...


def test_no_room_to_load_the_base_model_is_not_blamed_on_the_examples(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run_folder(tmp_path / "run", recipe_for(tiny_model), sums(4))
    monkeypatch.setattr("worker.training.loop.load_learner", out_of_memory)
    with pytest.raises(TrainingFailureError) as caught:
        train_here(folder)
    assert caught.value.next_step == "Choose a smaller base model."
    assert caught.value.permanent


@pytest.mark.parametrize("where", ["resume.unpack", "CheckpointFolder.save", "save_adapter"])
def test_memory_that_runs_short_beside_the_ladder_leaves_less_to_the_next_attempt(
    where: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run_folder(
        tmp_path / "run", recipe_for(tiny_model, tokens_per_micro_batch=512), sums(8)
    )
    begun, _ = prepared_run(folder)
    begun._update([0, 1, 2, 3])  # noqa: SLF001 (so that there is something to go on from)
    begun.save_checkpoint()
    with monkeypatch.context() as patched:
        patched.setattr(f"worker.training.loop.{where}", out_of_memory)
        with pytest.raises(TrainingFailureError) as caught:
            train_here(folder, fence=2)
    failure = caught.value
    assert (failure.code, failure.permanent) == ("out_of_memory", False)
    assert failure.reason == "The machine's memory ran out."
    assert "CUDA out of memory" in failure.details
    assert MemoryNotes.read(folder).rung == 1
    events = train_here(folder, fence=3)
    assert events.only("plan")["resumed_from_step"] >= 1
    assert [event["note"] for event in events.of("memory")] == [LESS_AT_ONCE]
    assert events.only("result")["steps"] == events.only("plan")["total_steps"]


def test_memory_that_runs_short_beside_the_ladder_on_its_lowest_rung_ends_the_run(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run_folder(tmp_path / "run", recipe_for(tiny_model), sums(8))
    MemoryNotes(rung=99).write(folder)
    monkeypatch.setattr("worker.training.loop.CheckpointFolder.save", out_of_memory)
    with pytest.raises(TrainingFailureError) as caught:
        train_here(folder)
    assert caught.value.permanent
    assert "everything done that saves memory" in caught.value.reason


@pytest.mark.parametrize("where", ["CheckpointFolder.save", "save_adapter"])
def test_what_was_learned_is_saved_once_memory_was_given_back(
    where: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run_folder(tmp_path / "run", recipe_for(tiny_model, epochs=1), sums(8))
    owner: Any = CheckpointFolder if where == "CheckpointFolder.save" else loop
    real, calls = getattr(owner, where.rpartition(".")[2]), iter([out_of_memory])

    def save(*arguments: object) -> object:
        return next(calls, real)(*arguments)

    monkeypatch.setattr(f"worker.training.loop.{where}", save)
    assert train_here(folder).only("result")["steps"] == 2
    assert MemoryNotes.read(folder).rung == 0


def test_a_fault_of_memory_outside_of_the_training_is_not_for_good() -> None:
    failure = describe(OSError(errno.ENOMEM, "Cannot allocate memory"))
    assert (failure.code, failure.permanent) == ("out_of_memory", False)
    assert "try again" in failure.next_step


def test_memory_is_looked_at_before_the_kernel_ends_the_process(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(tiny_model, epochs=1, tokens_per_micro_batch=512)
    run, events = prepared_run(make_run_folder(tmp_path / "run", recipe, sums(16)))
    monkeypatch.setattr("worker.training.memory._SECONDS_BETWEEN_LOOKS", 0.0)
    free = iter([10**9, 10**9, 1000, 10**9])
    monkeypatch.setattr("worker.training.memory.free_ram_bytes", lambda: next(free, 10**9))
    run.train()
    assert run.state.memory_rung == 1
    assert [event["note"] for event in events.of("memory")] == [LESS_AT_ONCE]


def out_of_memory(*_: object, **__: object) -> str:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_answers_for_which_there_is_no_room_are_left_out_and_the_run_goes_on(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(tiny_model, epochs=1)
    names = ("enough", "short")
    enough, short = (
        make_run_folder(tmp_path / name, recipe, sums(12), sums(4, first=50)) for name in names
    )
    expected = train_here(enough).only("result")
    monkeypatch.setattr("worker.training.answers.likeliest_answers", out_of_memory)
    events = train_here(short)
    result = events.only("result")
    assert result["adapter_sha256"] == expected["adapter_sha256"]
    assert {(e["answer"], e["base_answer"]) for e in events.of("sample")} == {(CUT_OFF, CUT_OFF)}
    # The rows were read all the same.
    losses = {name: expected["recall"][name] for name in ("loss_before", "loss_after")}
    assert result["recall"] == {"asked": 0, "alike": 0, "right": 0, **losses}


def test_a_whole_model_beside_which_the_base_has_no_room_is_handed_over(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(tiny_model, epochs=1, method=Method.FULL, method_settings={})
    run, events = prepared_run(
        make_run_folder(tmp_path / "run", recipe, sums(12), sums(4, first=50))
    )
    run._measure_base()  # noqa: SLF001 (while there was room)
    monkeypatch.setattr(run.learner, "_load_again", out_of_memory)
    run.train()
    run.cleanup()
    assert {event["base_answer"] for event in events.of("sample")} == {CUT_OFF}
    assert CUT_OFF not in {event["answer"] for event in events.of("sample")}
    recall = events.only("result")["recall"]
    assert (recall["asked"], recall["loss_before"]) == (0, None)
    assert recall["loss_after"] > 0


def test_no_room_for_the_optimizer_s_own_numbers_leaves_four_bits_to_try(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run_folder(tmp_path / "run", recipe_for(tiny_model, epochs=1), sums(8))
    run, _ = prepared_run(folder)
    monkeypatch.setattr(run.optimizer, "step", out_of_memory)
    MemoryNotes.read(folder).allowing_four_bits(is_allowed=True).write(folder)
    with pytest.raises(TrainingFailureError) as caught:
        run.train()
    assert not caught.value.permanent
    assert MemoryNotes.read(folder).in_four_bits


@pytest.mark.slow
def test_a_process_with_really_little_memory_goes_down_and_finishes(tmp_path: Path) -> None:
    """The kernel refuses it what it asks for beyond; which words torch has for that is its own."""
    rows = [{"id": i, "text": f"Hello there {i}. " * 300} for i in range(72)]
    recipe = recipe_for(
        make_tiny_model(tmp_path / "base"),
        epochs=1,
        tokens_per_micro_batch=262_144,
        examples_per_update=512,
        max_tokens_per_example=512,
    )
    folder = make_run_folder(tmp_path / "run", recipe, rows)
    events: list[dict[str, Any]] = [{}]
    # What was refused may leave the memory in pieces; then a fresh process has a second try.
    for fence in (1, 2):
        with start_child(folder, fence) as child:
            assert child.stdout is not None
            for line in child.stdout:
                events.append(json.loads(line))
                # Long before it needs much, for this process may be slow to hear of it. The model
                # and what it is loaded with take 20 MB.
                if events[-1].get("phase") == "loading_model":
                    limit = _data_bytes(child.pid) + 170 * 1024**2
                    resource.prlimit(child.pid, resource.RLIMIT_DATA, (limit, limit))
        if events[-1]["event"] == "result":
            break
        assert not events[-1]["permanent"], events[-1]
    assert events[-1]["event"] == "result", events[-1]
    assert any(event.get("note") in {LESS_AT_ONCE, CALCULATED_TWICE} for event in events)
    assert MemoryNotes.read(folder).rung >= 1


def _data_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmData:")[2].split()[0]) * 1024
