"""The parent's side of template_child.py: one child at a time, replaced when it misbehaves."""

import json
import select
import subprocess
import sys
from collections.abc import Mapping
from threading import Lock
from typing import Any

from app.processes import child_environment, end_group
from app.settings import REPOSITORY_ROOT
from worker.inference.errors import bad_request
from worker.training.answer_places import UnusableConversationError

# A template that spins is ended by its limit on processor time. This is for a machine so busy that
# the child hardly gets any, its start included.
_WALL_SECONDS = 60.0


class TemplateRenderer:
    def __init__(self) -> None:
        self._lock = Lock()
        self._child: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the child early, so that the first question does not wait for it."""
        with self._lock:
            self._running_child()

    def render(self, request: Mapping[str, object]) -> dict[str, Any]:
        """Render a template; see template_child.render for what goes in and comes out.

        Raises:
            ChatServerError: 400 if the template does not finish in time.
            UnusableConversationError: if the template refuses the conversation.
        """
        with self._lock:
            line = self._ask(json.dumps(request) + "\n")
        if not line:
            raise bad_request(
                "The model's chat template did not finish in time and was stopped. "
                "Choose another base model."
            )
        answer: dict[str, Any] = json.loads(line)
        if "problem" in answer:
            raise UnusableConversationError(answer["problem"])
        return answer

    def close(self) -> None:
        with self._lock:
            self._end_child()

    def _ask(self, request: str) -> str:
        child = self._running_child()
        assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018 (pipes were asked for)
        try:
            child.stdin.write(request)
            child.stdin.flush()
            ready, _, _ = select.select([child.stdout], [], [], _WALL_SECONDS)
            line = child.stdout.readline() if ready else ""
        except BrokenPipeError:
            line = ""
        if not line:
            self._end_child()
        return line

    def _running_child(self) -> subprocess.Popen[str]:
        if self._child is None or self._child.poll() is not None:
            self._end_child()
            self._child = subprocess.Popen(
                [sys.executable, "-m", "worker.inference.template_child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                cwd=REPOSITORY_ROOT,
                env=child_environment(),
                start_new_session=True,
            )
        return self._child

    def _end_child(self) -> None:
        if self._child is None:
            return
        end_group(self._child)
        # Closes the pipes, whatever is left in them.
        self._child.communicate()
        self._child = None
