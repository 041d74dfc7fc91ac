"""Many cores for the token cache: processes of their own, each of which encodes shards.

Processes rather than threads, because laying out conversations is Python; and started rather than
forked, because the training process holds threads of its libraries. Run as a program,
`python -m worker.training.token_helpers` reads its orders as JSON lines and answers in JSON lines.
What a helper could not do it only names: the training process does it itself, where a failure can
be told. The kernel ends the helpers together with it.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

from app.processes import child_environment, dying_with_parent
from worker.free_memory import free_ram_bytes
from worker.training.token_shards import Shard, write_shard

# A helper takes some seconds to start; less than this is done sooner by one process.
LEAST_BYTES: Final = 24 * 1024**2
# The libraries, the tokenizer, and the rows of one group.
_BYTES_PER_HELPER: Final = 700 * 1024**2
_SECONDS_BETWEEN_STOP_CHECKS: Final = 0.2

Answer = tuple["_Helper", dict[str, Any]]


def helper_count(shards: list[Shard]) -> int:
    """Return how many helpers are worth it here and now; 0 if one process is as good."""
    if sum(shard.size_bytes for shard in shards) < LEAST_BYTES:
        return 0
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    count = min(cores, len(shards), free_ram_bytes() // _BYTES_PER_HELPER)
    return count if count > 1 else 0


def encode_with_helpers(
    folder: Path,
    run_folder: Path,
    shards: list[Shard],
    limit: int,
    count: int,
    has_read: Callable[[int], None],
    check_stop: Callable[[], None],
) -> None:
    """Have shards encoded, as many at a time as there are helpers. Some may be left undone."""
    waiting = list(reversed(shards))
    with _helpers(folder, run_folder, limit, count) as (helpers, answers):
        busy = set(helpers)
        for helper in helpers:
            helper.order(waiting.pop() if waiting else None)
        while busy:
            check_stop()
            try:
                helper, answer = answers.get(timeout=_SECONDS_BETWEEN_STOP_CHECKS)
            except Empty:
                continue
            if "read" in answer:
                has_read(int(answer["read"]))
            elif "done" in answer and waiting:
                helper.order(waiting.pop())
            else:
                helper.order(None)
                busy.discard(helper)


class _Helper:
    """One process that encodes shards; its answers are read by a thread."""

    def __init__(self, orders: dict[str, Any], answers: "SimpleQueue[Answer]") -> None:
        self.process = subprocess.Popen(
            dying_with_parent(
                [sys.executable, "-m", "worker.training.token_helpers"], signal.SIGKILL
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment(TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1"),
        )
        self._answers = answers
        self._write(orders)
        threading.Thread(target=self._listen, daemon=True).start()

    def order(self, shard: Shard | None) -> None:
        """Have a shard encoded; None is the last order."""
        if shard is not None:
            self._write(asdict(shard))
        elif self.process.stdin is not None:
            with suppress(OSError):
                self.process.stdin.close()

    def _write(self, content: dict[str, Any]) -> None:
        assert self.process.stdin is not None  # noqa: S101 (it was asked for above)
        # One that is dead already says so by ending its answers.
        with suppress(OSError):
            self.process.stdin.write(json.dumps(content).encode() + b"\n")
            self.process.stdin.flush()

    def _listen(self) -> None:
        for line in self.process.stdout or ():
            with suppress(ValueError):
                self._answers.put((self, json.loads(line)))
        self._answers.put((self, {"ended": True}))


@contextmanager
def _helpers(
    folder: Path, run_folder: Path, limit: int, count: int
) -> Iterator[tuple[list[_Helper], "SimpleQueue[Answer]"]]:
    answers: SimpleQueue[Answer] = SimpleQueue()
    orders = {"folder": str(folder), "run_folder": str(run_folder), "limit": limit}
    helpers: list[_Helper] = []
    try:
        for _ in range(count):
            helpers.append(_Helper(orders, answers))  # noqa: PERF401 (those begun must be ended)
        yield helpers, answers
    finally:
        for helper in helpers:
            helper.process.kill()
        for helper in helpers:
            helper.process.wait()


def main() -> None:
    """Encode what is ordered, until there are no more orders."""
    import torch

    from app.runs.recipe import Recipe
    from worker.training.chat_templates import ChatFormat
    from worker.training.model import load_tokenizer
    from worker.training.objectives.making import make_objective

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**answer: object) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    orders = json.loads(sys.stdin.readline())
    run_folder = Path(orders["run_folder"])
    recipe = Recipe.read(run_folder)
    chat = ChatFormat(load_tokenizer(recipe))
    encoder = make_objective(recipe, chat, torch.device("cpu"), run_folder).encoder
    for line in sys.stdin:
        shard = Shard(**json.loads(line))
        write_shard(
            Path(orders["folder"]),
            run_folder,
            shard,
            encoder,
            orders["limit"],
            lambda size: say(read=size),
        )
        say(done=shard.name)


if __name__ == "__main__":
    main()
