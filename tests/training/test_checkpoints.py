"""A checkpoint is whole or is not there, whatever happens while it is written."""

import errno
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.run_folders import REPOSITORY
from tests.support.training_events import RecordedEvents
from worker.methods.learner import Learner, Weights
from worker.training.checkpoints import CheckpointFolder
from worker.training.failures import TrainingFailureError, describe
from worker.training.precision import Numbers
from worker.training.progress import RunState
from worker.training.reports import Reports
from worker.training.resume import pack, unpack
from worker.training.stopping import StoppedError


def save(folder: CheckpointFolder, step: int, best: int | None = None, size: int = 8) -> None:
    adapter = {"weight": torch.full((size,), float(step))}
    folder.save(step, {"adapter": adapter}, {"step": step}, best)


class Plain(Learner):
    """What is trained, without any model around it."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights


def test_all_of_the_optimizer_comes_back_to_where_the_weights_are(tmp_path: Path) -> None:
    """As on a graphics card; the meta device stands in for a memory that is not the host's."""
    weights = {"lora": torch.nn.Parameter(torch.ones(4))}
    optimizer = torch.optim.AdamW(weights.values(), fused=True)
    weights["lora"].grad = torch.ones(4)
    optimizer.step()
    numbers = Numbers(torch.device("cpu"), torch.float32, 1, {})
    tensors, plain = pack(
        RunState(step=1), numbers, Plain(weights), optimizer, Reports(RecordedEvents())
    )
    folder = CheckpointFolder(tmp_path, fence=1)
    folder.take_over()
    folder.save(1, tensors, plain, None)
    checkpoint = folder.load_newest()
    assert checkpoint is not None
    elsewhere = {"lora": torch.nn.Parameter(torch.empty(4, device="meta"))}
    resumed = torch.optim.AdamW(elsewhere.values(), fused=False)
    reports = Reports(RecordedEvents())
    assert unpack(checkpoint, Plain(elsewhere), resumed, reports).step == 1
    moments = resumed.state[elsewhere["lora"]]
    assert {name: part.device.type for name, part in moments.items()} == {
        "step": "meta",
        "exp_avg": "meta",
        "exp_avg_sq": "meta",
    }


def names(folder: CheckpointFolder) -> list[str]:
    return sorted(p.name for p in folder.folder.iterdir() if p.name != "fence")


@pytest.fixture
def checkpoints(tmp_path: Path) -> CheckpointFolder:
    folder = CheckpointFolder(tmp_path, fence=1)
    folder.take_over()
    return folder


def test_the_newest_two_and_the_best_are_kept(checkpoints: CheckpointFolder) -> None:
    for step in (10, 20, 30, 40):
        save(checkpoints, step, best=10)
    assert names(checkpoints) == ["step-00000010", "step-00000030", "step-00000040"]
    save(checkpoints, 50, best=50)
    # The one before still calls the tenth step its best, so falling back loses nothing.
    assert names(checkpoints) == ["step-00000010", "step-00000040", "step-00000050"]


@pytest.mark.parametrize("file", ["adapter.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["changed", "shortened", "missing"])
def test_a_damaged_newest_one_is_passed_over(
    checkpoints: CheckpointFolder, file: str, damage: str
) -> None:
    save(checkpoints, 1)
    save(checkpoints, 2)
    path = checkpoints.folder / "step-00000002" / file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(
            content[:-1] if damage == "shortened" else content[:-1] + bytes([content[-1] ^ 1])
        )
    loaded = checkpoints.load_newest()
    assert loaded is not None
    assert loaded.step == 1
    assert loaded.skipped == ("step-00000002",)
    assert torch.equal(loaded.tensors["adapter"]["weight"], torch.ones(8))
    # The same step can be saved again in place of the damaged one.
    save(checkpoints, 2)
    again = checkpoints.load_newest()
    assert again is not None
    assert again.step == 2


def test_a_later_holder_keeps_an_earlier_one_from_writing(
    checkpoints: CheckpointFolder, tmp_path: Path
) -> None:
    save(checkpoints, 1)
    CheckpointFolder(tmp_path, fence=2).take_over()
    with pytest.raises(StoppedError):
        save(checkpoints, 2)
    with pytest.raises(StoppedError):
        checkpoints.take_over()
    assert "step-00000002" not in names(checkpoints)


def test_a_full_disk_leaves_the_earlier_one_unharmed(checkpoints: CheckpointFolder) -> None:
    save(checkpoints, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            save(checkpoints, 2, size=100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    loaded = checkpoints.load_newest()
    assert loaded is not None
    assert loaded.step == 1


def test_room_is_asked_for_before_anything_is_written(
    checkpoints: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Usage())
    with pytest.raises(TrainingFailureError) as caught:
        save(checkpoints, 1)
    assert caught.value.code == "disk_full"
    assert not caught.value.permanent
    assert "10\N{NO-BREAK SPACE}bytes is free" in caught.value.reason
    assert names(checkpoints) == []


class _Usage:
    free = 10


# Says how long a whole save took, so that the kill comes in one of the next two.
_SAVE_FOREVER = """
import sys, time
from pathlib import Path
import torch
from worker.training.checkpoints import CheckpointFolder
folder = CheckpointFolder(Path(sys.argv[1]), int(sys.argv[2]))
folder.take_over()
step = int(sys.argv[3])
def save():
    global step
    step += 1
    adapter = {f"w{i}": torch.full((4000,), float(step)) for i in range(8)}
    folder.save(step, {"adapter": adapter, "optimizer": adapter}, {"step": step}, None)
began = time.monotonic()
save()
print(time.monotonic() - began, flush=True)
while True:
    save()
"""


def test_sixty_random_kills_while_saving_never_leave_half_a_checkpoint(tmp_path: Path) -> None:
    """A process per kill would cost its imports sixty times; so one forks the savers."""
    output = subprocess.run(
        [sys.executable, "-c", _KILL_SAVERS, str(tmp_path), _SAVE_FOREVER],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert output.returncode == 0, output.stderr[-2000:]
    assert output.stdout.split() == ["60", "whole"]


_KILL_SAVERS = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from worker.training.checkpoints import CheckpointFolder
torch.set_num_threads(1)
root, program = Path(sys.argv[1]), sys.argv[2]
chance = random.Random(5)
last = 0
for kill in range(60):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        sys.argv = ["saver", str(root), str(kill + 1), str(last)]
        exec(program)
    os.close(writing)
    with os.fdopen(reading) as said:
        seconds = float(said.readline())
    time.sleep(2 * seconds * chance.random())
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    loaded = CheckpointFolder(root, kill + 1).load_newest()
    assert loaded is not None, kill
    assert not loaded.skipped, loaded.skipped
    assert loaded.step >= last, (loaded.step, last)
    assert loaded.state["step"] == loaded.step
    for part in loaded.tensors.values():
        assert all(bool((w == float(loaded.step)).all()) for w in part.values())
    last = loaded.step
assert last > 10, last
print("60 whole")
"""


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        # As the tokenizer's library, which is written in Rust, says it.
        Exception("File too large (os error 27)"),
        Exception("No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_known_in_whatever_words(error: Exception) -> None:
    assert describe(error).code == "disk_full"
    wrapped = RuntimeError("could not save")
    wrapped.__cause__ = error
    assert describe(wrapped).code == "disk_full"
    assert describe(RuntimeError("something else (os error 2)")).code == "unexpected"


@pytest.mark.parametrize(
    ("number", "said", "helps"),
    [
        (errno.ENOSPC, "is full", "Make room"),
        # Beside these there may be any amount of free space.
        (errno.EDQUOT, "quota", "larger quota"),
        (errno.EFBIG, "file grew larger", "allow larger files"),
    ],
)
def test_what_a_write_was_refused_for_is_said_without_made_up_numbers(
    number: int, said: str, helps: str
) -> None:
    failure = describe(OSError(number, "refused"))
    assert said in failure.reason
    assert helps in failure.next_step
    assert not any(letter.isdigit() for letter in failure.reason)
