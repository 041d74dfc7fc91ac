"""A training process without a model: it does what script.json in the run's folder says.

It keeps the real one's promises (events, checkpoints by rename, the same result after any
interruption) and learns nothing but a chain of hashes, so that faults can be tested by the dozen.
The tests of faults that use the real one are fewer.
"""

import argparse
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from worker.training.orders import Order, wait_for_order

SCRIPT_FILE = "script.json"
_DEFAULTS: dict[str, Any] = {
    "steps": 20,
    "step_seconds": 0.02,
    "checkpoint_every": 5,
    "crash_signal": 0,
    "crash_at_step": 3,
    "crash_attempts": 99,
    "failure": None,
    "failure_attempts": 99,
    "ignores_sigterm": False,
    "talks_garbage": False,
    "stops_at_phase": "",
    "lowest_rung": None,
    "rung_that_fits": 0,
}
_stop_asked = False
_finish_asked = False


def _ask_to_finish(_number: int, _frame: FrameType | None) -> None:
    global _finish_asked  # noqa: PLW0603 (as below)
    _finish_asked = True


def _ask_to_stop(_number: int, _frame: FrameType | None) -> None:
    global _stop_asked  # noqa: PLW0603 (a signal handler has no other place to write to)
    _stop_asked = True


class ScriptedRun:
    def __init__(self, folder: Path, fence: int) -> None:
        self.folder = folder
        self.fence = fence
        given = folder / SCRIPT_FILE
        self.script = _DEFAULTS | (json.loads(given.read_text()) if given.exists() else {})
        self.attempt = self._count_attempt()
        self.step, self.state = 0, hashlib.sha256(b"base model").hexdigest()

    def main(self) -> int:
        signal.signal(signal.SIGUSR1, _ask_to_finish)
        if not self.script["ignores_sigterm"]:
            signal.signal(signal.SIGTERM, _ask_to_stop)
        else:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._phase("loading_data")
        if self.script["talks_garbage"]:
            self._talk_garbage()
        if self.script["failure"] and self.attempt <= self.script["failure_attempts"]:
            self._say("failure", **self.script["failure"])
            return 3
        self._phase("loading_model")
        self._resume()
        total = self.script["steps"]
        self._say(
            "plan",
            total_steps=total,
            total_epochs=1,
            train_examples=10,
            validation_examples=5,
            train_tokens=1000,
            steps_per_epoch=total,
            resumed_from_step=self.step,
        )
        self._phase("measuring_base")
        self._say("metrics", step=0, values={"validation_loss": 4.0})
        self._phase("training")
        self._use_memory()
        while self.step < total and not (_finish_asked and self.step):
            if _stop_asked:
                self._save()
                self._say("stopped", step=self.step)
                return 4
            self._train_one_step()
        self._phase("evaluating")
        self._answer_samples()
        self._phase("saving")
        self._finish()
        return 0

    def _use_memory(self) -> None:
        """Go down no further than told, and be ended by the kernel while that is not enough."""
        if self.script["lowest_rung"] is None:
            return
        notes = self.folder / "memory.json"
        known = json.loads(notes.read_text()) if notes.exists() else {"rung": 0, "kills": 0}
        notes.write_text(json.dumps(known | {"lowest": self.script["lowest_rung"]}))
        if known["rung"] < self.script["rung_that_fits"]:
            os.kill(os.getpid(), signal.SIGKILL)
        self._say("memory", note=f"Rung {known['rung']} it is.")

    def _train_one_step(self) -> None:
        time.sleep(self.script["step_seconds"])
        self.step += 1
        self.state = hashlib.sha256(f"{self.state}{self.step}".encode()).hexdigest()
        script = self.script
        if (
            script["crash_signal"]
            and self.step == script["crash_at_step"]
            and self.attempt <= script["crash_attempts"]
        ):
            os.kill(os.getpid(), script["crash_signal"])
        loss = 4.0 / (1 + self.step)
        self._say(
            "progress",
            step=self.step,
            total_steps=script["steps"],
            epoch=self.step / script["steps"],
            tokens_per_second=500.0,
            seconds_left=(script["steps"] - self.step) * script["step_seconds"],
            memory_bytes=10**8,
        )
        self._say("metrics", step=self.step, values={"train_loss": loss})
        if self.step % script["checkpoint_every"] == 0:
            self._save()

    def _answer_samples(self) -> None:
        for position in range(3):
            self._say(
                "sample",
                step=self.step,
                position=position,
                question=f"Question {position}?",
                expected="Expected.",
                base_answer="Base.",
                answer=f"Tuned at {self.step}.",
            )

    def _finish(self) -> None:
        folder = self.folder / f".adapter-{self.fence}"
        folder.mkdir(exist_ok=True)
        weights = (self.state * 100).encode()
        (folder / "adapter_model.safetensors").write_bytes(weights)
        (folder / "adapter_config.json").write_text("{}")
        self._say("metrics", step=self.step, values={"validation_loss": 0.5})
        self._say(
            "result",
            loss_before=4.0,
            loss_after=0.5,
            train_loss=0.4,
            best_step=self.step,
            steps=self.step,
            epochs=self.step / self.script["steps"],
            planned_steps=self.script["steps"],
            ending="planned" if self.step == self.script["steps"] else "asked",
            tokens_seen=1000,
            seconds=1.0,
            adapter_folder=folder.name,
            adapter_sha256=hashlib.sha256(weights).hexdigest(),
            adapter_bytes=len(weights),
        )

    def _save(self) -> None:
        checkpoints = self.folder / "checkpoints"
        checkpoints.mkdir(exist_ok=True)
        temporary = checkpoints / f".tmp-{self.step}-{self.fence}"
        content = json.dumps({"step": self.step, "state": self.state})
        temporary.write_text(content)
        temporary.rename(checkpoints / f"step-{self.step:08d}")
        self._say(
            "checkpoint",
            step=self.step,
            folder=f"step-{self.step:08d}",
            manifest_sha256=hashlib.sha256(content.encode()).hexdigest(),
        )

    def _resume(self) -> None:
        saved = sorted((self.folder / "checkpoints").glob("step-*"))
        if saved:
            content = json.loads(saved[-1].read_text())
            self.step, self.state = content["step"], content["state"]

    def _count_attempt(self) -> int:
        with (self.folder / "attempts.txt").open("a+") as file:
            file.write(f"{self.fence} {os.getpid()}\n")
            file.seek(0)
            return len(file.readlines())

    def _phase(self, phase: str) -> None:
        self._say("phase", phase=phase, message=f"Now: {phase}")
        if self.script["stops_at_phase"] == phase:
            while not _stop_asked:
                time.sleep(0.02)

    def _say(self, event: str, **fields: object) -> None:
        sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stdout.flush()

    def _talk_garbage(self) -> None:
        sys.stdout.write("no JSON\n[]\n" + '{"event": "unknown"}\n' + '{"event": "phase"}\n')
        sys.stdout.write('{"event": "metrics", "step": 1, "values": {"x": NaN}}\n')
        sys.stdout.write('{"event": "log", "message": "nul \\u0000 and \\ud800"}\n')
        sys.stdout.write("x" * 3_000_000 + "\n")
        sys.stdout.flush()
        sys.stderr.write(json.dumps(dict(os.environ)) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--run-folder", type=Path)
    parser.add_argument("--fence", type=int)
    parser.add_argument("--finish", action="store_true")
    parser.add_argument("--spare", action="store_true")
    parser.add_argument("--further-device", action="append")
    arguments = parser.parse_args()
    given = Order(arguments.run_folder, arguments.fence, arguments.finish)
    order = wait_for_order() if arguments.spare else given
    _finish_asked = bool(order and order.finishes)
    sys.exit(ScriptedRun(order.run_folder, order.fence).main() if order else 0)
