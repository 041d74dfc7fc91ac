"""One run in several processes: it learns what one process learns, and is never lost."""

import json
import math
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from app.runs.methods import Quantization
from app.runs.objectives import Objective
from tests.support.run_folders import (
    REPOSITORY,
    make_run_folder,
    recipe_for,
    run_child,
    start_child,
    sums,
)
from tests.support.tiny_models import make_tiny_model
from tests.support.waiting import wait_until
from tests.support.workers import children_of, command_of, wait_until_gone
from tests.training.test_objectives import folder_for
from worker.training.memory import MemoryBudget, Ways
from worker.training.precision import NOTEBOOK
from worker.training.progress import RunState
from worker.training.team.members import MEMBER_MODULE
from worker.training.team.shares import shares_of
from worker.training.team.team import join

JsonObject = dict[str, Any]
_ENDED_BY_KILL = -signal.SIGKILL


@pytest.fixture(autouse=True)
def _float32(tmp_path: Path) -> None:
    """Sums in another order differ by the rounding of the format, so it is the finer one."""
    machine = f"{platform.node()} {platform.machine()} cpu torch {torch.__version__}"
    (tmp_path / NOTEBOOK).write_text(json.dumps({machine: str(torch.float32)}))


def a_run(base: Path, folder: Path, **changes: Any) -> Path:  # noqa: ANN401 (fields of the recipe)
    """A run whose last update of each pass has a single example, so that one process has none."""
    recipe = recipe_for(base, **{"epochs": 3, "evaluations": 3, **changes})
    return make_run_folder(folder, recipe, sums(25), sums(7, first=50))


def trained(folder: Path, fence: int = 1, devices: int = 1) -> list[JsonObject]:
    code, events, errors = run_child(folder, fence, devices=devices)
    assert code == 0, errors
    return events


def curve(events: list[JsonObject]) -> dict[tuple[int, str], float]:
    """Every loss and gradient norm that was told."""
    return {
        (event["step"], name): value
        for event in events
        if event["event"] == "metrics"
        for name, value in event["values"].items()
        if "loss" in name or "norm" in name or "right" in name
    }


def result_of(events: list[JsonObject]) -> JsonObject:
    (result,) = [event for event in events if event["event"] == "result"]
    return result


def adapter(folder: Path, events: list[JsonObject]) -> dict[str, torch.Tensor]:
    return load_file(folder / result_of(events)["adapter_folder"] / "adapter_model.safetensors")


def same_curve(one: list[JsonObject], several: list[JsonObject]) -> None:
    alone, together = curve(one), curve(several)
    assert len(alone) > 20
    assert together == pytest.approx(alone, rel=1e-3, abs=1e-5)


def member_pid(lead: int) -> int:
    def find() -> int | None:
        found = [pid for pid in children_of(lead) if MEMBER_MODULE.encode() in command_of(pid)]
        return found[0] if found else None

    return wait_until(find, timeout=60, what="another process of the team") or 0


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tiny_model: Path, tmp_path: Path) -> None:
    one, two = (a_run(tiny_model, tmp_path / name) for name in ("one", "two"))
    alone, together = trained(one), trained(two, devices=2)
    same_curve(alone, together)
    for name in ("tokens_seen", "best_step", "steps"):
        assert result_of(together)[name] == result_of(alone)[name]
    expected, found = adapter(one, alone), adapter(two, together)
    assert expected.keys() == found.keys()
    for name, weight in expected.items():
        assert torch.allclose(found[name], weight, rtol=1e-2, atol=1e-4), name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "gemma_soft_cap"])
def test_a_divided_model_learns_the_same(kind: str, tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base", kind)
    changes: JsonObject = {"epochs": 2, "evaluations": 1}
    one = a_run(base, tmp_path / "one", **changes)
    divided = a_run(base, tmp_path / "divided", devices=3, divides_model=True, **changes)
    same_curve(trained(one), trained(divided, devices=3))


@pytest.mark.slow
def test_preferences_are_learned_with_a_divided_model(tiny_model: Path, tmp_path: Path) -> None:
    changes: JsonObject = {"epochs": 3, "evaluations": 3, "learning_rate": 1e-3}
    one = folder_for(tiny_model, tmp_path / "one", Objective.KTO, 13, **changes)
    divided = folder_for(
        tiny_model, tmp_path / "divided", Objective.KTO, 13, divides_model=True, **changes
    )
    same_curve(trained(one), trained(divided, devices=2))


@pytest.mark.slow
@pytest.mark.parametrize("objective", [Objective.KTO, Objective.DPO, Objective.KINDS])
def test_every_objective_adds_up(objective: Objective, tiny_model: Path, tmp_path: Path) -> None:
    one, three = (
        folder_for(
            tiny_model, tmp_path / name, objective, epochs=4, evaluations=4, learning_rate=1e-3
        )
        for name in ("one", "three")
    )
    same_curve(trained(one), trained(three, devices=3))


@pytest.mark.slow
def test_a_process_that_dies_takes_the_team_along_and_the_run_ends_the_same(
    tiny_model: Path, tmp_path: Path
) -> None:
    # Dropout draws other random numbers in each process: all must be those of an unbroken run.
    changes: JsonObject = {
        "epochs": 6,
        "method_settings": {"rank": 4, "dropout": 0.1},
        "seconds_between_checkpoints": 0,
    }
    unbroken, broken = (a_run(tiny_model, tmp_path / name, **changes) for name in ("a", "b"))
    expected = trained(unbroken, devices=2)
    with start_child(broken, devices=2) as lead:
        assert lead.stdout is not None
        for line in lead.stdout:
            event = json.loads(line)
            if event["event"] == "checkpoint" and event["step"] >= 4:
                os.kill(member_pid(lead.pid), signal.SIGKILL)
                break
        assert lead.wait(timeout=60) == _ENDED_BY_KILL
    found = trained(broken, fence=2, devices=2)
    (plan,) = [event for event in found if event["event"] == "plan"]
    assert plan["resumed_from_step"] >= 4
    assert result_of(found)["adapter_sha256"] == result_of(expected)["adapter_sha256"]
    assert curve(found).items() <= curve(expected).items()


@pytest.mark.slow
def test_a_lead_that_dies_leaves_nobody_behind(tiny_model: Path, tmp_path: Path) -> None:
    with start_child(a_run(tiny_model, tmp_path / "run", epochs=50), devices=3) as lead:
        assert lead.stdout is not None
        next(line for line in lead.stdout if json.loads(line)["event"] == "progress")
        members = children_of(lead.pid)
        assert len(members) == 2
        lead.kill()
        wait_until_gone(members, timeout=20)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_devices(tiny_model: Path, tmp_path: Path) -> None:
    one, changing = (a_run(tiny_model, tmp_path / name, epochs=4) for name in ("one", "changing"))
    expected = trained(one)
    events: list[JsonObject] = []
    for fence, devices in ((1, 2), (2, 1), (3, 3)):
        with start_child(changing, fence, devices=devices) as lead:
            assert lead.stdout is not None
            for line in lead.stdout:
                events.append(json.loads(line))
                if fence < 3 and events[-1]["event"] == "metrics" and events[-1]["step"] % 7 == 6:
                    lead.terminate()
    assert [e["resumed_from_step"] for e in events if e["event"] == "plan"][1] >= 6
    same_curve(expected, events)


def _short_of_memory(rank: int, place: Path, answers: Any) -> None:  # noqa: ANN401 (a queue)
    """One of two processes: the second has room for 100 tokens at once, and then for 30."""
    torch.set_num_threads(1)
    team = join(rank, 2, place)
    told: list[str] = []

    class Reports:
        def memory(self, note: str) -> None:
            told.append(note)

    budget = MemoryBudget(
        *(400, 20, RunState(), torch.device("cpu"), Reports(), place),
        team=team,
        ways=Ways(recompute=None, probe=None),
    )

    def work(room: int) -> Any:  # noqa: ANN401
        def done(most_tokens: int) -> float:
            # The first is through with its own share and waits for the sum.
            if rank == 1 and most_tokens > room:
                raise MemoryError("out of memory")
            return team.sum(float(most_tokens))[0]

        return done

    found = [budget.within(work(100)), budget.within(work(30))]
    words: list[bool] = []

    def answer() -> None:
        for number in range(3):
            if rank == 1 and number == 2:
                raise MemoryError("out of memory")
            words.append(team.lead_says(here=True))

    budget.if_it_fits(answer)
    # All are at the same place again.
    answers.put((rank, found, budget.tokens, len(told), len(words), team.sum(1.0)))


@pytest.mark.slow
def test_where_one_runs_short_all_begin_anew_with_less(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    processes = [
        context.Process(target=_short_of_memory, args=(rank, tmp_path, answers)) for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    found = sorted(answers.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(30)
    assert found == [(rank, [200.0, 50.0], 25, 1, 2, (2.0,)) for rank in (0, 1)]
    assert json.loads((tmp_path / "memory.json").read_text())["rung"] == 4


@pytest.mark.parametrize("form", [Quantization.NONE, Quantization.FOUR_BIT])
def test_only_who_needs_the_library_for_few_bits_loads_it(
    form: Quantization, tiny_model: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken" / "bitsandbytes"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('at odds with the driver')")
    folder = a_run(tiny_model, tmp_path / "run", quantization=form)
    member = subprocess.run(
        [sys.executable, "-m", MEMBER_MODULE, "--run-folder", str(folder), "--fence", "1"],
        cwd=REPOSITORY,
        # Nobody calls it, so it ends once it has imported all that it needs.
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(broken.parent)},
    )
    said = [json.loads(line) for line in member.stdout.splitlines()]
    assert member.returncode == 0
    assert ["driver" in event["details"] for event in said] == (
        [] if form is Quantization.NONE else [True]
    )


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_are_fair_and_whole(size: int) -> None:
    lengths = np.random.default_rng(3).integers(5, 400, size=64)
    rows = list(range(0, 64, 2))
    shares = shares_of(rows, lengths, size)
    assert sorted(row for share in shares for row in share) == rows
    tokens = [sum(int(lengths[row]) for row in share) for share in shares]
    assert max(tokens) < 1.1 * math.ceil(sum(tokens) / size)
    assert shares_of([7], lengths, 2) == [[7], []]
